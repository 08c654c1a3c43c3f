"""Private names of other packages that lipviz needs: each stands behind one function of lipviz.

Where a release of the other package breaks one, the test of that name says what to do. Those of Keras stand together in
`lipviz.keras_internals`.
"""

import ast
import contextlib
import functools
import gc
import importlib
import inspect
import re
import textwrap
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import traitlets
from keras import ops
from matplotlib.text import Text

import lipviz
from lipviz import keras_internals as internals
from lipviz import plots
from lipviz.plots.text_rendering import CachedTextRenderer
from tools import arrows

ROOT = Path(__file__).parents[1]
SOURCES = Path(lipviz.__file__).parent
KERAS = "keras_internals.py"
# (file, name): the one place of each name of another package.
KNOWN = {
    (KERAS, "_flatten_layers"),
    (KERAS, "_get_call_context"),
    (KERAS, "_output_shape"),
    (KERAS, "_auto_config"),
    (KERAS, "_self_"),
    (KERAS, "_nodes_by_depth"),
    (KERAS, "_inbound_nodes"),
    (KERAS, "_compile_metrics"),
    (KERAS, "_distribute_strategy"),
    (KERAS, "_direction"),
    (KERAS, "tensorflow.python"),
    (KERAS, "_registry"),
    (KERAS, "_gradient_op_type"),
    ("_moved.py", "_getframe"),  # Python's
    ("distributed/engines.py", "_exit"),  # Python's, and documented: ends a process at once
    ("course/asking.py", "_repr_html_"),  # IPython documents it: how an object shows itself as HTML
    # lipviz's own, of another module, and on layers.
    ("model.py", "_factor_dtypes"),
    ("certification/classifiers.py", "_ended_a_model"),
}
# (module, class, name): what a class overrides of a base of another package.
OVERRIDDEN = {("keras_internals", "RestoredVariable", "_restore_from_tensors")}
OF_KERAS = {name for file, name in KNOWN if file == KERAS and name.startswith("_")} | {
    name for _, _, name in OVERRIDDEN
}
# Its metaclass writes them into each class that has traits.
OF_TRAITLETS = {
    "_all_trait_default_generators",
    "_descriptors",
    "_instance_inits",
    "_static_immutable_initial_values",
    "_trait_default_generators",
    "_traits",
}
BASES = ("keras", "tensorflow", "ipywidgets", "traitlets", "matplotlib")
IS_TENSORFLOW = keras.backend.backend() == "tensorflow"


@contextlib.contextmanager
def advice(words):
    """Say what to do, whatever fails: a private name that is gone, or one that means something else now."""
    try:
        yield
    except Exception as error:
        pytest.fail(f"{textwrap.dedent(words).strip()}\n\n{type(error).__name__}: {error}")


# --- Keras ---


