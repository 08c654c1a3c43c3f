"""Certificates of all cases of the citizenship test, and of the files of version 0.1.

The weights are drawn, not trained: what a training of a few steps ends at depends on the processor. In l2, l1 and l∞,
of the whole model and of each of its layers, from below and from above, with the words that say how it was found. Not
pinned: the lower bound of the whole, which a search finds, and times.

On JAX every fifth case is measured, as in the citizenship test.
"""

from lipviz import certification
from tools.pins import draws, rounding, version_0_1

FILE = "certificates.json"
NORMS = {"l2": 2, "l1": 1, "l∞": "inf"}


def present():
    """Entries by the id of a case, or the name of a file."""
    from tests.layers import citizenship

    found = {}
    for case in citizenship.all_cases():
        name = citizenship.case_id(case)
        settings = {key: value for key, value in case.items() if key != "how"}  # of the training
        model, layer, _ = citizenship.network(**settings)
        draws.set_weights(model, name)
        found[name] = _entry(model, layer.compute_dtype)
    for name in version_0_1.MODELS:
        model = version_0_1.loaded(name)
        found[f"{version_0_1.FILE}/{name}.keras"] = _entry(model, model.layers[-1].compute_dtype)
    return found


def _entry(model, dtype):
    entry = {"dtype": dtype}
    for norm, value in NORMS.items():
        certificate = certification.certify(model, norm=value, search=False)
        rows = [[row.kind, row.lower, _finite(row.upper), row.method] for row in certificate.layers]
        entry[norm] = {"bound": _finite(certificate.upper_bound), "layers": rows}
    return entry


def _finite(value):
    """JSON has no infinity."""
    return value if value < float("inf") else "infinity"


def tolerance(name, key):
    """Two steps of Björck, at most eight products before and behind them, eight of the Fourier bound; rows of 18."""
    dtype = _dtype(name)
    amplification = rounding.bjorck_amplification(2, 0.5)
    exact = "float64" if dtype == "float64" else "float32"
    return rounding.of_products(exact, 20, 18, amplification) + rounding.of_halves(dtype)


def _dtype(name):
    for dtype in ("float64", "bfloat16", "float16"):
        if dtype in name:
            return dtype
    return "float32"
