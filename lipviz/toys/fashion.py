"""Two small networks that lipviz ships, trained on Fashion-MNIST: an ordinary one, and a 1-Lipschitz one.

Both have 64, 64 and 10 units. `python -m tools.fashion_pair` has trained them, and has chosen five images of the test
set. Their weights and images are a file of the package, so that an explorer shows them at once.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import lipviz.model
from lipviz import layers

_NAMES = ("ordinary", "constrained")
FILE = Path(__file__).with_name("fashion_pair.npz")


@dataclass(frozen=True, eq=False)
class AttackedImages:
    """Images of Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf 2017; MIT licence), and where attacks push them.

    Attributes:
        images: Of shape (n, 28, 28), float32 in [0, 1].
        labels: Class numbers, of shape (n,).
        directions: For each image the direction of the change by which DeepFool altered the decision of each network,
            of length 1, of shape (n, 2, 28, 28).
    """

    images: np.ndarray
    labels: np.ndarray
    directions: np.ndarray


def fashion_pair(path: str | os.PathLike[str] = FILE) -> tuple[keras.Model, keras.Model]:
    """The ordinary network and the 1-Lipschitz one. Both take flat images of 784 pixels and return ten logits.

    Args:
        path: File that `python -m tools.fashion_pair` has written.
    """
    with np.load(path) as file:
        arrays = {name: [file[f"{name}_{i}"].astype("float32") for i in range(6)] for name in _NAMES}
    units = [len(bias) for bias in arrays["ordinary"][1::2]]
    activations = ["relu"] * (len(units) - 1) + [None]
    dense = [
        keras.layers.Dense(*each, name=f"dense_of_pair_{i}")
        for i, each in enumerate(zip(units, activations, strict=True))
    ]
    ordinary = keras.Sequential([keras.Input((784,)), *dense], name="ordinary")
    _assign(dense, arrays["ordinary"])
    # Layers without a name would take the numbers that a lesson's own layers have without this network.
    spectral = [layers.SpectralDense(count, name=f"spectral_{i}") for i, count in enumerate(units)]
    sorted_ones = [layer for one in spectral[:-1] for layer in (one, layers.GroupSort2(name=f"sort_{one.name[-1]}"))]
    constrained = lipviz.model.Sequential([keras.Input((784,)), *sorted_ones, spectral[-1]], name="1-Lipschitz")
    _assign(spectral, arrays["constrained"])
    lipviz.model.refresh(constrained)
    return ordinary, constrained


def _assign(dense, arrays):
    for layer, kernel, bias in zip(dense, arrays[::2], arrays[1::2], strict=True):
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)


def attacked_images(path: str | os.PathLike[str] = FILE) -> AttackedImages:
    """The images that come with `fashion_pair`; see there."""
    with np.load(path) as file:
        directions = file["directions"].astype(np.float32).reshape(-1, 2, 28, 28)
        return AttackedImages(file["images"].astype(np.float32) / 255, file["labels"].astype(int), directions)
