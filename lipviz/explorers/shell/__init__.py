"""What all explorers share: controls, page, threads, long work, saving, and the gallery that lists them."""
