# ---
# jupyter:
#   execution:
#     timeout: 600
#   jupytext:
#     formats: py:percent
#     notebook_metadata_filter: execution,lipviz,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lipviz:
#     minutes: 1
#     needs: lesson 00
#     title: 'Export and serve: take the promise along'
# ---

# %% [markdown]
# # Export and serve: take the promise along
#
# **You will learn** how to turn a trained 1-Lipschitz network into a plain Keras model, how to save, load and serve it,
# how to compute the certificate from the *file*, and what the promise of that file does and does not survive.
#
# **You need** lesson 00. It helps if you have saved a Keras model before.
#
# **It takes** about a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** You have trained and certified networks in a notebook; now one of them leaves it.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F10_export_and_serve.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/10_export_and_serve.ipynb
# [glossary]: https://lipviz.github.io/lipviz/glossary.html

# %% jupyter={"source_hidden": true} tags=["launch", "remove-cell"]
# Where lipviz is missing, as on Colab, this installs it. The notebook server stays as it is.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("lipviz") is None:
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "git+https://github.com/lipviz/lipviz"], check=True)
    packages = (
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 threadpoolctl>=3.5 "
        "adversarial-robustness-toolbox>=1.20 scikit-learn>=1.5 matplotlib>=3.11.1 ipywidgets>=8.1.5 "
        "anywidget>=0.9 rich>=13 voila>=0.5 tqdm>=4.66 pyyaml>=6.0.2"
    )
    subprocess.run([*install, *packages.split()], check=True)

# %% [markdown] tags=["way"]
# ← [09 Explain with gradients](09_explain_with_gradients.py) · [All lessons](index.py) · [11 Train for
# real](11_train_for_real.py) →

# %% [markdown]
# ## The question
#
# A network is 1-Lipschitz when it never stretches a distance: $\|f(x) - f(y)\| \le \|x - y\|$. During training, the
# layers of lipviz ensure that. But a server should run plain layers from a small file. Does the promise still hold for
# the model on the server?
#
# (Red lines may appear below some cells. They are messages of TensorFlow, and do no harm.)

# %%
import contextlib
import io
import logging
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from lipviz import Sequential, certification, course, data, losses, measure, plots
from lipviz.command import cli
from lipviz.explorers import LayerExplorer
from lipviz.layers import GroupSort2, ScaledL2NormPooling2D, SpectralConv2D, SpectralDense

keras.utils.set_random_seed(0)
logging.getLogger("tensorflow").setLevel("ERROR")  # it says where it writes its files

# %% nbmake={"mock": {"EPOCHS": 5, "ROUNDS": 5}}
EPOCHS = 15
ROUNDS = 30  # of timing

# %% [markdown]
# ## A small convolutional network
#
# The network classifies scikit-learn's digits, which have 8 × 8 pixels. Its convolutions and dense layers are
# constrained. Sorting and pooling by the l2 norm are 1-Lipschitz without a constraint.

# %%
(x_train, y_train), (x_test, y_test) = data.digits()

model = Sequential(
    [
        keras.Input((8, 8, 1)),
        SpectralConv2D(16, 3, padding="same"),
        GroupSort2(),
        ScaledL2NormPooling2D((2, 2)),
        SpectralConv2D(32, 3, padding="same"),
        GroupSort2(),
        ScaledL2NormPooling2D((2, 2)),
        keras.layers.Flatten(),
        SpectralDense(64),
        GroupSort2(),
        SpectralDense(10),
    ],
    name="digits",
)

# %%
from tqdm.keras import TqdmCallback

loss = losses.TauSparseCategoricalCrossentropy(10.0)
model.compile(keras.optimizers.Adam(5e-3), loss=loss, metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[TqdmCallback(verbose=0)])
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
print(f"test accuracy: {accuracy:.3f}")
assert accuracy > 0.85

# %% [markdown]
# ## Two kernels in every layer
#
# A constrained layer holds two kernels. The optimizer changes the **raw** kernel. The layer predicts with the
# **constrained** kernel, `wbar`, which it computes from the raw one. `condense` overwrites the raw kernel with the
# constrained one. The predictions do not change, and further training starts from a raw kernel that already satisfies
# the constraint. Look at the largest singular values, the largest factors by which the matrices of the kernels stretch
# a vector:

