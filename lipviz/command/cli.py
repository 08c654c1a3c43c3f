"""The `lipviz` command: open or list the course, open explorers or the playground, check the installation, and more.

This module imports only the standard library, so that the command answers at once. Each subcommand imports what it
needs.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lipviz import _extras
from lipviz._version import __version__
from lipviz.command import lecturers, reporting, values, workers

# This command in a new process. Its name tells lipviz/__init__.py not to import Keras yet.
_AGAIN = 'import sys; sys.argv[0] = "lipviz"; from lipviz.command.cli import main; sys.exit(main())'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: its arguments; None takes those of the process.

    Returns:
        The exit status: 0, or 1 after one line on stderr that says what is wrong. For `certify --check`, 0 means that
        the certificate belongs to the model, 1 that it does not, and 2 that something is wrong.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an old terminal, or a file on Windows, lacks some of the characters
    arguments = _parse(list(sys.argv[1:] if argv is None else argv))
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()  # what may fail fails here, and not when Python ends
        return status
    except BrokenPipeError:  # `lipviz notebooks | head -1` wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # such as a disk that is full
        print(f"lipviz: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}", file=sys.stderr)
        return 1
    except _extras.MissingExtraError as error:  # whose message begins with "lipviz"
        print(error, file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in _extras.BACKENDS:
            raise
        words = f"Keras's backend {error.name} is not installed. Type: {_extras.installing(error.name)}"
        print(f"lipviz: {words}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except _lab_error() as error:
        print(f"lipviz: {error}", file=sys.stderr)
        return 1


def _lab_error():
    """The class of errors of the course's folder and of servers; Python asks for it where an error arrives only."""
    from lipviz.command.lab import LabError

    return LabError


def _parse(argv):
    # Without the split, argparse would take arguments after `--` for DIR.
    argv, further = _split(argv)
    parser = _build_parser()
    arguments, unknown = parser.parse_known_args(argv)
    arguments.further = unknown + further
    arguments.given = argv[1:]
    if arguments.further and arguments.run not in (_lab, workers.run):
        parser.error(f"unrecognized arguments: {' '.join(arguments.further)}")
    return arguments


