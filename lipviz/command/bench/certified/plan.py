"""What the benchmark trains: a star, each layer with one loss, and each loss with one layer, for several seeds."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lipviz.command.bench.certified.rows import hash_of
from lipviz.recipes import LOSSES, Recipe
from lipviz.recipes.networks import CONVOLUTIONS, DENSE, layers_of_kind
from lipviz.recipes.objectives import check_name

RADIUS = 0.5
EPSILONS = {"36/255": 36 / 255, "0.5": 0.5, "1.0": 1.0}
"""Sizes of the changes, by the names that they have in rows."""
LAYER, LOSS = "SpectralConv2D", "offset"
"""The centre of the star."""
BUDGETS = ("5", "20", "hour")
HOUR = {"epochs": 100, "shift": 1}
"""What one hour on two cores allows: these fields differ from those of a short training."""
TRAINING, VALIDATION, TEST = 60_000, 10_000, 10_000
ATTACKED = 200
BEST = 3  # networks that are trained longer
# Fields that say nothing with these values. Fields of later versions belong here too, so that old rows stay valid.
_OFF = {"layer_arguments": {}, "width": 1, "shift": 0}


@dataclasses.dataclass(frozen=True)
class Run:
    """One network that is to be trained and measured.

    Attributes:
        recipe: How it is trained.
        budget: One of `BUDGETS`.
        validated: Whether it is trained on the first 50,000 images and measured on the other 10,000 of the training
            set, so that choices need no look at the test set.
        library: "lipviz", or the name of another library.
    """

    recipe: Recipe
    budget: str
    validated: bool = False
    library: str = "lipviz"

    @property
    def layer(self) -> str:
        """The layer as it is called."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.recipe.layer_arguments.items())
        return f"{self.recipe.layer}({arguments})" if arguments else self.recipe.layer

    @property
    def title(self) -> str:
        """The run in one line."""
        where = ", validation" if self.validated else ""
        words = budget_in_words(self.budget)
        return f"{self.library} {self.layer}, {self.recipe.loss}, {words}, seed {self.recipe.seed}{where}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that the figures depend on, but for versions."""
        recipe = self.recipe
        names = sorted({field.name for field in dataclasses.fields(recipe)} - {"reasons", "loss_arguments"})
        fields = {name: _plain(getattr(recipe, name)) for name in names}
        return {
            "data": "fashion_mnist",
            "measured_on": self.measured_on,
            "library": self.library,
            "attacked": ATTACKED,
            "recipe": {name: value for name, value in fields.items() if value != _OFF.get(name)},
            "loss_settings": {**LOSSES[recipe.loss].settings(recipe.radius), **recipe.loss_arguments},
        }

    @property
    def measured_on(self) -> str:
        """The images that it is measured on."""
        return f"training images {TRAINING - VALIDATION} to {TRAINING - 1}" if self.validated else "test images"

    @property
    def hash(self) -> str:
        """Hash of the settings."""
        return hash_of(self.settings)


def budget_in_words(budget: str) -> str:
    """A budget as a reader says it."""
    return "one hour" if budget == "hour" else f"{budget} epochs"


def _plain(value):
    """A field as JSON gives it back."""
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if hasattr(value, "keys") else value


def recipe_of(budget: str, **fields: Any) -> Recipe:
    """The recipe of a budget, with some fields of its own."""
    length = HOUR if budget == "hour" else {"epochs": int(budget)}
    return Recipe((28, 28, 1), 10, **{"radius": RADIUS, **length, **fields})


def star() -> list[dict[str, Any]]:
    """What differs from the centre: each layer with its loss, then each loss with its layer."""
    partners = {layers_of_kind(name)[1] for name in CONVOLUTIONS}
    kinds = [name for name in CONVOLUTIONS if name != LAYER] + [name for name in DENSE if name not in partners]
    return [
        {},
        *({"loss": loss} for loss in LOSSES if loss != LOSS),
        *({"layer": kind} for kind in kinds),
        {"layer_arguments": {"bound": "tight"}},
    ]


def runs(
    budgets: Sequence[str] = ("5",),
    seeds: Iterable[int] = (0, 1, 2),
    only: Sequence[str] | None = None,
    validated: bool = False,
    rows: Sequence[dict[str, Any]] = (),
    library: str = "lipviz",
) -> list[Run]:
    """The runs of a plan, all of one seed before those of the next.

    Args:
        budgets: Names in `BUDGETS`. With "20", the star has only the three networks that were best on validation.
        seeds: Seeds.
        only: Names of layers and losses; runs with none of them are left out. The centre of the star has both of its
            own names.
        validated: See `Run`.
        rows: Rows that are there, from which the best networks are chosen.
        library: See `Run`. Of another library, there is only the centre of the star.

    Raises:
        ValueError: If a name is not known, or "20" is asked for without `only`, and there are no rows on validation.
    """
    for budget in budgets:
        check_name("epochs", budget, BUDGETS)
    for name in only or ():
        check_name("only", name, {*CONVOLUTIONS, *DENSE, *LOSSES})
    made = []
    for seed in seeds:
        for budget in budgets:
            points = _points(budget, only, rows) if library == "lipviz" else [{}]
            made += [Run(recipe_of(budget, seed=seed, **point), budget, validated, library) for point in points]
    return made


def _points(budget, only, rows):
    if budget == "hour":
        return [{}]
    points = star()
    if only:
        return [point for point in points if _names(point) & set(only)]
    return points if budget == "5" else _best(points, rows)


def _names(point):
    """The names by which a point of the star is asked for."""
    if "loss" in point:
        return {point["loss"]}
    return {point.get("layer", LAYER)} if point else {LAYER, LOSS}


def is_planned(row: Mapping[str, Any]) -> bool:
    """Whether a row of lipviz has the settings of the present plan: an earlier version may have had others."""
    if row["budget"] not in BUDGETS or row["library"] != "lipviz":
        return row["library"] != "lipviz"
    points = [{}] if row["budget"] == "hour" else star()
    validated = row["measured_on"] != "test images"
    made = [Run(recipe_of(row["budget"], seed=row["seed"], **point), row["budget"], validated) for point in points]
    return row["hash"] in {run.hash for run in made}


def _best(points, rows):
    found: list[tuple[float, int, dict[str, Any]]] = []
    rows = [row for row in rows if is_planned(row)]
    for point in points:
        run = Run(recipe_of("5", **point), "5", True)
        shares = [row["certified"]["0.5"] for row in rows if _is_of(row, run)]
        found += [(statistics.median(shares), len(found), point)] if shares else []
    if len(found) < BEST:
        raise ValueError(
            "Expected rows of 5 epochs with --validate, from which the best networks are chosen, or names after "
            f"--only. Received: {len(found)} networks that were measured on validation"
        )
    return [point for _, _, point in sorted(found, key=lambda each: -each[0])[:BEST]]


def _is_of(row, run):
    same = ("library", run.library), ("layer", run.layer), ("loss", run.recipe.loss), ("budget", run.budget)
    return all(row[name] == value for name, value in same) and row["measured_on"] == run.measured_on
