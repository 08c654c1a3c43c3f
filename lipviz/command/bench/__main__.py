"""`python -m lipviz.command.bench`, the same as `lipviz bench`."""

import sys

from lipviz.command.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
