"""A canvas on the page, on which points are dragged, drawn and erased; it draws what the kernel says of them."""