class Scaled(keras.layers.Layer):
    """A layer of one's own, which holds another one, and has no `get_config`."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor, self.inner = factor, keras.layers.Dense(2)

    def call(self, x):
        return self.factor * self.inner(x)


def siamese():
    """A model that calls a layer twice, an operation on both results, and has an input that it does not use."""
    shared = keras.layers.Dense(3, use_bias=False, kernel_initializer="ones", name="shared")
    one, two, idle = (keras.Input((2,), name=name) for name in ("one", "two", "idle"))
    outputs = {"sum": ops.add(shared(one), shared(two)), "first": keras.layers.ReLU(name="relu")(one)}
    return keras.Model([one, two, idle], outputs), shared


def test_keras_keeps_what_a_layer_holds():
    with advice(
        """
        Keras no longer lists in `Layer._flatten_layers` what layers hold, so nothing inside of wrappers and layers of
        one's own is found. See what `Model.layers` (keras/src/models/model.py) reads now, and `Layer` sets in
        `__setattr__`; say it in lipviz.keras_internals.inner_layers.
        """
    ):
        within = keras.layers.TimeDistributed(wrapped := keras.layers.Dense(2))
        inner = keras.Sequential([keras.Input((4, 2)), within])
        model = keras.Sequential([first := keras.layers.InputLayer((4, 2)), own := Scaled(), inner])
        assert _same(internals.inner_layers(model, deep=False), [first, own, inner])
        assert _same(internals.inner_layers(model)[:4], [first, own, own.inner, inner])
        assert set(internals.inner_layers(model)[4:]) == set(internals.inner_layers(inner)) > {within, wrapped}
        assert _same(internals.inner_layers(within), [wrapped])
        assert internals.inner_layers(wrapped) == []


def test_keras_knows_who_was_called_first():
    asked = []

    class Asking(keras.layers.Layer):
        def call(self, x):
            asked.append(internals.outermost_layer(self))
            return x

    with advice(
        """
        Keras no longer notes in `Layer._get_call_context` which layer was called first, so lipviz cannot tell whether
        XLA compiles the step that it is in. See how `Layer.__call__` (keras/src/layers/layer.py) hands `training` down
        now, and say it in lipviz.keras_internals.outermost_layer.
        """
    ):
        layer = Asking()
        layer(np.ones((1, 2)))
        assert asked[-1] is layer
        model = keras.Sequential([keras.Input((2,)), layer])
        model(np.ones((1, 2)))
        assert asked[-1] is model


def test_keras_knows_whether_a_call_is_part_of_a_training():
    asked = []

    class Asking(keras.layers.Layer):
        def call(self, x):
            asked.append(internals.is_training(self))
            return x

    with advice(
        """
        Keras no longer notes `training` in `Layer._get_call_context`, so lipviz cannot tell that a training loop of
        one's own calls a layer without this argument. See how `Layer.__call__` (keras/src/layers/layer.py) hands
        `training` down now, and say it in lipviz.keras_internals.is_training.
        """
    ):
        model = keras.Sequential([keras.Input((2,)), Asking()])
        asked.clear()
        for training in (None, False, True):
            model(np.ones((1, 2)), training=training)
        assert asked == [False, False, True]


@pytest.mark.skipif(not IS_TENSORFLOW, reason="other backends trace no graphs")
def test_keras_names_the_graphs_of_its_steps():
    names = []

    class Asking(keras.layers.Layer):
        def call(self, x):
            import tensorflow as tf

            graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
            while graph is not None:
                names.append(getattr(graph, "name", None))
                graph = getattr(graph, "outer_graph", None)
            return x

    with advice(
        """
        Keras gives other names to the functions that `fit`, `evaluate` and `predict` trace, so activations are not
        compiled in them any more. See `_make_function` and `make_predict_function`
        (keras/src/backend/tensorflow/trainer.py), and say the names in lipviz.keras_internals.is_graph_of_step.
        """
    ):
        model = keras.Sequential([keras.Input((2,)), Asking(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x, y = np.ones((2, 2)), np.ones((2, 1))
        for run in (model.train_on_batch, model.test_on_batch, lambda x, y: model.predict_on_batch(x)):
            names.clear()
            run(x, y)
            assert any(map(internals.is_graph_of_step, names))


def test_keras_keeps_the_output_shape_of_a_lambda():
    with advice(
        """
        Keras no longer keeps in `Lambda._output_shape` what it was given, so copies of models lose it. See
        `Lambda.compute_output_shape` (keras/src/layers/core/lambda_layer.py), and say it in
        lipviz.keras_internals.output_shape_argument.
        """
    ):
        for shape in ((3,), None, abs):
            assert internals.output_shape_argument(keras.layers.Lambda(abs, output_shape=shape)) == shape


def test_keras_makes_its_own_notes_under_known_names():
    with advice(
        """
        Keras or TensorFlow keeps something of its own in the layers of one's own under a new name. A certificate would
        take it for a setting. Add the name to lipviz.keras_internals.is_bookkeeping.
        """
    ):
        class_of_args = type("OfArgs", (Scaled,), {"__init__": lambda self, *args: Scaled.__init__(self)})
        for layer in (Scaled(3.0), class_of_args(1, 2)):
            added = vars(layer).keys() - vars(keras.layers.Identity()).keys() - {"factor", "inner"}
            assert [name for name in added if not internals.is_bookkeeping(name)] == []
        assert not any(map(internals.is_bookkeeping, ("factor", "_factor", "self_")))


GRAPHS = """
    Keras no longer keeps the calls of a graph in `Function._nodes_by_depth`, or a call has other attributes now, so
    graphs can be neither certified nor compared. See `Function._run_through_graph` (keras/src/ops/function.py) and
    `Node` (keras/src/ops/node.py), and say it in lipviz.keras_internals.graph_calls.
