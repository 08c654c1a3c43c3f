"""Data sets: toy sets with a known geometry, real images, and your own data.

Every function returns ``(x_train, y_train), (x_test, y_test)``, as ``keras.datasets`` do, with ``x`` in
float32 and ``y`` in int32 of shape ``(n,)``. Images have shape ``(n, height, width, channels)`` and values from 0 to
1. Wherever this package draws or splits, every prefix has the classes in the proportions of the whole, so that
``x_train[:100]`` is a representative sample. The same seed gives the same arrays. NumPy's global random state is
neither read nor changed.

`load` reads a table, a folder of images or arrays of your own. It returns a `Dataset`, which unpacks in the same way,
and which knows the names of classes and features, and how the numbers were scaled.
"""

from lipviz.data.availabilities import Availability
from lipviz.data.catalog import availability, class_names
from lipviz.data.dataset import Dataset, Scaling
from lipviz.data.loading import load
from lipviz.data.real_images import DatasetNotFoundError, digits, fashion_mnist
from lipviz.data.splits import Samples, Split  # noqa: F401 - names of types
from lipviz.data.toy_sets import circles, cylinder_bell_funnel, gaussians, squares, two_moons

__all__ = [
    "Availability",
    "Dataset",
    "DatasetNotFoundError",
    "Scaling",
    "availability",
    "circles",
    "class_names",
    "cylinder_bell_funnel",
    "digits",
    "fashion_mnist",
    "gaussians",
    "load",
    "squares",
    "two_moons",
]
