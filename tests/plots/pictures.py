"""All that a picture shows, as text that can be compared."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection
from matplotlib.contour import ContourSet
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.spines import Spine
from matplotlib.text import Text

_LINE = ("color", "linestyle", "linewidth", "marker", "markersize", "markerfacecolor", "markeredgecolor", "drawstyle")
_PATCH = ("facecolor", "edgecolor", "linestyle", "linewidth", "hatch", "fill")
_TEXT = ("text", "color", "fontsize", "ha", "va", "rotation", "weight")
_COLLECTION = ("facecolor", "edgecolor", "linewidth", "linestyle", "hatch", "array", "clim")


def described(ax):
    """What is on Axes, in the order in which it is drawn: a list of lines of text. Places are in pixels."""
    words = [
        f"{name}: {_plain(getattr(ax, f'get_{name}')())}" for name in ("xlim", "ylim", "xscale", "yscale", "aspect")
    ]
    words += [f"box: {_plain(ax.get_position(original=True).bounds)}", f"anchor: {ax.get_anchor()}"]
    drawn = sorted(ax.get_children(), key=lambda artist: artist.get_zorder())
    return words + [f"{type(artist).__name__} {_of(artist)}" for artist in drawn if artist is not ax.patch]


def left_title(ax):
    """The title of an Axes at its left, a text for which Matplotlib has no public name."""
    (found,) = (text for text in ax.findobj(Text) if text.get_text() and text.get_text() == ax.get_title(loc="left"))
    return found


def _of(artist):
    own = {"gid": artist.get_gid(), "label": _label(artist), "zorder": artist.get_zorder()}
    own |= {"alpha": _plain(artist.get_alpha()), "visible": artist.get_visible(), "clips": artist.get_clip_on()}
    return own | _shown(artist)


def _label(artist):
    # Matplotlib numbers what has no label.
    return "" if str(artist.get_label()).startswith("_child") else artist.get_label()


def _shown(artist):
    if isinstance(artist, Line2D):
        xy = artist.get_transform().transform(artist.get_xydata())
        return {"xy": _plain(xy), "every": repr(artist.get_markevery()), **_values(artist, _LINE)}
    if isinstance(artist, Axis):
        return {**_ticks(artist), **_shown(artist.label)}
    if isinstance(artist, Spine):
        return {}
    if isinstance(artist, Patch):
        vertices = artist.get_transform().transform(artist.get_path().vertices)
        return {"path": _plain(vertices), **_values(artist, _PATCH)}
    if isinstance(artist, Text):
        place = artist.get_transform().transform(artist.get_position()) if artist.get_text() else None
        return {"place": _plain(place), **_values(artist, _TEXT)}
    if isinstance(artist, Collection):
        paths = [artist.get_transform().transform(path.vertices) for path in artist.get_paths()]
        more = {"levels": _plain(artist.levels)} if isinstance(artist, ContourSet) else {}
        return {"paths": _plain(paths), "offsets": _plain(artist.get_offsets()), **more, **_values(artist, _COLLECTION)}
    if isinstance(artist, AxesImage):
        of_colours = {} if np.ndim(artist.get_array()) == 3 else _values(artist, ("clim",))
        shown = _values(artist, ("array", "extent", "interpolation"))
        return {**shown, **of_colours, "cmap": artist.get_cmap().name}
    if isinstance(artist, Legend):
        entries = [_of(part) for part in (*artist.legend_handles, *artist.get_texts())]
        for entry in entries:
            (
                entry.pop("xy", None),
                entry.pop("place", None),
                entry.pop("path", None),
            )  # where it stands, drawing finds out
        return {"entries": entries, "frame": artist.get_frame_on()}
    if isinstance(artist, Axes):
        return {"inside": described(artist)}
    raise TypeError(f"Say here what is shown of a {type(artist).__name__}.")


def _ticks(axis):
    places, look = axis.get_ticklocs(), axis.get_tick_params()
    return {
        "ticks": _plain(places),
        "labels": axis.get_major_formatter().format_ticks(places),
        "minor": _plain(axis.get_ticklocs(minor=True)),
        "look": [look.get("length", 3.5), *(look.get(name) for name in ("labelsize", "gridOn", "grid_color"))],
        "side": axis.get_ticks_position(),
    }


def _values(artist, names):
    return {name: _plain(getattr(artist, f"get_{name}")()) for name in names}


def _plain(value):
    if isinstance(value, list | tuple) and value and not np.isscalar(value[0]):
        return [_plain(part) for part in value]
    try:
        return np.asarray(value, float).round(6).tolist()
    except (TypeError, ValueError):
        return repr(value)
