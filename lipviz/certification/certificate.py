"""What `certify` returns: the bounds of a model and of its steps, as numbers, as a table, and as JSON."""

import dataclasses
import html
import json
import math
import os
from typing import Any

import keras

from lipviz import _moved
from lipviz.certification import certificate_file, results
from lipviz.certification.provenance import Ball, CertificateCheck, Origin, check
from lipviz.certification.results import CertifiedRadii, finite_or_none
from lipviz.types import ArrayLike, Shape

_NAMES = {1: "l1", 2: "l2", math.inf: "l∞"}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is proved about a model's Lipschitz constant: ‖f(x) − f(y)‖ ≤ upper_bound · ‖x − y‖ for all x and y.

    If it has `around`, this holds for x and y in the same of some balls only.

    It holds for the exact function with the weights that inference uses. It does not cover the rounding of what is
    computed with them: see `certified_radius` for certificates that do.

    Attributes:
        model: Name of the model.
        upper_bound: Upper bound that holds for all inputs, or in each ball; infinite where a layer is not known.
        lower_bound: Largest ratio ‖f(x) − f(y)‖ / ‖x − y‖ that a search found; 0 without one.
        layers: A `LayerBound` for each step, in the order of computation.
        norm: 1, 2 or `math.inf`: the norm of inputs and of outputs. Several inputs or outputs count as one vector.
        input_shape: Shape of the input without the batch, None for unknown sizes; a tuple of shapes for several.
        notes: Remarks for the reader, whole sentences.
        origin: How the certificate was made, with hashes of the model; None if `certify` did not make it.
        radii: The `CertifiedRadii` that were saved with the certificate, or None.
        stretches: A `StretchBound` for each bound of several steps together that is smaller than that of single steps.
        around: The `lipviz.certification.provenance.Ball` that the bounds of the model hold in; None for all inputs.
    """

    model: str
    upper_bound: float
    lower_bound: float
    layers: tuple[results.LayerBound, ...]
    norm: float
    input_shape: Shape | tuple[Shape, ...]
    notes: tuple[str, ...] = ()
    origin: Origin | None = dataclasses.field(default=None, repr=False, hash=False)
    radii: CertifiedRadii | None = dataclasses.field(default=None, repr=False, compare=False)
    stretches: tuple[results.StretchBound, ...] = ()
    around: Ball | None = None

    @property
    def unbounded(self) -> tuple[results.LayerBound, ...]:
        """The steps without a bound, a tuple of `LayerBound`."""
        return tuple(layer for layer in self.layers if layer.upper == math.inf)

    def to_dict(self) -> dict[str, Any]:
        """The certificate as a dict of numbers, strings and lists; infinity is None, the norm "1", "2" or "inf".

        Of a bound that holds in balls, "around" has their radius and a hash of their centres.
        """
        shape = keras.tree.map_structure(lambda size: size, self.input_shape)
        return {
            "model": self.model,
            "upper_bound": finite_or_none(self.upper_bound),
            "lower_bound": self.lower_bound,
            "norm": "inf" if self.norm == math.inf else str(self.norm),
            "input_shape": _as_lists(shape),
            "layers": [layer.to_dict() for layer in self.layers],
            "stretches": [stretch.to_dict() for stretch in self.stretches],
            "notes": list(self.notes),
            **({} if self.around is None else {"around": dataclasses.asdict(self.around)}),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The dict as JSON text.

        Args:
            indent: Spaces per level; None for one line.

        Returns:
            A string.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    # --- files ---

    def save(self, path: str | os.PathLike[str], radii: CertifiedRadii | None = None) -> None:
        """Write the certificate to a JSON file, with hashes by which `check` can tell later whether it fits a model.

        The file holds hashes (SHA-256) of the model's configuration and weights as they were when it was certified, the
        bounds of all layers, the settings of the search, and the versions of the packages that computed it. All numbers
        read back exactly; the strings "Infinity" and "NaN" stand for numbers that JSON does not have. The file is
        written as a whole or not at all, and replaces one of the same name. It has a checksum against damage, and no
        signature.

        Args:
            path: Path of the file, as "net.json".
            radii: Result of `certified_radius` for the same model. The radii, the predictions, and a hash of the
                samples are saved, too. By default, the `radii` of the certificate.

        Raises:
            FileNotFoundError: If the folder is missing.
            IsADirectoryError: If the path is a folder.
            OSError: If the file cannot be written.
            TypeError: If `radii` is not such a result.
            ValueError: If the radii are those of another model, the certificate has no hashes, or the name ends like
                that of a saved model, as "net.keras".
        """
        certificate_file.write(path, self, radii)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Certificate":
        """Read a certificate that `save` wrote.

        Args:
            path: Path of the file.

        Returns:
            A `Certificate`, equal to the one that was saved.

        Raises:
            FileNotFoundError: If there is no such file.
            IsADirectoryError: If it is a folder.
            OSError: If the file cannot be read.
            ValueError: If it is damaged, no certificate, or written in another format.
        """
        return cls(**certificate_file.read(path))

    def check(self, model: keras.layers.Layer, x: ArrayLike | None = None) -> CertificateCheck:
        """Check whether the certificate fits a model: whether its hashes are those of the model.

        Names, `trainable`, compilation, and what only training uses may differ. Another version of Keras or of its
        backend gives a note. The bounds are not computed again; `certify` does that.

        Args:
            model: Built Keras model.
            x: Samples to compare with those of its radii, by values, shape and dtype. None compares none.

        Returns:
            A `CertificateCheck`, which is true if the certificate fits the model, and lists the differences.

        Raises:
            TypeError: If `model` is no Keras model or layer.
            ValueError: If the model is not built, the certificate has no hashes, or `x` is given and it has no radii.
        """
        return check(self, model, x)

    @property
    def summary(self) -> str:
        """What is proved, in one sentence."""
        upper = "no bound is known" if self.upper_bound == math.inf else f"at most {rounded_up(self.upper_bound)}"
        found = f", at least {rounded_down(self.lower_bound)} by search" if self.lower_bound else ""
        where = "" if self.around is None else self.around.words
        return f"Lipschitz constant of '{self.model}' in the {_NAMES[self.norm]} norm{where}: {upper}{found}."

    def _rows(self):
        for layer in self.layers:
            attained = "yes" if layer.attained else ""
            upper = "∞" if layer.upper == math.inf else rounded_up(layer.upper)
            yield (
                layer.name,
                layer.kind,
                rounded_down(layer.lower),
                upper,
                attained,
                layer.method,
                f"{layer.milliseconds:.1f}",
            )

    def _stretch_rows(self):
        for stretch in self.stretches:
            product, upper = ("∞" if v == math.inf else rounded_up(v) for v in (stretch.product, stretch.upper))
            yield stretch.name, product, upper, stretch.method, f"{stretch.milliseconds:.1f}"

    def __str__(self):
        layers = _text_table(_HEADER, self._rows(), _ALIGN)
        together = _text_table(_STRETCH_HEADER, self._stretch_rows(), _STRETCH_ALIGN) if self.stretches else []
        return "\n".join([self.summary, *_with_gap(layers), *_with_gap(together), *_with_gap(self.notes)])

    def to_html(self) -> str:
        """The tables and notes as HTML."""
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        caption = f'<caption style="text-align:left">{html.escape(self.summary)}</caption>'
        table = _html_table(_HEADER, self._rows(), _ALIGN, caption)
        if self.stretches:
            table += _html_table(_STRETCH_HEADER, self._stretch_rows(), _STRETCH_ALIGN)
        # On a narrow screen the table scrolls, not the page.
        return f'<div style="overflow-x:auto">{table}</div>' + (f"<ul>{notes}</ul>" if notes else "")

    def _repr_html_(self):
        return self.to_html()


_HEADER = ("layer", "kind", "at least", "at most", "attained", "method", "ms")
_ALIGN = ("left", "left", "right", "right", "center", "left", "right")


_STRETCH_HEADER = ("together", "alone at most", "at most", "method", "ms")
_STRETCH_ALIGN = ("left", "right", "right", "left", "right")


def _text_table(header, rows, align):
    """Lines of a table."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(map(_padded, row, widths, align)) for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return [line.rstrip() for line in lines]