# %%
before = model.predict(x_test, verbose=0)
raw = [layer.raw.max() for layer in measure.singular_values(model)]
model.condense()
condensed = [layer.raw.max() for layer in measure.singular_values(model)]
for layer, old, new in zip(measure.singular_values(model), raw, condensed, strict=True):
    print(f"{layer.name:20s} raw kernel: {old:6.3f}, condensed: {new:6.3f}, used: {layer.largest:6.3f}")

assert np.abs(model.predict(x_test, verbose=0) - before).max() < 1e-5

# %% [markdown]
# (For the convolutions the value is 1/3 and not 1. With 3 × 3 windows each pixel is read up to nine times, so the
# convolution may stretch three times as much as its kernel. Lesson 04 explains that.)
#
# ## Plain layers
#
# `vanilla_export` keeps only the constrained kernels, in plain `Conv2D` and `Dense` layers:

# %%
export = model.vanilla_export()
course.say(", ".join(type(layer).__name__ for layer in export.layers))
print(f"numbers to keep: {model.count_params()} with the constraint, {export.count_params()} without")

difference = np.abs(export.predict(x_test, verbose=0) - model.predict(x_test, verbose=0)).max()
print(f"largest difference of two predictions: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# Does the promise still hold? The export has no constraint any more. But `certify` needs none: it computes a bound from
# the weights of each layer, and multiplies these bounds. It does so for plain Keras layers as well.

# %%
promised = certification.certify(model, search=False)
exported = certification.certify(export, search=False)
print(f"Lipschitz constant, constrained: at most {promised.upper_bound:.6f}")
print(f"Lipschitz constant, exported:    at most {exported.upper_bound:.6f}")
assert exported.upper_bound <= 1
assert abs(promised.upper_bound - exported.upper_bound) < 1e-5

# %% [markdown]
# The weights are the same, and so is the bound. It may be clearly below 1, because the norms of the convolutions may be
# below 1.
#
# ## To a file, and back
#
# `.keras` holds the architecture and the weights. In safe mode (the default), loading refuses code from the file. Two
# classes in our file belong to lipviz, sorting and pooling. `import lipviz` registers them with Keras.

# %%
temporary = tempfile.TemporaryDirectory()  # it is removed when the kernel ends
folder = Path(temporary.name)
model.save(folder / "digits_training.keras")
export.save(folder / "digits.keras")
for file in ("digits_training.keras", "digits.keras"):
    print(f"{file:22s} {(folder / file).stat().st_size / 1000:4.0f} kB")

served = keras.models.load_model(folder / "digits.keras", safe_mode=True)
assert np.abs(served.predict(x_test, verbose=0) - before).max() < 1e-5

# %% [markdown]
# Keep both files. The large one can be trained further, because it also has the optimizer's state. The small one is for
# serving.
#
# A person who receives `digits.keras` does not have to trust us. In a terminal, `lipviz certify digits.keras` proves
# the bound from the file alone. Here is the first line of its output:

# %%
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    status = cli.main(["certify", str(folder / "digits.keras"), "--no-search"])
print(printed.getvalue().splitlines()[0])

from_file = certification.certify_file(folder / "digits.keras", search=False)  # the same from Python
assert status == 0
assert abs(from_file.upper_bound - promised.upper_bound) < 1e-5

# %% [markdown]
# You can send the certificate together with the file. `save` writes it as JSON, with hashes of the weights and of the
# configuration. `check` says whether a certificate belongs to a given model. In a terminal:
# `lipviz certify digits.keras --check digits.json`.

# %%
from_file.save(folder / "digits.json")
received = certification.Certificate.load(folder / "digits.json")
course.say(str(received.check(served)))
course.say(str(received.check(model)))  # the same function, in other layers: it has a certificate of its own
assert received.check(served)
assert not received.check(model)

# %% [markdown]
# ## Serve it
#
# The server answers with a digit and a **certified radius**: no change of the image that is shorter can alter the
# answer. The network computes a **logit** for each digit, a score, and the largest one wins. The **margin** is its lead
# over the second largest. The radius is the margin divided by $\sqrt 2\,L$, with $L$ from the file. So it needs only
# one subtraction and one division more than the digit.

# %%
L = from_file.upper_bound


def serve(image):
    logits = served.predict_on_batch(image[None])[0]
    runner_up, best = np.sort(logits)[-2:]
    return int(logits.argmax()), float((best - runner_up) / (np.sqrt(2) * L))


answers = [serve(image) for image in x_test[:40]]
for number, (digit, radius) in enumerate(answers[:4]):
    print(f"image {number}: digit {digit}, and no change shorter than {radius:.3f} alters that")

# The same in float64, with a constant for each pair of digits.
certified = certification.certified_radius(served, x_test)
for (digit, radius), predicted, largest in zip(answers, certified.predicted, certified.radii, strict=False):
    assert digit == predicted
    assert radius <= largest + 1e-5

# %% [markdown]
# For a server without lipviz or without Keras, a SavedModel of TensorFlow holds the whole computation as a graph:

# %%
if keras.backend.backend() == "tensorflow":
    export.export(folder / "saved_model", verbose=False)
    graph = keras.layers.TFSMLayer(str(folder / "saved_model"), call_endpoint="serve")
    difference = np.abs(np.asarray(graph(x_test)) - before).max()
    print(f"largest difference of two predictions: {difference:.1e}")
    assert difference < 1e-5

# %% [markdown]
# ## How fast is it?
#
# Three networks of the same shape predict 256 images: the constrained one, its export, and a plain Keras network with
# ReLU and max pooling.

# %% [markdown] question="export.time"
# **Predict.** How much longer than its export does the constrained network take to predict?

# %%
plain = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ],
    name="plain",
)
contestants = {"constrained": model, "exported": export, "plain Keras": plain}
times = {name: [] for name in contestants}
for _ in range(ROUNDS + 1):  # in turns, so that a busy moment hits all alike
    for name, one in contestants.items():
        start = time.perf_counter()
        one.predict_on_batch(x_train[:256])
        times[name].append(1000 * (time.perf_counter() - start))

