"""Modules and names that have moved. The old ones work for one release, and warn of the new ones.

An import hook (a finder) comes before Python's own finders. Without it, Python would find a submodule of a moved
package under its old name, and run it a second time.
"""

import functools
import importlib
import importlib.abc
import importlib.machinery
import inspect
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

# From old modules to new ones, which hold their public names. A submodule of an old module is one of the new module.
MODULES = {
    "lipviz.app": "lipviz.command.app",
    "lipviz.bench": "lipviz.command.bench",
    "lipviz.cli": "lipviz.command.cli",
    "lipviz.certification.entering": "lipviz.certification.input_conversion",
    "lipviz.convolution_norms": "lipviz.normalizers.fourier",
    "lipviz.doctor": "lipviz.command.doctor",
    "lipviz.lab": "lipviz.command.lab",
    "lipviz.measure.algebra": "lipviz.rules.algebra",
    "lipviz.measure.attacks": "lipviz.certification.attacks",
    "lipviz.measure.bounds": "lipviz.rules",
    "lipviz.measure.bounds.linear": "lipviz.certification.matrices",
    "lipviz.measure.bounds.merging": "lipviz.certification.merging",
    "lipviz.measure.certificate": "lipviz.certification.certificate",
    "lipviz.measure.certificate_file": "lipviz.certification.certificate_file",
    "lipviz.measure.certification": "lipviz.certification",
    "lipviz.measure.convolution_claims": "lipviz.measure.claims",
    "lipviz.measure.convolutions": "lipviz.operators",
    "lipviz.measure.fitting": "lipviz.toys.networks",
    "lipviz.measure.layer_playground": "lipviz.measure.layer_measurement",
    "lipviz.measure.operators": "lipviz.operators",
    "lipviz.measure.precision": "lipviz.operators.precision",
    "lipviz.measure.ratios": "lipviz.certification.ratios",
    "lipviz.measure.robustness": "lipviz.certification.radii",
    "lipviz.measure.toy_training": "lipviz.toys.training",
    "lipviz.measure.tradeoff": "lipviz.toys.tradeoff",
    "lipviz.operators.twins": "lipviz.operators.copy_comparison",
    "lipviz.plots.layer_playground": "lipviz.plots.layer_measurement",
    "lipviz.plots.sheet": "lipviz.plots.redrawing",
    "lipviz.plots.letters": "lipviz.plots.text_rendering",
    "lipviz.plots.fitting": "lipviz.plots.function_fits",
    "lipviz.toys.fitting": "lipviz.toys.networks",
}
# From an old module to its old names, each with its new module.
NAMES = {
    "lipviz.measure": {
        **dict.fromkeys(
            (
                "Convolution",
                "conv_singular_values",
                "convolution_bound",
                "explicit_matrix",
                "extreme_singular_values",
                "float64_copy",
                "jacobian_norms",
                "kernels",
                "linear_operator",
                "random_kernel",
                "size_free_bound",
            ),
            "lipviz.operators",
        ),
        **dict.fromkeys(
            (
                "Attack",
                "Certificate",
                "CertificateCheck",
                "CertifiedAccuracy",
                "CertifiedRadii",
                "LayerBound",
                "RatioAscent",
                "SecantRatios",
                "attack",
                "certified_accuracy",
                "certified_radius",
                "certify",
                "certify_file",
                "gradient_ascent_ratio",
                "logit_errors",
                "logits_model",
                "pairwise_bounds",
                "secant_ratios",
            ),
            "lipviz.certification",
        ),
        **dict.fromkeys(
            (
                "ACTIVATIONS",
                "FunctionFit",
                "KRTraining",
                "Tradeoff",
                "TradeoffRun",
                "fit_function",
                "fit_steps",
                "kr_steps",
                "kr_training",
                "toy_classifier",
                "toy_network",
                "tradeoff_run",
                "tradeoff_steps",
                "tradeoff_table",
            ),
            "lipviz.toys",
        ),
        **dict.fromkeys(("Bound", "register_bound"), "lipviz.rules"),
    },
    "lipviz.certification.certificate": {"LayerBound": "lipviz.certification"},
    "lipviz.certification.radii": {"CertifiedAccuracy": "lipviz.certification"},
    "lipviz.normalizers.bounds": {"patch_coverage": "lipviz.normalizers"},
    "lipviz.normalizers.fourier": {
        "largest_eigenvalue": "lipviz.normalizers.largest_eigenvalue",
        "polyphase": "lipviz.normalizers.polyphase",
        "symbols_on": "lipviz.normalizers.symbols",
    },
    "lipviz.measure.gradients": dict.fromkeys(
        ("DEPTH_ACTIVATIONS", "GradientDepth", "gradient_depth", "random_gradient_flows"), "lipviz.measure"
    ),
    "lipviz.measure.transport": dict.fromkeys(("KRTraining", "kr_steps", "kr_training"), "lipviz.toys"),
    "lipviz.toys.networks": dict.fromkeys(
        ("FunctionFit", "TARGETS", "fit_function", "fit_steps"), "lipviz.toys.function_fits"
    ),
}
# From the old full name to the new one, of what has been renamed.
RENAMED = {
    "lipviz.explorers.tradeoff_table.DIALS": "lipviz.explorers.tradeoff_table.LOSSES",
    "lipviz.measure.ConvolutionBound": "lipviz.operators.ConvolutionNormBounds",
    "lipviz.measure.LayerPlay": "lipviz.measure.LayerMeasurement",
    "lipviz.measure.layer_measurement.LayerPlay": "lipviz.measure.LayerMeasurement",
    "lipviz.measure.claims.convolution_norm": "lipviz.measure.claims.largest_singular_value",
    "lipviz.measure.convolution_norm": "lipviz.measure.largest_singular_value",
    "lipviz.monitor.displays.sparks": "lipviz.monitor.displays.sparkline",
    "lipviz.normalizers.fourier.roomy": "lipviz.normalizers.polyphase.enlarged",
    "lipviz.normalizers.fourier.ConvolutionNorm": "lipviz.normalizers.fourier.FourierBound",
    "lipviz.plots.redrawing.Sheet": "lipviz.plots.redrawing.DrawnArtists",
    "lipviz.plots.redrawing.sheet_of": "lipviz.plots.redrawing.drawn_on",
    "lipviz.plots.text_rendering.LetterRenderer": "lipviz.plots.text_rendering.CachedTextRenderer",
    "lipviz.operators.ConvolutionBound": "lipviz.operators.ConvolutionNormBounds",
    "lipviz.operators.convolution_bounds.ConvolutionBound": "lipviz.operators.ConvolutionNormBounds",
    "lipviz.operators.precision.Twin": "lipviz.operators.precision.SyncedFloat64Copy",
    "lipviz.operators.precision.follow": "lipviz.operators.precision.sync_copy",
}


