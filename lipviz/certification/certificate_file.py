"""Certificates as files: JSON, which everybody can read, and no code.

Numbers are written so that they read back exactly. JSON has no infinity: "Infinity", "-Infinity" and "NaN" stand for
what is not finite. The checksum finds damage. It is no signature: it does not tell who wrote the file.
"""

import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from lipviz._files import write_whole
from lipviz._version import __version__
from lipviz.certification.fingerprint import Fingerprint
from lipviz.certification.provenance import Ball, Data, Origin, RadiiOrigin, why_unhashed
from lipviz.certification.results import CertifiedRadii, LayerBound, StretchBound

FORMAT = "lipviz certificate"
FORMAT_VERSION = 1
_IN_BALLS = (
    2  # of bounds that hold in balls only, so that what reads format 1 does not take them for those of all inputs
)
_OF_MODELS = (".keras", ".h5", ".hdf5")
_MODEL_STARTS = (b"PK\x03\x04", b"\x89HDF")
_NORMS = {"1": 1, "2": 2, "inf": math.inf}


# --- writing ---


def write(path: str | os.PathLike[str], certificate: Any, radii: CertifiedRadii | None = None) -> None:
    """Write a `Certificate` to a file; see `Certificate.save`."""
    path = check_target(path)
    content = _content(certificate, _checked_radii(certificate, radii))
    version = FORMAT_VERSION if certificate.around is None else _IN_BALLS
    content = {"format": FORMAT, "format_version": version, "checksum": _checksum(content), **content}
    write_whole(path, (_text(content) + "\n").encode("utf-8", "backslashreplace"))