rows = [
    f"{name:12s} {np.median(measured[1:]):6.2f} ms for 256 images"  # the first round compiles
    for name, measured in times.items()
]
course.predict("export.time", reveal="\n".join(rows))

# %% [markdown]
# So do not export for speed. Export for a file that is small and needs no constraint. The plain network may be faster
# for another reason: a ReLU and a maximum are cheaper than sorts and square roots.
#
# ## May the file be trained further?
#
# The export is a Keras model like any other. It can be compiled and trained. Suppose that somebody trains it for one
# more epoch, with the same loss and a smaller learning rate than before.

# %% [markdown] question="export.bound"
# **Predict.** What happens to the bound of the Lipschitz constant, which is at most 1 for the file as it is loaded?

# %%
tuned = keras.models.load_model(folder / "digits.keras")
tuned.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
bounds = [certification.certify(tuned, search=False).upper_bound]
tuned.train_on_batch(x_train[:64], y_train[:64])
one_step = [layer.largest for layer in measure.singular_values(tuned)][-2:]
bounds.append(certification.certify(tuned, search=False).upper_bound)
tuned.fit(x_train, y_train, batch_size=64, epochs=1, verbose=0)
bounds.append(certification.certify(tuned, search=False).upper_bound)
rows = [
    f"Lipschitz constant {when:16s} at most {bound:.3f}"
    for when, bound in zip(("as loaded", "after one step", "after one epoch"), bounds, strict=True)
]
rows.append(f"largest singular values of the two dense layers after one step: {np.round(one_step, 4)}")
course.predict("export.bound", reveal="\n".join(rows))

# %%
assert min(one_step) > 1  # a single step is enough for a layer ...
assert bounds[2] > 1  # ... and an epoch for the whole

# %% [markdown]
# The picture shows the singular values after the epoch. Before it, all singular values of a layer were on one line:

# %%
spectra = measure.singular_values(tuned)
plots.picture(
    plots.plot_singular_values(spectra),
    plots.alt_text(spectra),
    caption="The kernels of the export after one epoch: values differ, and some of the dense layers exceed 1.",
)

# %% [markdown]
# The accuracy does not show that. But a server that still divides by the old $L$ now promises too much:

# %%
logits = np.sort(tuned.predict(x_test, verbose=0), axis=1)
claimed = (logits[:, -1] - logits[:, -2]) / (np.sqrt(2) * L)
proved = certification.certified_radius(tuned, x_test).radii
print(f"test accuracy: {accuracy:.3f} before, {tuned.evaluate(x_test, y_test, verbose=0)[1]:.3f} after")
print(f"mean radius that is claimed with the old constant:   {claimed.mean():.3f}")
print(f"mean radius that can be proved with the new weights: {proved.mean():.3f}")
assert claimed.mean() > proved.mean()

