"""Results of a benchmark, as tables and as JSON."""

import dataclasses
import json
import math


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table: what was measured, and its value for each contender.

    Attributes:
        name: What was measured.
        values: Dict from the contender to a `Timing`, or to a number in the section's unit.
        ratios: Dict from a name to a ratio.
    """

    name: str
    values: dict
    ratios: dict


@dataclasses.dataclass(frozen=True)
class Section:
    """A table.

    Attributes:
        title: What was measured, and how.
        unit: Unit of the values.
        rows: Tuple of `Row`.
    """

    title: str
    unit: str
    rows: tuple[Row, ...]

    def __str__(self):
        contenders = list(dict.fromkeys(name for row in self.rows for name in row.values))
        ratios = list(dict.fromkeys(name for row in self.rows for name in row.ratios))
        head = ["", *(f"{name} [{self.unit}]" for name in contenders), *ratios]
        lines = [head]
        for row in self.rows:
            values = [_value(row.values[name]) if name in row.values else "" for name in contenders]
            lines.append([row.name, *values, *(_ratio(row.ratios.get(name)) for name in ratios)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = (
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
        )
        return "\n".join([self.title, *(f"  {text}" for text in texts)])


@dataclasses.dataclass(frozen=True)
class Report:
    """All sections, and the setting in which they were measured.

    Attributes:
        setting: Dict of versions, backend, processor cores and options.
        sections: Tuple of `Section`.
    """

    setting: dict
    sections: tuple[Section, ...]

    def __str__(self):
        setting = ", ".join(f"{name} {value}" for name, value in self.setting.items())
        return "\n\n".join([setting, *map(str, self.sections)])

    def to_json(self) -> str:
        """The report as JSON: times in seconds, sizes of memory in MiB."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def _value(value):
    value = getattr(value, "seconds", value)
    if isinstance(value, int):
        return str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value) * 1e3))) if value else 0
    return f"{1e3 * value:.{min(digits, 3)}f}"


def _ratio(value):
    return "" if value is None else f"{value:.2f}"
