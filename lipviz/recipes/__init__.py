"""Recipes: one call trains a classifier with certificates for a data set and a budget, and says what it chose and why.

```python
model, report = lipviz.recipes.train_classifier(x, y, validation_data=(x_test, y_test), epochs=5, radius=0.5)
```

`choose` makes the choices, a `Recipe`, and trains nothing. `print(recipe)` gives the reason of each of them,
`dataclasses.replace` changes some, and `recipe.train(x, y)` follows it. `LOSSES` lists the losses and their settings
for a radius. A `DeepRecipe` trains a `LiResNet`, a deep network for images, and says on paper what that costs.

`evaluate` measures any classifier: what is proved, and what attacks find. `with_scaling` puts the scaling of its data
into a model, so that it takes raw numbers.
"""

from lipviz.recipes.choosing import choose, train_classifier
from lipviz.recipes.deep import DeepRecipe
from lipviz.recipes.evaluation import Evaluation, evaluate
from lipviz.recipes.liresnet import Cost, LiResNet
from lipviz.recipes.objectives import LOSSES
from lipviz.recipes.recipe import Recipe
from lipviz.recipes.results import Report, Result
from lipviz.recipes.scaling import with_scaling

__all__ = [
    "LOSSES",
    "Cost",
    "DeepRecipe",
    "Evaluation",
    "LiResNet",
    "Recipe",
    "Report",
    "Result",
    "choose",
    "evaluate",
    "train_classifier",
    "with_scaling",
]
