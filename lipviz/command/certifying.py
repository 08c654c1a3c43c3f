"""The part of the `lipviz` command that certifies a saved model: its arguments, and what runs them.

This module imports only the standard library, so that the command answers at once.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from lipviz.command import values


def add_command(commands: Any) -> None:
    """Adds `lipviz certify` to the subcommands of a parser."""
    certify = commands.add_parser(
        "certify",
        help="bound the Lipschitz constant of a saved model",
        description="Print a proved upper bound of the Lipschitz constant of a saved Keras model, and a bound for each "
        "layer. The file is loaded in safe mode: a file that contains code is refused.",
        epilog="With --check, the exit status is 0 if the certificate belongs to the model, 1 if it does not, and 2 if "
        "one of the files cannot be read.",
        allow_abbrev=False,
    )
    certify.add_argument("model", metavar="MODEL.keras", type=Path, help="file of the model")
    certify.add_argument(
        "--input-shape", metavar="N,N,…", type=values.shape, help="shape of an input without the batch, such as 28,28,1"
    )
    certify.add_argument(
        "--norm", choices=("1", "2", "inf"), default="2", help="norm of inputs and outputs; default: %(default)s"
    )
    certify.add_argument(
        "--method",
        choices=("auto", "product", "tight"),
        help="what is bounded together: nothing (product), or small parts in milliseconds (auto) or in seconds "
        "(tight); default: auto",
    )
    certify.add_argument("--exact", action="store_true", help="deprecated: use --method tight")
    certify.add_argument(
        "--no-search", dest="search", action="store_false", help="do not search for a lower bound, which is faster"
    )
    certify.add_argument(
        "--around",
        metavar="X.npy",
        type=Path,
        help="bound the model in balls around the inputs in this file: one, or an array of several",
    )
    certify.add_argument("--radius", metavar="R", type=float, help="radius of these balls, in the norm")
    certify.add_argument("--json", action="store_true", help="print JSON")
    hand_on = certify.add_mutually_exclusive_group()
    hand_on.add_argument(
        "--save",
        metavar="FILE",
        type=Path,
        action=_Once,
        help="also write the certificate to FILE, as JSON with hashes of the model",
    )
    hand_on.add_argument(
        "--check",
        metavar="FILE",
        type=Path,
        action=_Once,
        help="do not certify; say whether the certificate in FILE belongs to this model with these weights",
    )
    certify.set_defaults(run=_certify, error=certify.error)


class _Once(argparse.Action):
    """Stores a value, and refuses a second one, which would silently replace the first."""

    def __call__(self, parser, namespace, values, option_string=None):
        if getattr(namespace, self.dest) is not None:
            parser.error(f"argument {option_string}: given twice")
        setattr(namespace, self.dest, values)


def _certify(arguments):
    from lipviz.command.import_messages import without_import_messages

    if arguments.check and (unused := [name for name in arguments.given if name.split("=")[0] in _OF_CERTIFYING]):
        arguments.error(f"argument --check: not allowed with {', '.join(unused)}, as nothing is certified")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_import_messages():
        from lipviz import certification  # noqa: F401 - with Keras, whose backend writes messages

    work = _make_certificate if arguments.check is None else _check_certificate
    try:
        return work(arguments)
    except (OSError, TypeError, ValueError) as error:
        print(f"lipviz: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if arguments.check is None else 2


_OF_CERTIFYING = (
    *("--input-shape", "--norm", "--method", "--exact", "--no-search"),
    *("--around", "--radius", "--json"),
)


def _make_certificate(arguments):
    from lipviz import certification
    from lipviz.certification.certificate_file import check_target
    from lipviz.certification.model_file import load_model_file

    if arguments.save is not None:
        check_target(arguments.save)  # before the work
    certificate = certification.certify(
        load_model_file(arguments.model),
        arguments.input_shape,
        norm=arguments.norm if arguments.norm == "inf" else int(arguments.norm),
        method=arguments.method or ("tight" if arguments.exact else "auto"),
        search=arguments.search,
        around=None if arguments.around is None else _array(arguments.around),
        radius=arguments.radius,
    )
    if arguments.save is not None:
        certificate.save(arguments.save)
    print(certificate.to_json() if arguments.json else certificate)
    return 0


def _array(path):
    """The array of a file that `numpy.save` wrote."""
    import numpy as np

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}. Expected an array that numpy.save wrote.")
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{str(path)!r} is no array that numpy.save wrote: {error}") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{str(path)!r} holds several arrays. Expected one, as numpy.save writes it.")
    return found


def _check_certificate(arguments):
    from lipviz import certification
    from lipviz.certification.model_file import load_model_file

    certificate = certification.Certificate.load(arguments.check)
    found = certificate.check(load_model_file(arguments.model))
    verdict = "belongs to" if found else "does not belong to"
    reasons = f": {'; '.join(found.differences)}" if found.differences else f". {certificate.summary}"
    print(f"{arguments.check} {verdict} {arguments.model}{reasons.rstrip('.')}.{found.remarks}")
    return 0 if found else 1
