"""Types of the arguments that layers pass on to Keras."""

from collections.abc import Callable
from typing import Any, TypeAlias

Activation: TypeAlias = str | dict[str, Any] | Callable[..., Any] | None
"""What `keras.activations.get` takes: a name, a configuration, a function or a layer; None for no activation."""

Initializer: TypeAlias = str | dict[str, Any] | Callable[..., Any] | None
"""What `keras.initializers.get` takes: a name, a configuration or an initializer."""

Regularizer: TypeAlias = str | dict[str, Any] | Callable[..., Any] | None
"""What `keras.regularizers.get` takes: a name, a configuration or a regularizer; None for no regularizer."""

Constraint: TypeAlias = str | dict[str, Any] | Callable[..., Any] | None
"""What `keras.constraints.get` takes: a name, a configuration or a constraint; None for no constraint."""
