"""The origin of certificates and certified radii, and the check whether they fit a model."""

import dataclasses
import datetime
import platform
import sys
from typing import Any

import keras
import numpy as np

from lipviz._version import __version__
from lipviz.certification.fingerprint import Fingerprint, array_hash, fingerprint
from lipviz.keras_internals import inner_layers
from lipviz.parametrizations import Parametrization
from lipviz.rules.bound import ROUNDING
from lipviz.rules.used import to_numpy
from lipviz.types import ArrayLike

# --- origin ---


@dataclasses.dataclass(frozen=True)
class Origin:
    """How a certificate was made.

    Attributes:
        model_class: Class of the model.
        fingerprint: Hashes of the model as it was then; None where it could not be hashed.
        unhashed: Why it could not be hashed, in words.
        created: Date and time in UTC, as ISO 8601 writes it.
        versions: Versions of lipviz, Keras, its backend, NumPy and Python, a dict.
        arithmetic: How bounds were computed, and what they cover, a dict.
        method: The `method` that `certify` was called with. Files of version 0.2 and before have "product", or
            "exact" where it was called with `exact=True`.
        search: Settings of the search for a lower bound, a dict; None where it found none.
    """

    model_class: str
    fingerprint: Fingerprint | None
    unhashed: str
    created: str
    versions: dict[str, str]
    arithmetic: dict[str, Any]
    method: str
    search: dict[str, Any] | None

    @property
    def exact(self) -> bool:
        """Whether each convolution was bounded in the mode "exact"."""
        return self.method in ("tight", "exact")


@dataclasses.dataclass(frozen=True)
class Data:
    """What identifies an array of samples.

    Attributes:
        sha256: Hash of its dtype, shape and values.
        shape: Its shape.
        dtype: Its dtype.
    """

    sha256: str
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Ball:
    """The balls that a bound holds in.

    Attributes:
        radius: Radius of each, in the norm of the certificate.
        centres: The inputs at their centres, of shape (n, ...) and float64.
    """

    radius: float
    centres: Data

    @property
    def words(self) -> str:
        """Where the bound holds, as " within 0.25 of an input"."""
        count = self.centres.shape[0]
        return f" within {self.radius:g} of {'an input' if count == 1 else f'each of {count} inputs'}"


@dataclasses.dataclass(frozen=True)
class RadiiOrigin:
    """How certified radii were computed.

    Attributes:
        fingerprint: Hashes of the model; None where it has none.
        data: The samples.
        bounds: "computed", or "given" where the caller passed them, and they are not verified.
        logit_error: How far the logits of the network in use may be off, see `certified_radius`.
        margin: Error of float64 logits that is allowed for, relative to their size and that of their inputs. The
            rounding of hidden values is added to it, see `lipviz.certification.rounding`.
        arithmetic: The arithmetic of the network in use, and what is covered of it, in words; "" where the radii are
            those of its evaluation in float64.
    """

    fingerprint: Fingerprint | None
    data: Data
    bounds: str
    logit_error: float
    margin: float
    arithmetic: str = ""


def origin_of(model: keras.layers.Layer, method: str, search: dict[str, Any] | None) -> Origin:
    """The `Origin` of a certificate that is made now.

    Args:
        model: Built Keras model or layer.
        method: See `certify`.
        search: Settings of the search, or None.
    """
    hashes, why = fingerprint_or_why(model)
    return Origin(
        model_class=type(model).__name__,
        fingerprint=hashes,
        unhashed=why,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=versions(),
        arithmetic={
            "bounds": "float64",
            "margin": ROUNDING,
            "model": sorted({layer.dtype_policy.name for layer in _computing(model)}),
            "covers": "weights as the dtype of their layer rounds them, not the rounding of what is computed with them",
        },
        method=method,
        search=search,
    )


def fingerprint_or_why(model: keras.layers.Layer) -> tuple[Fingerprint | None, str]:
    """The tuple (`fingerprint` of a model, ""), or (None, why it has none)."""
    try:
        return fingerprint(model), ""
    except Exception as error:  # of a `get_config` that is not ours
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def data_of(x: ArrayLike) -> Data:
    """The `Data` of samples: an array, a tensor, or nested lists."""
    array = to_numpy(x)
    return Data(array_hash(array), array.shape, array.dtype.name)


