"""Draws random models and attacks every claim that lipviz makes about them.

    python -m tools.red_team [--minutes N] [--seed S] [--backend tensorflow|jax] [--claims NAME ...]

The seed is printed first; the same seed draws the same models. Each violation is printed with a small program that
shows it, and a table at the end says how many models were drawn and what was checked. What lipviz refuses in a clear
`ValueError`, and bounds that are infinite, are counted and are fine; models that Keras cannot build or run are thrown
away. The exit status is 1 where there is a violation. A crash of the red team itself is printed in the same way. It
says nothing about lipviz, so it changes the exit status only where it ends more than one of a hundred models.
"""

import argparse
import logging
import os
import secrets
import sys
import time
import warnings


def parse(arguments=None):
    """The arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.red_team", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--minutes", metavar="N", type=float, default=1.5, help="how long to hunt (1.5)")
    parser.add_argument("--seed", metavar="S", type=int, help="draw the models of another run again")
    parser.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow", help="of Keras (tensorflow)")
    parser.add_argument("--claims", metavar="NAME", nargs="+", help="attack only these; all by default")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.minutes < float("inf"):
        parser.error(f"--minutes must be a number above 0. Received: {chosen.minutes:g}")
    if chosen.seed is not None and chosen.seed < 0:
        parser.error(f"--seed must be at least 0. Received: {chosen.seed}")
    os.environ["KERAS_BACKEND"] = chosen.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tools.red_team.claims import CLAIMS  # imports Keras, which asks for its backend then

    unknown = set(chosen.claims or ()) - CLAIMS.keys()
    if unknown:
        parser.error(f"--claims must be of {', '.join(map(repr, CLAIMS))}. Received: {', '.join(sorted(unknown))}")
    chosen.claims = tuple(chosen.claims or CLAIMS)
    return chosen


def main(arguments=None):
    """Run the command; returns the exit status."""
    chosen = parse(arguments)
    from tools.red_team import report
    from tools.red_team.hunt import Hunt

    seed = secrets.randbelow(2**32) if chosen.seed is None else chosen.seed
    print(f"Seed: {seed}", flush=True)
    warnings.simplefilter("ignore")  # of drawn models; what counts is turned into errors where it is looked for
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    began = time.monotonic()
    hunt = Hunt(seed, 60 * chosen.minutes, chosen.claims, told=lambda found: print(report.violation(found), flush=True))
    try:
        hunt.run()
    finally:
        print(report.summary(hunt, time.monotonic() - began), flush=True)
    return int(hunt.has_failed)


if __name__ == "__main__":
    sys.exit(main())