def check_target(path: str | os.PathLike[str]) -> Path:
    """The path of a new certificate; raises an error if it cannot be written, see `Certificate.save`."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Expected the name of a file, such as 'net.json'.")
    if path.suffix.lower() in _OF_MODELS:
        raise ValueError(f"A certificate is JSON: expected a name such as 'net.json'. Received: {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} for the certificate {path.name!r}.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{str(path)!r} is no regular file. Expected the name of a file, such as 'net.json'.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{str(path)!r} may not be written.")
    return path


def _checked_radii(certificate, radii):
    """The radii that belong to a certificate, or None."""
    if certificate.origin is None or certificate.origin.fingerprint is None:
        raise ValueError(f"The certificate of '{certificate.model}' cannot be saved: {why_unhashed(certificate)}.")
    radii = certificate.radii if radii is None else radii
    if radii is None:
        return None
    if not isinstance(radii, CertifiedRadii):
        raise TypeError(f"`radii` must be what `certified_radius` returns. Received: {type(radii).__name__}")
    if radii.origin is None:
        raise ValueError("`radii` must be what `certified_radius` returned. Received: radii of unknown samples")
    if radii.origin.fingerprint != certificate.origin.fingerprint:
        raise ValueError(
            f"`radii` must be those of the model that was certified, '{certificate.model}', with the same weights and "
            "configuration. Received: radii of another model, or of this one before or after a change"
        )
    return radii


def _content(certificate, radii):
    origin = certificate.origin
    return _encoded(
        {
            "created": origin.created,
            "model": {
                "name": certificate.model,
                "class": origin.model_class,
                "sha256": dataclasses.asdict(origin.fingerprint),
            },
            "versions": origin.versions,
            "norm": _norm_name(certificate.norm),
            "input_shape": certificate.input_shape,
            "upper_bound": certificate.upper_bound,
            "lower_bound": certificate.lower_bound,
            "layers": [dataclasses.asdict(layer) for layer in certificate.layers],
            "notes": certificate.notes,
            "arithmetic": origin.arithmetic,
            "method": origin.method,
            "exact": origin.exact,
            "stretches": [dataclasses.asdict(stretch) for stretch in certificate.stretches],
            "search": origin.search,
            "radii": None if radii is None else _of_radii(radii),
            **({} if certificate.around is None else {"around": dataclasses.asdict(certificate.around)}),
        }
    )


def _of_radii(radii):
    origin = radii.origin
    return {
        "norm": "2",
        "data": dataclasses.asdict(origin.data),
        "arithmetic": {"logits": "float64", "margin": origin.margin, "logit_error": origin.logit_error}
        | ({"of_network": origin.arithmetic} if origin.arithmetic else {}),
        "bounds_are": origin.bounds,
        "bounds": radii.bounds,
        "radii": radii.radii,
        "predicted": radii.predicted,
        "margins": radii.margins,
        "labels": radii.labels,
    }


def _norm_name(norm):
    return next(name for name, value in _NORMS.items() if value == norm)


def _encoded(value):
    """A value in the types of JSON."""
    if isinstance(value, dict):
        return {key: _encoded(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _encoded(value.tolist())
    if isinstance(value, list | tuple):
        return [_encoded(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _text(value, indent=""):
    """JSON with a line for each entry of a dict, and one for each row of numbers."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{json.dumps(key)}: {_text(part, deeper)}" for key, part in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return "[\n" + ",\n".join(f"{deeper}{_text(part, deeper)}" for part in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _checksum(content):
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# --- reading ---


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the arguments of a `Certificate` from a file, a dict; see `Certificate.load`."""
    path = Path(path)
    content = _parsed(path)
    version = content.pop("format_version", None)
    if content.pop("format", None) != FORMAT or version is None:
        raise ValueError(f"{str(path)!r} is no certificate of lipviz. Expected a file that `Certificate.save` wrote.")
    if version != (_IN_BALLS if content.get("around") else FORMAT_VERSION):
        raise ValueError(
            f"{str(path)!r} is a certificate in format {version!r}, and lipviz {__version__} reads format "
            f"{FORMAT_VERSION}. Use the version of lipviz that wrote it, or certify the model anew."
        )
    if content.pop("checksum", None) != _checksum(content):
        raise ValueError(f"{str(path)!r} is damaged or was edited: it differs from its checksum.")
    try:
        return _arguments(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it holds no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{str(path)!r} is no whole certificate: {what}.") from error


def _parsed(path):
    """Content of a JSON file, a dict; raises ValueError if it is something else."""
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file {str(path)!r}. Expected a certificate that `Certificate.save` wrote."
        )
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Expected a certificate that `Certificate.save` wrote.")
    with path.open("rb") as file:
        raw = file.read(4)
        if raw in _MODEL_STARTS:
            raise ValueError(f"{str(path)!r} is a saved model. Expected a certificate that `Certificate.save` wrote.")
        raw += file.read()
    if not raw.strip():
        raise ValueError(f"{str(path)!r} is empty. Expected a certificate that `Certificate.save` wrote.")
    try:
        content = json.loads(raw.decode("utf-8-sig"), parse_constant=_refused)
        _checksum(content)  # numbers such as 1e999 are not finite either
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no certificate, or a damaged one: it is no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} is no certificate of lipviz. Expected a file that `Certificate.save` wrote.")
    return content


def _refused(name):
    raise ValueError(f"{name} is no number of JSON")


def _arguments(content):
    """The arguments of a `Certificate`, from the content of a file."""
    model = content["model"]
    origin = Origin(
        model_class=model["class"],
        fingerprint=Fingerprint(**model["sha256"]),
        unhashed="",
        method=content.get("method", "exact" if content["exact"] else "product"),
        **{name: content[name] for name in ("created", "versions", "arithmetic", "search")},
    )
    radii = content["radii"]
    return dict(
        model=model["name"],
        upper_bound=float(content["upper_bound"]),
        lower_bound=float(content["lower_bound"]),
        layers=tuple(_layer(row) for row in content["layers"]),
        norm=_NORMS[content["norm"]],
        input_shape=_as_tuples(content["input_shape"]),
        notes=tuple(content["notes"]),
        origin=origin,
        radii=None if radii is None else _radii(radii, origin.fingerprint),
        stretches=tuple(_stretch(row) for row in content.get("stretches", ())),
        around=_ball(content["around"]) if "around" in content else None,
    )


def _stretch(row):
    numbers = {name: float(row[name]) for name in ("upper", "product", "milliseconds")}
    return StretchBound(**{**row, **numbers, "steps": tuple(row["steps"])})


def _ball(content):
    data = content["centres"]
    return Ball(float(content["radius"]), Data(data["sha256"], _as_tuples(data["shape"]), data["dtype"]))


def _layer(row):
    numbers = {name: float(row[name]) for name in ("lower", "upper", "milliseconds")}
    return LayerBound(**{**row, **numbers})


def _radii(content, hashes):
    data, arithmetic = content["data"], content["arithmetic"]
    return CertifiedRadii(
        radii=np.array(content["radii"], np.float64),
        predicted=np.array(content["predicted"], np.int64),
        margins=np.array(content["margins"], np.float64),
        labels=None if content["labels"] is None else np.array(content["labels"], np.int64),
        bounds=np.array(content["bounds"], np.float64),
        origin=RadiiOrigin(
            fingerprint=hashes,
            data=Data(data["sha256"], _as_tuples(data["shape"]), data["dtype"]),
            bounds=content["bounds_are"],
            logit_error=float(arithmetic["logit_error"]),
            margin=float(arithmetic["margin"]),
            arithmetic=str(arithmetic.get("of_network", "")),
        ),
    )


def _as_tuples(shape):
    return tuple(_as_tuples(part) if isinstance(part, list) else part for part in shape)
