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
        lines = self._lines(_value, _ratio)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = (
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
        )
        return "\n".join([self.title, *(f"  {text}" for text in texts)])

    def to_markdown(self) -> str:
        """The table in Markdown. Medians have half of their interquartile ranges behind them, with a ±."""
        head, *lines = self._lines(_value_with_spread, _ratio_with_spread)
        rows = [head, ["---", *("--:" for _ in head[1:])], *lines]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in rows)])

    def _lines(self, value, ratio):
        """Lines of cells, the head first, by functions that write a value, and the ratio of a row with a name."""
        contenders = list(dict.fromkeys(name for row in self.rows for name in row.values))
        ratios = list(dict.fromkeys(name for row in self.rows for name in row.ratios))
        lines = [["", *(f"{name} [{self.unit}]" for name in contenders), *ratios]]
        for row in self.rows:
            values = [value(row.values[name]) if name in row.values else "" for name in contenders]
            lines.append([row.name, *values, *(ratio(row, name) if name in row.ratios else "" for name in ratios)])
        return lines


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

    def to_markdown(self) -> str:
        """The report as a page in Markdown."""
        setting = ", ".join(f"{name} {value}" for name, value in self.setting.items())
        return "\n\n".join([setting, *(section.to_markdown() for section in self.sections)])

    def to_json(self) -> str:
        """The report as JSON: times in seconds, sizes of memory in MiB."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def _value(value):
    value = getattr(value, "seconds", value)
    if isinstance(value, int):
        return str(value)
    return f"{1e3 * value:.{_digits(value)}f}"


def _value_with_spread(value):
    if not hasattr(value, "spread"):
        return _value(value)
    return f"{_value(value)} ± {1e3 * value.spread:.{_digits(value.seconds)}f}"


def _digits(seconds):
    """Number of decimals that write a time in milliseconds with three figures, at most three."""
    return min(max(0, 2 - math.floor(math.log10(abs(seconds) * 1e3))) if seconds else 0, 3)


def _ratio(row, name):
    return f"{row.ratios[name]:.2f}"


def _ratio_with_spread(row, name):
    """A ratio, with the spread of its first part where that is compared with the first contender."""
    first, _, second = name.partition(" / ")
    timing = row.values.get(first)
    is_of_rounds = hasattr(timing, "ratio_spread") and second == next(iter(row.values))
    return _ratio(row, name) + (f" ± {timing.ratio_spread:.2f}" if is_of_rounds else "")
