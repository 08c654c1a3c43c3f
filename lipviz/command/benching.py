"""The part of the `lipviz` command that measures times and certified accuracies: its arguments, and what runs them.

This module imports only the standard library, so that the command answers at once.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lipviz import _extras
from lipviz.command import values

# This command in a new process. Its name tells lipviz/__init__.py not to import Keras yet.
_AGAIN = 'import sys; sys.argv[0] = "lipviz"; from lipviz.command.cli import main; sys.exit(main())'
# Options of `lipviz bench certified`, and those of the other sections that it has no use for.
_OF_CERTIFIED = ("--file", "--only", "--epochs", "--seeds", "--validate")
_NOT_OF_CERTIFIED = ("--jit", "--repeats", "--batch", "--json")


def add_command(commands: Any) -> None:
    """Adds `lipviz bench` to the subcommands of a parser."""
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
