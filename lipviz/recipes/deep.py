"""The recipe of a deep network for images, such as those of CIFAR-10."""

import dataclasses
from typing import Any

import keras

from lipviz.model import Sequential
from lipviz.recipes.liresnet import Cost, LiResNet
from lipviz.recipes.recipe import Recipe

_UNUSED = ("layer", "layer_arguments", "last", "width")


@dataclasses.dataclass(frozen=True)
class DeepRecipe(Recipe):
    """A `Recipe` whose network is a `LiResNet`, trained with EMMA on moved and mirrored images.

    ```python
    (x, y), (x_test, y_test) = keras.datasets.cifar10.load_data()
    recipe = lipviz.recipes.DeepRecipe((32, 32, 3), 10, radius=36 / 255, epochs=100)
    print(recipe)
    print(recipe.cost(len(x)))
    model, report = recipe.train(x / 255, y, (x_test / 255, y_test))
    ```

    Attributes:
        network: Sizes of the network. What a `Recipe` says of its own network (`layer`, `layer_arguments`, `last` and
            `width`) has no meaning here, and must not be changed.
        flip: Whether every second image, drawn anew in each epoch, is mirrored from left to right. Not for images of
            letters or digits.

    Raises:
        TypeError: See `Recipe`, or if `network` is none.
        ValueError: See `Recipe`, or if a field without meaning is changed, or samples are no images.
    """

    loss: str = "emma"
    shift: int = 4
    network: LiResNet = dataclasses.field(default_factory=LiResNet)
    flip: bool = True  # type: ignore[misc]  # a constant of the base class

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.network, LiResNet):
            raise TypeError(f"`network` must be a LiResNet. Received: {self.network!r}")
        if not self.is_of_images:
            raise ValueError(f"`input_shape` must be (height, width, channels). Received: {self.input_shape!r}")
        if not isinstance(self.flip, bool):
            raise TypeError(f"`flip` must be True or False. Received: flip={self.flip!r}")
        defaults = {field.name: field for field in dataclasses.fields(Recipe)}
        for name in _UNUSED:
            field = defaults[name]
            usual = field.default if field.default is not dataclasses.MISSING else {}
            if getattr(self, name) != usual:
                raise ValueError(
                    f"`{name}` has no meaning for a LiResNet: change `network`. Received: {name}="
                    f"{getattr(self, name)!r}"
                )

    def build(self) -> Sequential:
        keras.utils.set_random_seed(self.seed)
        return self.network.build(self.input_shape, self.classes)

    def cost(self, samples: int) -> Cost:
        """What an epoch of so many samples costs, on paper: see `LiResNet.estimate`."""
        return self.network.estimate(self.input_shape, self.classes, samples, self.batch_size)

    def _network(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self.network)
        return {"network": f"LiResNet({', '.join(f'{name}={size!r}' for name, size in sizes.items())})"}

    def _values(self) -> dict[str, str]:
        return {**super()._values(), "flip": "every second image" if self.flip else "none"}