# %% [markdown]
# So train the *constrained* model further, and export it again. Always compute $L$ from the file that is served. Never
# reuse an old value.

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="export.radius"
# An exported model was trained further; its Lipschitz constant is now 1.25. For an image its largest logit is 3.0, the
# runner-up 1.6. What is the largest radius, in Euclidean distance, that these numbers certify?
#
# Expected: a number, exact to ±0.002.

# %%
from lipviz import course

answer = ...

course.check("export.radius", answer)

# %% [markdown]
# ## Weights with half the bits
#
# Servers often store weights with 16 bits. `float16` keeps 11 significant binary digits, `bfloat16` 8.

# %% [markdown] question="export.rounded"
# **Predict.** After every weight has been rounded, is each dense layer still 1-Lipschitz?

# %%
rows, largest, constants = [], {}, {}
for dtype in ("float16", "bfloat16"):
    copy = keras.models.clone_model(export)
    copy.set_weights([keras.ops.convert_to_numpy(keras.ops.cast(w, dtype)).astype("float32") for w in export.weights])
    dense = [layer.largest for layer in measure.singular_values(copy)][-2:]
    L_rounded = certification.certify(copy, search=False).upper_bound
    radius = certification.certified_radius(copy, x_test).mean_radius
    found = f"dense layers up to {max(dense):.5f}, network at most {L_rounded:.5f}, mean radius {radius:.4f}"
    rows.append(f"{dtype:9s} {found}")
    largest[dtype], constants[dtype] = max(dense), L_rounded
course.predict("export.rounded", reveal="\n".join(rows))

# %%
assert min(largest.values()) > 1
assert all(abs(constant / L - 1) < 0.02 for constant in constants.values())

# %% [markdown]
# The norm of each dense layer is above 1 now: rounding moves singular values up and down, and the largest one is the
# norm. All singular values of an *orthogonal* matrix are at the limit, so some of them exceed it. The difference is
# small. It does no harm if the certificate includes it: a bound that is computed from the rounded file is as true as
# one from the exact file. Only a bound from before the rounding is wrong.
#
# This certificate does not cover one thing: a server also *computes* with these digits, and rounds every intermediate
# result.

# %% [markdown]
# ### Exercise 2: predict, then compute

# %% [markdown] question="export.bfloat16"
# A kernel is a single column of 57 equal entries 1/√57, so its norm, its only singular value, is 1. Every entry is
# rounded to the nearest bfloat16, a number with 8 significant binary digits. What is the norm then?
#
# Expected: a number, exact to ±0.0001.

# %%
from lipviz import course

answer = ...

course.check("export.bfloat16", answer)

# %% [markdown]
# ## Can rounding break a certificate?
#
# A radius is proved for the network with exact sums and products. The server computes with numbers of float32, which
# have 24 binary digits. Here is a network of two layers. The first adds $2^{24}$ to its input, and the second subtracts
# it again. So the output is $x$. Its sign decides, and $x = 3$ has the radius 3.

# %% [markdown] question="export.lost"
# **Predict.** In exact arithmetic the output is x. What does float32 compute for x = 0.9?

# %%
cancels = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), keras.layers.Dense(1)])
cancels.set_weights([np.array([[1.0]]), np.array([2.0**24]), np.array([[1.0]]), np.array([-(2.0**24)])])
start, rows = np.array([[3.0]]), []
for distance in (0, 1, 2.1):
    output = float(cancels(start - distance)[0, 0])
    rows.append(f"at distance {distance}: exact {3 - distance:.1f}, in float32 {output:.1f}")

exact_radius, radius_in_float32 = (
    certification.certified_radius(cancels, start, arithmetic=arithmetic).radii[0] for arithmetic in (None, "float32")
)
rows.append(f"certified radius: {exact_radius:.2f} for exact sums, {radius_in_float32:.2f} in float32")
course.predict("export.lost", truth=output, reveal="\n".join(rows))

# %%
assert output <= 0
assert exact_radius > 2.1 > radius_in_float32

