"""A report as one HTML page, without scripts and without other files."""

import dataclasses
import html
import math
from collections.abc import Iterable, Sequence

import numpy as np

from lipviz.certification import CertifiedAccuracy
from lipviz.certification.certificate import rounded_down, rounded_up
from lipviz.recipes import Evaluation, Report

_POINTS = 41  # of the curve of certified accuracy
_MOST_FEATURES = 40
# Colours have a contrast of at least 7 to 1 in both themes; pictures keep their white ground.
_STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --ground: #ffffff; --faint: #4a4a4a; --line: #b5b5b5 }
:root { --box: #f3f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --text: #ececec; --ground: #16181b; --faint: #c2c2c2; --line: #5b5f66; --box: #22262b }
}
body { color: var(--text); background: var(--ground); font: 16px/1.5 system-ui, sans-serif; margin: 0 }
main { max-width: 60rem; margin: 0 auto; padding: 1rem 1.25rem 3rem }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line) }
p, li, figcaption { max-width: 46rem }
table { border-collapse: collapse; margin: .75rem 0 }
.wide { overflow-x: auto }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.figures { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; padding: 0; list-style: none }
.figures li { background: var(--box); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem }
.figures b { display: block; font-size: 1.5rem }
figure { margin: 1rem 0; display: inline-block; vertical-align: top }
figure img { background: #ffffff; border-radius: .4rem }
figcaption, .faint { color: var(--faint) }
code { overflow-wrap: anywhere }
.alarm { border: 2px solid currentColor; padding: .5rem 1rem; font-weight: bold }
"""


def html_page(evaluation: Evaluation) -> str:
    """The page of an evaluation. It needs matplotlib, for its pictures.

    Args:
        evaluation: What `lipviz.recipes.evaluate` returned, or the report of a training.

    Returns:
        HTML, a whole document.
    """
    name = evaluation.model or "a classifier"
    title = f"What is proved about {name}"
    parts = [
        f"<h1>{_text(title)}</h1>",
        _alarm(evaluation),
        _opening(evaluation),
        _section("Accuracy under changes", _accuracy(evaluation)),
        _section("Certified radii", _radii(evaluation)),
        _section("What that means for each feature", _features(evaluation)),
        _section("Classes", _classes(evaluation)),
        _section("The Lipschitz constant", _constants(evaluation)),
        _section("How it was trained", _training(evaluation)),
        _section("What is assumed", _assumed(evaluation)),
        _section("Which model, which data, which programs", _origin(evaluation)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


# --- parts ---


def _alarm(found):
    if not found.contradictions:
        return ""
    return (
        f'<p class="alarm">An attack succeeded within the certified radius of {found.contradictions} samples. This '
        "cannot happen if the proof is right: please report it as a fault of lipviz.</p>"
    )


def _opening(found):
    size = found.epsilons[len(found.epsilons) // 2] if found.epsilons else 0.0
    share = found.certified_at([size])[0]
    boxes = [
        (_percent(found.accuracy), "of the samples are classified correctly"),
        (_percent(share), f"stay correct under every change of a length up to {size:.4g}: proved"),
        (_number(found.radii.median_radius), "is the median certified radius"),
        (rounded_up(found.constant), "bounds the Lipschitz constant"),
    ]
    items = "".join(f"<li><b>{_text(value)}</b>{_text(words)}</li>" for value, words in boxes)
    where = f" of {found.source}" if found.source else ""
    return (
        f"<p>Measured on {len(found.radii):,} samples{_text(where)}. A length of 1 is {_text(found.scaling.unit)}.</p>"
        f'<ul class="figures">{items}</ul>'
    )


def _accuracy(found):
    near, left = found.locally_certified_at(found.epsilons), found.attacked_at(found.epsilons)
    header = ["change up to ε", "proved to stay correct"]
    columns: list[Iterable[str]] = [
        [f"{size:.4g}" for size in found.epsilons],
        map(_percent, found.certified_at(found.epsilons)),
    ]
    compared = found.compared
    if near is not None:
        header.append(f"with bounds near each sample ({compared:,} samples)")
        columns.append(map(_percent, near))
    if left is not None:
        header.append(f"correct under attack ({compared:,} samples)")
        columns.append(map(_percent_at_most, left))
    words = (
        "<p>The certified share is proved: no change of this length, however it is chosen, makes more samples wrong. "
        "The share under attack is what is left after the attacks that were tried; better attacks may find more. "
        "The share that no attack can break lies between the two.</p>"
    )
    return words + _table(header, zip(*columns, strict=True), numbers=len(header)) + _curve(found)


def _curve(found):
    from lipviz import plots

    radii = found.radii if found.local is None else found.local
    if found.attacks and found.local is None:
        radii = found.first(found.compared)
    ends = [radii.radii, found.found if found.attacks else np.zeros(0), np.array(found.epsilons)]
    finite = np.concatenate([each[np.isfinite(each)] for each in ends])
    grid = np.linspace(0.0, 1.05 * float(finite.max(initial=0.0)) or 1.0, _POINTS)
    curve: CertifiedAccuracy = radii.accuracy_at(grid)
    if found.attacks:
        curve = dataclasses.replace(curve, empirical=(found.found > grid[:, None]).mean(axis=1))
    which = f"The first {len(radii):,} samples" if len(radii) < len(found.radii) else "All samples"
    return plots.picture(
        plots.plot_certified_accuracy(curve), plots.alt_text(curve), caption=f"{which}, for changes of every length."
    ).to_html()


def _radii(found):
    from lipviz import plots

    radii = found.radii
    right = radii.radii[radii.predicted == radii.labels]
    rows = [
        ("smallest, of the samples that are correct", _number(float(right.min())) if len(right) else "none is correct"),
        ("median of all samples", _number(radii.median_radius)),
        ("mean of all samples", _number(radii.mean_radius)),
        ("samples with radius 0", f"{int((radii.radii == 0).sum()):,} of {len(radii):,}"),
    ]
    if found.attacks:
        reached = found.found[np.isfinite(found.found) & (found.found > 0)]
        rows.append(
            (
                "median distance at which attacks succeed",
                _number(float(np.median(reached))) if len(reached) else "none succeeded",
            )
        )
    picture = plots.picture(
        plots.plot_radii(radii), plots.alt_text(radii), caption="Samples that are wrong have the radius 0."
    )
    words = "<p>No change that is shorter than the radius of a sample alters the decision.</p>"
    return words + _table(("certified radius", "length"), rows, numbers=1, first=1) + picture.to_html()


def _features(found):
    scale = found.scaling.scale
    if found.scaling.changes_nothing:
        return ""
    radius = found.radii.median_radius
    if not scale.ndim or not math.isfinite(radius):
        return f"<p>A change of length 1 is {_text(found.scaling.unit)}.</p>"
    names = found.feature_names or tuple(f"feature {place + 1}" for place in range(scale.size))
    rows = [
        (name, f"±{rounded_down(alone)}", f"{size:.4g}")
        for name, alone, size in zip(names, found.scaling.alone(radius), scale, strict=True)
    ]
    words = (
        f"<p>For a sample with the median radius, {radius:.4g}: how far one feature alone may move, in its own unit, "
        "before the decision can change. If several features move at once, the squares of their shares add up, and "
        "their sum must stay below 1. For another radius, multiply the scale by it.</p>"
    )
    more = f"<p>And {len(rows) - _MOST_FEATURES} more features.</p>" if len(rows) > _MOST_FEATURES else ""
    return words + _table(("feature", "alone may move by less than", "scale"), rows[:_MOST_FEATURES], 2, 1) + more


def _classes(found):
    radii = found.radii
    count = max(len(found.class_names), int(max(radii.labels.max(), radii.predicted.max())) + 1)
    names = list(found.class_names) or [str(place) for place in range(count)]
    rows = []
    for place, name in enumerate(names):
        mine = radii.labels == place
        if mine.any():
            share = float((radii.predicted[mine] == place).mean())
            rows.append((name, f"{int(mine.sum()):,}", _percent(share), _number(float(np.median(radii.radii[mine])))))
    return _table(("class", "samples", "correct", "median radius"), rows, 3, 1)


def _constants(found):
    rows = [("proved for all inputs", f"at most {rounded_up(found.constant)}")]
    if found.tight is not None:
        rows.append(("proved for all inputs, by the method 'tight'", f"at most {rounded_up(found.tight.upper_bound)}"))
    if found.certificate.lower_bound:
        rows.append(("found by a search", f"at least {rounded_down(found.certificate.lower_bound)}"))
    pairs = found.radii.bounds[~np.eye(len(found.radii.bounds), dtype=bool)]
    if pairs.size:
        rows.append(("of differences of two outputs, from which radii follow", f"at most {rounded_up(pairs.max())}"))
    return (
        "<p>If the input moves by a length, the outputs move by at most the constant times this length.</p>"
        + _table(("constant in the l2 norm", ""), rows)
        + f'<details><summary>Each layer</summary><div class="wide">{found.certificate.to_html()}</div></details>'
    )


def _training(found):
    if not isinstance(found, Report):
        return ""
    recipe = found.recipe
    return (
        f"<p>Trained on {found.trained:,} samples for {found.epochs:.4g} epochs in {found.seconds:.0f} s"
        f"{', ended by Ctrl-C' if found.interrupted else ''}.</p><pre class='wide'>{_text(str(recipe))}</pre>"
    )


def _assumed(found):
    items = [
        "Changes are measured in the l2 norm, and may leave the range of the data. Rotated images, or measurements "
        "that are wrong in another way, are other changes.",
        "What is proved, is proved near these samples. Other samples have other radii.",
        "The labels are taken to be right. Whether the model was trained on these samples, only its maker knows.",
        f"Radii hold in {found.arithmetic}",
        "Bounds of the Lipschitz constant hold for the exact function with the weights that inference uses.",
        *found.notes,
    ]
    if not found.scaling.changes_nothing:
        items.append(
            "The first layer of the model scales its input. All lengths are those behind it; what its rounding changes "
            "has been subtracted from radii that hold in the arithmetic of the model."
        )
    if found.attacks:
        names = " and ".join(sorted({attack.method for attack in found.attacks}))
        items.append(f"The attacks are {names}, on the network in float64. They prove nothing where they fail.")
    return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>"


def _origin(found):
    rows = [("model", found.model), ("data", found.source), ("written", found.created)]
    if found.fingerprint is not None:
        rows += [(f"SHA-256, {name}", value) for name, value in dataclasses.asdict(found.fingerprint).items()]
    if found.radii.origin is not None:
        rows.append(("SHA-256, samples behind the scaling", found.radii.origin.data.sha256))
    rows += list(found.versions.items())
    body = "".join(f"<tr><th scope='row'>{_text(k)}</th><td><code>{_text(v)}</code></td></tr>" for k, v in rows if v)
    return f'<div class="wide"><table><tbody>{body}</tbody></table></div>'


# --- words ---


def _section(title, content):
    return f"<section>\n<h2>{_text(title)}</h2>\n{content}\n</section>" if content else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0, first: int = 0) -> str:
    """A table; `numbers` columns from the place `first` on are aligned to the right."""
    kinds = [' class="number"' if first <= place < first + numbers else "" for place in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{_text(cell)}</th>' for cell, kind in zip(header, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_text(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(words):
    return html.escape(str(words))


def _percent(share):
    """A share of samples, rounded down, so that 100 % are all of them."""
    return f"{math.floor(1000 * share + 1e-9) / 10:.1f} %"


def _percent_at_most(share):
    """A share that a better attack may make smaller, rounded up."""
    return f"{math.ceil(1000 * share - 1e-9) / 10:.1f} %"


def _number(value):
    return "∞" if value == math.inf else f"{value:.4g}"