def versions() -> dict[str, str]:
    """Versions of the packages that compute, a dict of strings."""
    backend = keras.backend.backend()
    return {
        "lipviz": __version__,
        "keras": keras.__version__,
        "backend": f"{backend} {getattr(sys.modules.get(backend), '__version__', 'of an unknown version')}",
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _computing(model):
    idle = (keras.Model, keras.layers.InputLayer, Parametrization)
    layers = [layer for layer in [model, *inner_layers(model)] if not isinstance(layer, idle)]
    return layers or [model]


# --- check ---


@dataclasses.dataclass(frozen=True)
class CertificateCheck:
    """Whether a certificate fits a model: `if certificate.check(model): ...`.

    Attributes:
        differences: What differs, in words; empty where the certificate fits the model.
        notes: Remarks that are no differences, such as another version of Keras.
    """

    differences: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __bool__(self):
        return self.holds

    def __str__(self):
        verdict = "The certificate fits this model" if self.holds else "The certificate does not fit this model"
        return f"{verdict}{': ' if self.differences else ''}{'; '.join(self.differences)}.{self.remarks}"

    @property
    def remarks(self) -> str:
        """The notes in brackets, one line that starts with a space; empty where there are none."""
        return f" ({'; '.join(self.notes)})" if self.notes else ""


def check(certificate: Any, model: keras.layers.Layer, x: ArrayLike | None = None) -> CertificateCheck:
    """Compare the hashes of a `Certificate` with those of a model; see `Certificate.check`."""
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"`check` expects a Keras model or layer. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"'{model.name}' must be built before it is compared: call it on data, or `build` it.")
    origin = certificate.origin
    if origin is None or origin.fingerprint is None:
        raise ValueError(f"The certificate of '{certificate.model}' holds no hashes: {why_unhashed(certificate)}.")
    found, why = fingerprint_or_why(model)
    if found is None:
        return CertificateCheck((f"the model cannot be hashed ({why})",))
    others = _other_versions(origin.versions)
    differences = [*_changes(origin.fingerprint, found, "keras" in others), *_changed_data(certificate.radii, x)]
    notes = [f"made with {old}, compared with {new}" for old, new in others.values()]
    if certificate.radii is not None and x is None:
        notes.append("its radii belong to samples that were not compared")
    return CertificateCheck(tuple(differences), tuple(notes))


def why_unhashed(certificate: Any) -> str:
    """Why a `Certificate` has no hashes, in words."""
    if certificate.origin is None:
        return "it was not made by `certify`"
    return f"the model has no configuration that can be written down ({certificate.origin.unhashed})"


def _changes(old, new, other_keras):
    if old.configuration != new.configuration:
        doubt = ", unless the other version of Keras only describes it in another way" if other_keras else ""
        yield f"its configuration has changed (architecture, or a setting such as k){doubt}"
    if old.weights != new.weights:
        yield "its weights have changed"
    elif old.configuration == new.configuration and old.constrained != new.constrained:
        yield (
            "its constrained kernels are not those that were certified, though its raw kernels are (a call in "
            "training may round them in another way: `lipviz.model.refresh` it, and compare or certify it again)"
        )


def _changed_data(radii, x):
    if x is None:
        return
    if radii is None:
        raise ValueError("The certificate holds no radii, so there are no samples to compare. Expected x=None.")
    known, given = radii.origin.data, data_of(x)
    kinds = [f"{data.dtype} of shape {data.shape}" for data in (given, known)]
    if given != known:
        yield "the samples are not those of its radii" + (
            "" if kinds[0] == kinds[1] else f" ({kinds[0]}, not {kinds[1]})"
        )


def _other_versions(old):
    """The versions that differ, as a dict from a name to the words (old, new)."""
    return {
        name: tuple(version if name == "backend" else f"{name} {version}" for version in (old[name], new))
        for name, new in versions().items()
        if name in old and old[name] != new
    }