# %% [markdown]
# The decision changes at a distance of 2.1, inside of the radius. Published verifiers of neural networks were fooled in
# this way.
#
# With `arithmetic="float32"`, the radius speaks of the network as the server computes it. In each layer, the rounding
# errors are bounded for all inputs of the ball, and for every order in which a sum may be computed. Their effect on the
# logits is subtracted from the margin. For a network without huge numbers inside, that costs very little:

# %%
in_bfloat16 = certification.Arithmetic("bfloat16", accumulation="float32")
for arithmetic in (None, "float32", in_bfloat16):
    found = certification.certified_radius(served, x_test, y_test, arithmetic=arithmetic)
    name = getattr(arithmetic, "dtype", arithmetic) or "exact"
    print(f"{name:9s} mean radius {found.mean_radius:.4f}, certified beyond 0.1: {(found.radii > 0.1).mean():.1%}")

in_float32 = certification.certified_radius(served, x_test, arithmetic="float32")
assert in_float32.mean_radius > 0.99 * certified.mean_radius
course.say(str(in_float32))

# %% [markdown]
# The last lines say what is covered. `accumulation="float32"` states that the server adds up products of bfloat16 in
# float32, as matrix units do. Without it, sums may lose all but a few digits, and the radii are 0.

# %% [markdown]
# ## Look at a layer of the file
#
# The layer explorer shows any layer, also one from a file. The left panel shows all singular values of the layer that
# was trained without its constraint. How many are above 1? Then choose `SpectralDense` for comparison.

# %%
explorer = LayerExplorer(tuned.layers[7])
explorer

# %%
course.say(explorer.statement(explorer.data))
assert explorer.data.largest > 1
explorer.state = {"layer": "SpectralDense", "inputs": 64, "units": 64}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.largest <= 1
explorer.reset()

# %% [markdown]
# ## More exercises
#
# ### Exercise 3: change

# %% [markdown] question="export.tuned"
# Change the lesson: load `digits.keras` from `folder`, compile it with `keras.optimizers.Adam(1e-5)`, a learning rate
# that is 100 times smaller, and train it on one batch only (`train_on_batch`). Then look at the largest singular values
# of its two `Dense` layers, as the lesson does. Where are they?
#
# Expected: one of "a" (at 1 or below, because the constraint is saved with the file), "b" (at 1 or below, because such
# a small step cannot break it), "c" (above 1, by less than 0.01), "d" (above 1, by more than 0.1).

# %%
from lipviz import course

answer = ...

course.check("export.tuned", answer)

# %% [markdown]
# ### Exercise 4: build

# %% [markdown] question="export.shrink"
# Write `shrink(w)`, which takes a float64 matrix of spectral norm at most 1 (but for 1e-15) and returns it with float16
# entries (`.astype(np.float16)`), such that the spectral norm of what is returned, computed in float64, is at most 1,
# and no entry is farther than 0.002 from that of w.
#
# Expected: a function that is called as `shrink(w)`.

# %%
import numpy as np

from lipviz import course


def shrink(w):
    return ...


course.check("export.shrink", shrink)

# %% [markdown]
# ## What you have seen
#
# * `vanilla_export` makes plain layers of constrained ones: the predictions and the bound stay the same.
# * The bound is computed from the weights in the file. A person who receives the file need not trust anybody.
# * The export has no constraint. A single training step breaks the bound, and the accuracy does not show it.
# * Rounded weights have a bound of their own, and a certificate of the rounded file is true.
# * A server computes with rounding errors. `arithmetic=` says which ones a radius includes.

# %% [markdown]
# ## Where to go next
#
# * Lesson 08 explains certificates and attacks, lesson 11 trains larger networks, and lesson 12 moves models from
#   deel-lip.
#
# ## References
#
# * Y. Tsuzuku, I. Sato, M. Sugiyama: *Lipschitz-margin training: scalable certification of perturbation invariance for
#   deep neural networks*, NeurIPS 2018: the radius.
# * N. J. Higham: *Accuracy and stability of numerical algorithms*, second edition, SIAM 2002: what rounding can do.
# * K. Jia, M. Rinard: *Exploiting verified neural networks via floating point numerical error*, SAS 2021: networks that
#   are verified and yet change their decision.
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the export to plain layers.

# %% [markdown] tags=["way"]
# ← [09 Explain with gradients](09_explain_with_gradients.py) · [All lessons](index.py) · [11 Train for
# real](11_train_for_real.py) →