def warn(old: str, new: str, level: int) -> None:
    """Warn that a name has changed.

    Args:
        old: Full name that was used.
        new: Full name to use.
        level: Number of stack frames from this function to the code that used the old name.
    """
    warnings.warn(f"`{old}` has moved and will be removed: use `{new}`.", DeprecationWarning, stacklevel=level + 1)


def name_of(module: str, name: str) -> Any:
    """Find an object by its old name, for the `__getattr__` of its old module.

    Raises:
        AttributeError: If no object of this name has moved or has been renamed.
    """
    old = f"{module}.{name}"
    if old in MODULES:
        warn(old, MODULES[old], 3)
        return importlib.import_module(MODULES[old])
    new = RENAMED.get(old)
    if new is None and name in NAMES.get(module, {}):
        new = f"{NAMES[module][name]}.{name}"
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warn(old, new, 3)
    home, _, name = new.rpartition(".")
    return getattr(importlib.import_module(home), name)


def renamed_argument(old: str, new: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a function take an argument under its old name as well, with a warning.

    Args:
        old: Old name of the argument.
        new: New name of the argument.

    Returns:
        A decorator. The signature of the decorated function does not show the old name.
    """

    def decorate(function):
        @functools.wraps(function)
        def accepting(*args, **named):
            if old in named:
                warn(old, new, 2)
                named[new] = named.pop(old)
            return function(*args, **named)

        vars(accepting)["__signature__"] = inspect.signature(function)
        return accepting

    return decorate


def new_module(name: str) -> str | None:
    """The full name that a module has now; None where it has not moved."""
    if name in MODULES:
        return MODULES[name]
    parent, _, rest = name.rpartition(".")
    return f"{new}.{rest}" if parent and (new := new_module(parent)) else None


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import hook: importing an old module gives the new one."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.startswith("lipviz.") and new_module(fullname) is not None:
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        new = str(new_module(name))  # `find_spec` has seen that there is one
        warn(name, new, _frames_of_import())
        sys.modules[name] = importlib.import_module(new)  # Python returns what it finds here
        sys.modules[name.rpartition(".")[0]].__class__ = _Package


class _Package(types.ModuleType):
    """A package that keeps its functions when an old module of the same name is imported."""

    def __setattr__(self, name, value):
        if not (isinstance(value, types.ModuleType) and callable(vars(self).get(name))):
            super().__setattr__(name, value)


def _frames_of_import():
    """Number of stack frames from `warn` to the import statement; `warnings` does not count the import system's own."""
    depth = 1
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename == __file__ or "importlib" in frame.f_code.co_filename):
        depth, frame = depth + ("_bootstrap" not in frame.f_code.co_filename), frame.f_back
    return depth


def install() -> None:
    """Install the import hook, unless it is installed already."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