"""


def test_keras_keeps_the_calls_of_a_graph():
    model, shared = siamese()
    shared(keras.Input((2,)))  # elsewhere
    with advice(GRAPHS):
        calls = internals.graph_calls(model)
        assert {call.operation.name for call in calls if not call.inputs} == {"one", "two", "idle"}
        used = [call for call in calls if call.operation is shared]
        assert _same([x for call in used for x in call.inputs], model.inputs[:2])
        (added,) = [call for call in calls if _same(call.outputs, [model.output["sum"]])]
        assert _same(added.inputs, [output for call in used for output in call.outputs])
        assert _same(added.args, added.inputs)
        assert added.kwargs == {}


def test_keras_runs_a_graph_as_lipviz_does():
    model, _ = siamese()
    seen, x = [], [ops.ones((1, 2)), ops.ones((1, 2)) * 2.0, ops.zeros((1, 2))]

    def step(operation, *args, **kwargs):
        seen.append(operation)
        return operation(*args, **kwargs)

    with advice(GRAPHS):
        found, wanted = internals.run_graph(model, x, step), model(x)
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])
        assert [operation.name for operation in seen].count("shared") == 2
        assert len(seen) == 4


def test_keras_keeps_what_a_layer_was_called_with():
    with advice(
        """
        Keras no longer keeps the calls of a layer in `Operation._inbound_nodes`, so lipviz does not know the size of
        the images that a layer without a build shape takes. See `Operation.input` (keras/src/ops/operation.py), and say
        it in lipviz.keras_internals.call_inputs.
        """
    ):
        model, shared = siamese()
        assert _same([x for call in internals.call_inputs(shared) for x in call], model.inputs[:2])
        assert internals.call_inputs(keras.layers.Dense(2)) == []


def test_subclasses_become_functional_one_by_one():
    with advice(
        """
        A subclass of lipviz.Model that is constructed from inputs and outputs does not become functional, or it changes
        others. See `inject_functional_model_class` (keras/src/models/model.py), and do the same in
        lipviz.keras_internals.replace_base.
        """
    ):
        base = type("Base", (lipviz.Model,), {})
        graph, other = type("Graph", (base,), {}), type("Other", (lipviz.Model,), {})
        x = keras.Input((2,))
        model = graph(x, keras.layers.Dense(3)(x))
        assert isinstance(model, internals.KerasFunctional)
        assert tuple(model(np.ones((1, 2))).shape) == (1, 3)
        assert not issubclass(other, internals.KerasFunctional)
        assert not issubclass(lipviz.Model, internals.KerasFunctional)


def test_keras_keeps_the_metrics_that_compile_was_given():
    with advice(
        """
        Keras no longer keeps in `Trainer._compile_metrics` what `compile` was given, so `fit` traces a step twice on
        TensorFlow. See `Trainer.compile` (keras/src/trainers/trainer.py), and say it in
        lipviz.keras_internals.compiled_metrics.
        """
    ):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        assert internals.compiled_metrics(model) is None
        model.compile("sgd", "mse", metrics=["mae"])
        metrics = internals.compiled_metrics(model)
        metrics.build(keras.KerasTensor((None, 1)), keras.KerasTensor((None, 1)))
        assert metrics.built
        assert [metric.name for metric in metrics.metrics] == ["mae"]


@pytest.mark.skipif(not IS_TENSORFLOW, reason="only TensorFlow has strategies")
def test_keras_knows_whether_a_model_is_distributed():
    import tensorflow as tf

    with advice(
        """
        Keras no longer keeps in `_distribute_strategy` whether a model was made within the scope of a strategy, so
        `fit` traces a step twice. See `distribute_strategy` in keras/src/backend/tensorflow/trainer.py, and say it in
        lipviz.keras_internals.is_distributed.
        """
    ):
        assert not internals.is_distributed(keras.Sequential())
        with tf.distribute.OneDeviceStrategy("CPU:0").scope():
            model = keras.Sequential()
        assert internals.is_distributed(model)


def test_keras_reads_whether_more_is_better():
    metric = keras.metrics.Mean(name="robustness")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[metric])
    internals.compiled_metrics(model).build(keras.KerasTensor((None, 1)), keras.KerasTensor((None, 1)))
    watching = keras.callbacks.EarlyStopping(monitor="robustness", mode="auto")
    watching.set_model(model)
    with advice(
        """
        Keras no longer reads from `metric._direction` whether more of a metric is better, so callbacks with mode="auto"
        keep the worst model. See `MonitorCallback._set_monitor_op` (keras/src/callbacks/monitor_callback.py), and say
        it in lipviz.keras_internals.set_direction_up.
        """
    ):
        internals.set_direction_up(metric)
        watching.on_train_begin()
        for epoch, value in enumerate((1.0, 3.0, 2.0)):
            watching.on_epoch_end(epoch, {"robustness": value})
        assert watching.best == 3.0


class Doubled(internals.RestoredVariable):
    def restore(self, tensors):
        super().restore(tensors)
        return self.assign(2 * self.value)


@pytest.mark.skipif(not IS_TENSORFLOW, reason="a checkpoint of TensorFlow holds its own variables only")
def test_tensorflow_tells_a_variable_that_it_restores_it(tmp_path):
    import tensorflow as tf

    variable = Doubled(np.float32(3.0))
    with advice(
        """
        `tf.train.Checkpoint` no longer restores Keras's variables by way of `_restore_from_tensors`, so it changes k of
        constrained layers. See what keras/src/backend/tensorflow/core.py defines for that now, and say it in
        lipviz.keras_internals.RestoredVariable.
        """
    ):
        checkpoint = tf.train.Checkpoint(variable=variable)
        path = checkpoint.write(tmp_path / "checkpoint")
        variable.assign(5.0)
        checkpoint.read(path)
        assert float(variable.value) == 6.0


@pytest.mark.skipif(not IS_TENSORFLOW, reason="the registry is TensorFlow's")
def test_tensorflow_lets_the_gradients_of_a_graph_go_with_it():
    import tensorflow as tf
    from tensorflow.python.framework import ops as framework

    @ops.custom_gradient
    def cube(x):
        return x**3, lambda *upstream: 3 * x**2 * upstream[-1]

    @tf.function(autograph=False)
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = cube(internals.with_noted_graph(cube(x)))  # what is registered later goes with it
        return tape.gradient(y, x), tf.gradients(y, x)[0]

    with advice(
        """
        TensorFlow registers a custom gradient in another way, so that graphs of models are never freed. See what
        `_graph_mode_decorator` in tensorflow/python/ops/custom_gradient.py does with `RegisterGradient`, and change
        lipviz.keras_internals.release_gradients.
        """
    ):
        before = set(framework.gradient_registry.list())
        np.testing.assert_allclose(slope(tf.constant(2.0)), (9 * 2**8, 9 * 2**8))
        graph = weakref.ref(slope.get_concrete_function(tf.constant(2.0)).graph)
        added = set(framework.gradient_registry.list()) - before
        assert len(added) == 2
        internals.release_gradients()
        del slope
        gc.collect()
        assert graph() is None
        assert not added & set(framework.gradient_registry.list())


# --- Matplotlib ---


def test_matplotlib_asks_a_renderer_for_the_heights_of_its_font(monkeypatch):
    asked, answer = [], CachedTextRenderer._get_font_height_metrics
    monkeypatch.setattr(
        CachedTextRenderer, "_get_font_height_metrics", lambda self, prop: (asked.append(prop), answer(self, prop))[1]
    )
    text = Text(20, 50, "two\nlines", figure=plots.new_figure())
    text.get_window_extent(CachedTextRenderer(100, 100, 100))
    assert asked, (
        "Matplotlib no longer asks a renderer for `_get_font_height_metrics`: pictures are right, and each text takes "
        "twice as long. See where `Text._get_layout` (matplotlib/text.py) finds the height of a line now, and answer "
        "there in lipviz.plots.text_rendering.CachedTextRenderer; or remove the method if Matplotlib remembers heights "
        "itself."
    )


# --- no others ---


def test_no_other_private_name_is_used():
    files = {path.relative_to(SOURCES).as_posix(): _nodes(_parsed(path)) for path in arrows.sources().values()}
    own = set().union(*map(_defined, files.values()))
    used = {(file, name) for file, nodes in files.items() for name in _private(nodes, own)}
    assert used == KNOWN, (
        f"Put {sorted(used - KNOWN)} behind one function, with a test here that says what to do when it breaks; "
        f"and take {sorted(KNOWN - used)} from the list."
    )


def test_tools_and_tests_ask_lipviz_for_what_keras_does_not_promise():
    names = OF_KERAS | {"_keras_history", "_run_through_graph"}
    paths = [path for folder in ("tools", "tests") for path in (ROOT / folder).rglob("*.py")]
    paths = [path for path in paths if any(name in path.read_text(encoding="utf-8") for name in names)]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for path in paths
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Attribute) and not _is_own(node.value) and node.attr in names
    ]
    assert found == [], "lipviz.keras_internals has a function for each of them."


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(layer): return layer._layers", ["_layers"]),
        ("def f(layer): return getattr(layer, '_layers', ())", ["_layers"]),
        ("def f(layer): return vars(layer)['_layers']", ["_layers"]),
        ("def f(layer): layer._metric = 1", ["_metric"]),
        ("class A(keras.Model):\n    def f(self): return self._tracker", ["_tracker"]),
        ("class A(keras.Model):\n    def f(self): return super()._tracker", ["_tracker"]),
        ("from keras.src import ops", ["keras.src"]),
        ("import keras\nkeras.src.ops.add", ["keras.src"]),
        ("from tensorflow.python.framework import ops", ["tensorflow.python"]),
        ("from jax._src import core", ["jax._src"]),
        ("class A:\n    _own = 1\n    _too: int = 1\n    def f(self): return self._own + self._too", []),
        ("class A:\n    def f(self): return self._own()\n    def _own(self): return 1", []),
        ("class A:\n    def __init__(self): self._own = 1\n    def f(self, other): return other._own", []),
        ("import keras\nkeras.ops.add\ndef f(x): return x.__class__, getattr(x, 'name')", []),
    ],
)
def test_a_private_name_is_found(source, names):
    nodes = _nodes(ast.parse(source))
    assert list(_private(nodes, set(_defined(nodes)))) == names


def test_no_class_of_lipviz_has_a_private_name_of_its_base():
    """A name that a base of another package uses as well would change what that does."""
    found = {
        (module.removeprefix("lipviz."), cls.__name__, name)
        for module, cls in _classes()
        for base in cls.__mro__[1:]
        if base.__module__.split(".")[0] in BASES
        for name in (_names_of(cls) & _names_of(base)) - OF_TRAITLETS
    }
    wanted = OVERRIDDEN if IS_TENSORFLOW else set()
    assert found == wanted, "Give these another name, or put what they do behind lipviz.keras_internals."


def test_the_architecture_lists_what_keras_does_not_promise():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## What Keras does not promise")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    listed = set(re.findall(r"`(?:\w+\.)?(_[a-z]\w*)`", "\n".join(rows)))
    assert listed == OF_KERAS
    functions = {
        name for name, thing in vars(internals).items() if getattr(thing, "__module__", "") == internals.__name__
    }
    named = {re.match(r"\| `(\w+)`", row)[1] for row in rows}
    assert named == {name for name in functions if not name.startswith("_")} - {
        "Call",
        "build_metrics",
        "run_graph",
        "with_noted_graph",
    } | {"KerasFunctional"}


def _parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def _same(found, wanted):
    return [id(one) for one in found] == [id(one) for one in wanted]


def _nodes(tree):
    """The parts of a module or class that can hold a private name."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.Attribute, ast.Call, ast.Subscript, ast.Import, ast.ImportFrom)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _defined(nodes):
    """Names that a module gives to functions, and to methods and attributes of its own classes."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node.value):
            yield node.attr
        elif isinstance(node, ast.ClassDef):
            targets = [
                target for part in node.body for target in getattr(part, "targets", [getattr(part, "target", None)])
            ]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _private(nodes, own):
    """Private names of others: of `self` and its bases, what is not in `own`; of other objects, what is not of here."""
    here = set(_defined(nodes))
    for node in nodes:
        for value, name in _named(node):
            if _is_private(name) and name not in (own if _is_own(value) else here):
                yield name
        yield from _private_packages(node)


def _named(node):
    """Pairs (object, name of an attribute of it) that an expression names."""
    if isinstance(node, ast.Attribute):
        yield node.value, node.attr
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr", "delattr"):
        yield node.args[0], getattr(node.args[1], "value", None)
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "startswith":
        yield from ((node.func.value, each.value) for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant))
    elif isinstance(node, ast.Subscript):
        yield node.value, getattr(node.slice, "value", None)


def _private_packages(node):
    """Modules of other packages that these do not promise."""
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        modules = [node.module]
    else:
        of_keras = isinstance(node, ast.Attribute) and node.attr == "src" and getattr(node.value, "id", "") == "keras"
        modules = ["keras.src"] if of_keras else []
    for top, inner, *_ in (module.split(".") for module in modules if "." in module):
        if (top, inner) in (("keras", "src"), ("tensorflow", "python")) or (top != "lipviz" and _is_private(inner)):
            yield f"{top}.{inner}"


def _is_own(value):
    of_base = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "super"
    return of_base or (isinstance(value, ast.Name) and value.id in ("self", "cls"))


def _is_private(name):
    return isinstance(name, str) and re.match("_[a-z]", name) is not None


def _classes():
    """Pairs (module, class) of all classes of lipviz but those of its command."""
    for module in map(".".join, arrows.sources()):
        if ".command." not in module and not module.endswith("__"):
            own = vars(importlib.import_module(module)).values()
            yield from ((module, thing) for thing in own if inspect.isclass(thing) and thing.__module__ == module)


@functools.cache
def _names_of(cls):
    """Private names in a class, and those that its methods set."""
    nodes = [node for node in _classes_in(inspect.getsourcefile(cls)) if node.name == cls.__name__]
    names = {*vars(cls), *(name for node in nodes for name in _defined(_nodes(node)))}
    made = vars(type("Bare", (traitlets.HasTraits,), {})).keys()  # by a metaclass, for each class
    return {name for name in names - made if _is_private(name) and not name.startswith(("_abc_", "_tf_"))}


@functools.cache
def _classes_in(path):
    return [node for node in ast.walk(_parsed(Path(path))) if isinstance(node, ast.ClassDef)]
