"""`python -m lipviz.bench`, the same as `lipviz bench`."""

import sys

from lipviz.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