def _html_table(header, rows, align, caption=""):
    head = _html_row(header, 'th scope="col"', align)
    body = "".join(_html_row(row, "td", align) for row in rows)
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def _html_row(cells, tag, align):
    name = tag.split()[0]
    styled = (f'<{tag} style="text-align:{side};padding:.15em .7em .15em 0">' for side in align)
    return (
        "<tr>"
        + "".join(f"{start}{html.escape(cell)}</{name}>" for start, cell in zip(styled, cells, strict=True))
        + "</tr>"
    )


def _padded(cell, width, side):
    return cell.rjust(width) if side == "right" else cell.ljust(width)


def _with_gap(notes):
    return ["", *notes] if notes else []


def rounded_up(value: float) -> str:
    """The value in six digits, rounded up."""
    return _rounded(value, 1)


def rounded_down(value: float) -> str:
    """The value in six digits, rounded down."""
    return _rounded(value, -1)


def _rounded(value, direction):
    text = f"{value:.6g}"
    if direction * (float(text) - value) < 0:
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 5)
        text = f"{value + direction * step / 2:.6g}"
    return text


def _as_lists(shape):
    return [_as_lists(part) if isinstance(part, tuple) else part for part in shape]


def __getattr__(name):
    return _moved.name_of(__name__, name)
