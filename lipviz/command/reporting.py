"""The part of the `lipviz` command that reports about a saved classifier: its arguments, and what runs them.

This module imports only the standard library, so that the command answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Any

from lipviz import _extras
from lipviz.command import values


def add_command(commands: Any) -> None:
    """Adds `lipviz report` to the subcommands of a parser."""
    report = commands.add_parser(
        "report",
        help="measure a saved classifier on data of your own: what is proved, and what attacks find",
        description="Measure a saved Keras classifier on a table, a folder of images with one subfolder for each "
        "class, or an .npz file: accuracy, certified accuracy and radii, attacks, and the Lipschitz constant. If the "
        "first layer of the model scales its input, DATA are raw numbers. Otherwise rows are taken as they are, and "
        "grey levels from 0 to 255 are divided by 255.",
        allow_abbrev=False,
    )
    report.add_argument("model", metavar="MODEL.keras", type=Path, help="file of the model; it is loaded in safe mode")
    report.add_argument("data", metavar="DATA", type=Path, help="file or folder of the data")
    report.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="write the report to FILE, which ends in .html or .json; may be given twice; default: print it",
    )
    report.add_argument("--json", action="store_true", help="print JSON")
    report.add_argument("--label", metavar="NAME", help="tables: column of the labels; default: the last one")
    report.add_argument("--drop", metavar="NAME", nargs="*", help="tables: columns to leave out")
    report.add_argument("--drop-missing", action="store_true", help="leave out samples with missing values")
    report.add_argument("--classes", metavar="NAME", nargs="+", help="the class of each output of the model, in order")
    report.add_argument("--size", metavar="H,W", type=values.shape, help="folders: size that all images get")
    report.add_argument("--color", choices=("grey", "rgb"), help="folders: default: what the model takes")
    report.add_argument(
        "--part",
        choices=("all", "train", "test"),
        help="part of the data that `lipviz.data.load` makes with --seed and --test-fraction; default: the test set "
        "of the data, if they have their own, and all otherwise",
    )
    report.add_argument("--seed", metavar="N", type=values.whole, default=0, help="of that split; default: %(default)s")
    report.add_argument("--test-fraction", metavar="F", type=float, default=0.2, help="default: %(default)s")
    report.add_argument("--epsilon", metavar="E", type=float, nargs="+", help="sizes of changes to report")
    report.add_argument(
        "--compared",
        metavar="N",
        type=values.whole,
        default=200,
        help="samples to attack; default: %(default)s; 0: none",
    )
    report.add_argument("--no-attack", dest="attack", action="store_false", help="do not attack")
    report.add_argument("--no-local", dest="local", action="store_false", help="no bounds near each sample")
    report.add_argument("--no-tight", dest="tight", action="store_false", help="no bound by the method 'tight'")
    report.add_argument(
        "--arithmetic",
        choices=("auto", "float64", "float32", "float16", "bfloat16"),
        default="auto",
        help="arithmetic that radii hold in; default: float32, where the rounding of the network is known",
    )
    report.set_defaults(run=_report)


def _report(arguments):
    from lipviz.command.import_messages import without_import_messages

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_import_messages():
        from lipviz.command import report

    try:
        report.report(arguments)
    except _extras.MissingExtraError:
        raise
    except (OSError, TypeError, ValueError) as error:
        print(f"lipviz: {report.as_options(' '.join(str(error).split()))}", file=sys.stderr)
        return 1
    return 0