def _split(argv):
    """Splits the arguments at the first `--`."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _build_parser():
    parser = argparse.ArgumentParser(
        prog="lipviz", description="Learn and explore Lipschitz-constrained neural networks.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"lipviz {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    lab = commands.add_parser(
        "lab",
        help="copy the course to a folder and open it in JupyterLab",
        description="Copy the course to DIR, and open JupyterLab there. DIR is created if it does not exist. A lesson "
        "that you changed is never overwritten. A lesson that you did not change is updated.",
        epilog="Arguments that are not listed here, and all after --, go to `jupyter lab`; write them --name=value.",
        allow_abbrev=False,
    )
    lab.add_argument(
        "dir", metavar="DIR", nargs="?", type=Path, default=Path("lipviz-course"), help="default: %(default)s"
    )
    lab.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")
    lab.add_argument("--port", type=_port, help="port to listen on; default: the first free one from 8888 on")
    lab.set_defaults(run=_lab)

    app = commands.add_parser(
        "app",
        help="open all explorers, or one of them, as a web page",
        description="Open all explorers, or the explorer NAME, as a web page. It needs no notebook and shows no code.",
        allow_abbrev=False,
    )
    app.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="an explorer, such as bjorck, or a file FILE.py that registers one of your own; default: all of them",
    )
    app.add_argument(
        "--state",
        metavar="JSON",
        type=_state,
        help="values of the controls of NAME, such as '{\"rows\": 32}'; the address that is printed holds them",
    )
    app.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")
    app.add_argument("--port", type=_port, help="port to listen on; default: the first free one from 8888 on")
    app.set_defaults(run=_app)

    playground = commands.add_parser(
        "playground",
        help="open the playground, where two networks learn the points that you draw",
        description="Open the playground of the documentation. An ordinary and a constrained network learn the points "
        "that you draw. It runs in the browser, and needs neither a notebook nor the internet.",
        allow_abbrev=False,
    )
    playground.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")
    playground.add_argument("--port", type=_port, help="port to listen on; default: the first free one from 8888 on")
    playground.set_defaults(run=_playground)

    notebooks = commands.add_parser("notebooks", help="list the lessons and their running times", allow_abbrev=False)
    notebooks.add_argument("lessons", metavar="LESSON", nargs="*", help=lecturers.LESSON)
    notebooks.add_argument("--key", action="store_true", help="for lecturers: print the answers to the exercises")
    notebooks.set_defaults(run=_notebooks)
    lecturers.add_commands(commands)

    doctor = commands.add_parser(
        "doctor",
        help="check the installation and the data sets",
        description="Say what is installed, whether there is a GPU, which data sets are available, and what to do "
        "about missing parts. The exit status is 1 if a part that lipviz needs is broken.",
        allow_abbrev=False,
    )
    doctor.add_argument(
        "--lab", action="store_true", help="exit with status 1 also if the course, plots or explorers lack a package"
    )
    doctor.set_defaults(run=_doctor)

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

    reporting.add_command(commands)
    workers.add_command(commands)

    bench = commands.add_parser(
        "bench",
        help="measure the time of lipviz and of plain Keras, or what certified networks reach",
        description="Measure the time of training steps, of inference and of single parts, for lipviz and for plain "
        "Keras in turn, in one process. Print tables of medians and ratios. With the section 'certified' alone: train "
        "networks of each kind of layers and with each loss on Fashion-MNIST, which takes hours, and write down their "
        "certified accuracies. It may be ended by Ctrl-C, and goes on with the first network that has no row yet.",
        allow_abbrev=False,
    )
    bench.add_argument(
        "sections",
        metavar="SECTION",
        nargs="*",
        help="networks, floor, prediction, batches, activations, poolings, kernels, "
        "convergence, memory, imports; all of these by default; or certified",
    )
    bench.add_argument("--backend", choices=("tensorflow", "jax"), help="default: the backend that Keras is set to")
    bench.add_argument("--jit", action="store_true", help="let XLA compile TensorFlow's graphs; JAX always does")
    bench.add_argument(
        "--peer",
        metavar="NAME",
        help="another library to compare with: deel-torchlip, deel-lip, or a module; "
        "with certified: deel-torchlip or orthogonium",
    )
    bench.add_argument(
        "--repeats", metavar="N", type=values.count, default=20, help="number of rounds; default: %(default)s"
    )
    bench.add_argument(
        "--batch", metavar="N", type=values.count, default=256, help="size of a batch; default: %(default)s"
    )
    bench.add_argument("--json", metavar="FILE", type=Path, help="also write the results to FILE, as JSON")
    bench.add_argument("--markdown", metavar="FILE", type=Path, help="also write them to FILE, as tables with spreads")
    _add_certified(bench.add_argument_group("options of the section 'certified'"))
    bench.set_defaults(run=_bench, error=bench.error)
    return parser


# Options of `lipviz bench certified`, and those of the other sections that it has no use for.
_OF_CERTIFIED = ("--file", "--only", "--epochs", "--seeds", "--validate")
_NOT_OF_CERTIFIED = ("--jit", "--repeats", "--batch", "--json")


def _add_certified(group):
    group.add_argument("--file", metavar="FILE", type=Path, help="file of rows, one for each network; needed")
    group.add_argument("--only", metavar="NAME", nargs="+", help="layers and losses, such as AOLConv2D or emma")
    group.add_argument(
        "--epochs", metavar="N", nargs="+", default=["5"], help="length of the trainings: 5, 20 or hour; default: 5"
    )
    group.add_argument(
        "--seeds", metavar="N", nargs="+", type=values.whole, default=[0, 1, 2], help="seeds; default: 0 1 2"
    )
    group.add_argument(
        "--validate",
        action="store_true",
        help="train on the first 50,000 images, and measure on the other 10,000 of the training set",
    )


class _Once(argparse.Action):
    """Stores a value, and refuses a second one, which would silently replace the first."""

    def __call__(self, parser, namespace, values, option_string=None):
        if getattr(namespace, self.dest) is not None:
            parser.error(f"argument {option_string}: given twice")
        setattr(namespace, self.dest, values)


def _state(text):
    try:
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise argparse.ArgumentTypeError(f"expected JSON with names, such as '{{\"rows\": 32}}', got {text!r}")
    return text


def _port(text):
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text!r}")
    return port


def _lab(arguments):
    _extras.need("lipviz lab")
    from lipviz.command import lab

    lab.open_lab(arguments.dir, port=arguments.port, browser=arguments.browser, further=arguments.further)
    return 0


def _app(arguments):
    _extras.need("lipviz app")
    from lipviz.command import app

    app.open_app(arguments.name, port=arguments.port, browser=arguments.browser, state=arguments.state)
    return 0


def _playground(arguments):
    from lipviz.command import playground

    playground.open_playground(port=arguments.port, browser=arguments.browser)
    return 0


def _notebooks(arguments):
    _extras.need("lipviz notebooks")
    from lipviz.command import lab

    if arguments.key:
        return lecturers.print_key(arguments.lessons)
    lessons = lab.find_lessons(arguments.lessons)
    rows = [("file", "title", "minutes on 2 cores")]
    rows += [(lesson.path.name, lesson.title, f"{lesson.minutes:g}") for lesson in lessons]
    _print_table(rows)
    return 0


def _doctor(arguments):
    from lipviz.command import doctor
    from lipviz.command.import_messages import without_import_messages

    with without_import_messages():
        report = doctor.examine()
    for title, findings in report.items():
        print(f"{title}:")
        _print_table([(finding.name, finding.text) for finding in findings], indent="  ")
    found = [finding for findings in report.values() for finding in findings]
    broken = [finding.name for finding in found if finding.broken]
    is_partial = any(finding.missing for finding in found)
    if broken:
        print(f"Broken, and needed: {', '.join(broken)}.")
    elif is_partial:
        print("All that layers, losses, certificates and measurements need is here.")
    else:
        print("All that lipviz needs is here.")
    if is_partial:
        print(f"For the course, plots, explorers and attacks, type: {_extras.command('lab')}")
    return 1 if broken or (is_partial and arguments.lab) else 0


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


def _bench(arguments):
    from lipviz.command.import_messages import without_import_messages

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if arguments.backend and os.environ.get("KERAS_BACKEND") != arguments.backend:
        # Keras may have been imported already, and a process has only one backend.
        environment = {**os.environ, "KERAS_BACKEND": arguments.backend}
        return subprocess.call([sys.executable, "-c", _AGAIN, "bench", *arguments.given], env=environment)

    is_certified = "certified" in arguments.sections
    _check_bench(arguments, is_certified)
    if is_certified:
        return _bench_certified(arguments)

    with without_import_messages():
        from lipviz.command import bench

    def tell(title):
        print(f"{title} …", file=sys.stderr, flush=True)

    try:
        report = bench.run(
            arguments.sections or None,
            repeats=arguments.repeats,
            batch=arguments.batch,
            jit_compile=arguments.jit,
            peer=arguments.peer,
            progress=tell,
        )
        if arguments.json is not None:
            arguments.json.write_text(report.to_json() + "\n", encoding="utf-8")
        if arguments.markdown is not None:
            arguments.markdown.write_text(report.to_markdown() + "\n", encoding="utf-8")
    except (OSError, RuntimeError, ValueError) as error:
        print(f"lipviz: {error}", file=sys.stderr)
        return 1
    print(report)
    return 0


def _check_bench(arguments, is_certified):
    """Refuses options that would have no effect."""
    if is_certified and len(arguments.sections) > 1:
        arguments.error("the section 'certified' takes hours and runs alone, without other sections")
    of_others = _NOT_OF_CERTIFIED if is_certified else _OF_CERTIFIED
    unused = [name.split("=")[0] for name in arguments.given if name.split("=")[0] in of_others]
    if unused:
        section = "with" if is_certified else "without"
        arguments.error(f"not allowed {section} the section 'certified': {', '.join(unused)}")
    if is_certified and arguments.file is None:
        arguments.error("the section 'certified' needs --file FILE, to which it appends a row for each network")


def _bench_certified(arguments):
    from lipviz.command.import_messages import without_import_messages

    if arguments.markdown is None:
        _extras.need("lipviz.certification.attack")  # before hours of training
    with without_import_messages():
        from lipviz.command.bench import certified

    try:
        certified.run(
            arguments.file,
            budgets=arguments.epochs,
            seeds=arguments.seeds,
            only=arguments.only,
            validated=arguments.validate,
            peer=arguments.peer,
            markdown=arguments.markdown,
            tell=lambda line: print(line, flush=True),
        )
    except (OSError, RuntimeError, ValueError) as error:
        print(f"lipviz: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lipviz: ended by Ctrl-C. The same command goes on from {arguments.file}", file=sys.stderr)
        return 130
    return 0


def _print_table(rows, indent=""):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
