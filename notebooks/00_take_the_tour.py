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
#     title: 'A tour: train a network that keeps a promise'
# ---

# %% [markdown]
# # A tour: train a network that keeps a promise
#
# **You will learn** what it means that a network is 1-Lipschitz, to train one that reads handwritten digits, to look
# at the singular values that make it so, and to try hard to catch it breaking its promise.
#
# **You need** a little Keras (`Sequential`, `compile`, `fit`) and the idea of a matrix. No GPU.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of yours.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F00_take_the_tour.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/00_take_the_tour.ipynb
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
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 adversarial-robustness-toolbox>=1.20 "
        "scikit-learn>=1.5 threadpoolctl>=3.1 matplotlib>=3.11 ipywidgets>=8.1 rich>=13 voila>=0.5 tqdm>=4.66"
        " pyyaml>=6"
    )
    subprocess.run([*install, *packages.split()], check=True)

# %% [markdown]
# ## The promise
#
# A function $f$ is **$k$-Lipschitz** when it never stretches a distance by more than $k$:
#
# $$\|f(x) - f(y)\| \le k\,\|x - y\| \quad\text{for all } x, y.$$
#
# With $k = 1$, an image that moves by a distance of 0.3 moves the output by 0.3 at the most, whoever moves it, and
# wherever. That is a promise about *every* pair of inputs, including the ones that nobody has tried. An ordinary
# network makes no such promise.
#
# (Should lines in red about CUDA or oneDNN come up below: TensorFlow introduces itself to your machine, no harm.)

# %%
import keras
import numpy as np

from lipviz import Sequential, certification, course, data, measure, plots
from lipviz.explorers import BjorckExplorer
from lipviz.layers import GroupSort2, SpectralDense

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 12, "PAIRS": 2000, "STEPS": 10}}
EPOCHS = 30
PAIRS = 10_000
STEPS = 50

# %% [markdown]
# ## Real images
#
# Scikit-learn's digits: 1,797 scans of 8 × 8 pixels, grey levels from 0 to 1. Two images of different digits are
# about 3 apart in Euclidean distance, two of the same digit about 2: remember these numbers, they are the ruler for
# every distance below.

# %%
(x_train, y_train), (x_test, y_test) = data.digits()
x_train, x_test = x_train.reshape(-1, 64), x_test.reshape(-1, 64)
distances = np.linalg.norm(x_test[:200, None] - x_test[None, :200], axis=-1)
same = y_test[:200, None] == y_test[None, :200]
print(f"{len(x_train)} images to train on, {len(x_test)} to test")
print(f"mean distance, same digit: {distances[same & (distances > 0)].mean():.2f}")
print(f"mean distance, different digits: {distances[~same].mean():.2f}")

# %% [markdown]
# ## A network that cannot break it
#
# Three changes to an ordinary network:
#
# * `SpectralDense` in place of `Dense`: a matrix whose singular values are all at most 1, and brought up to 1. It
#   turns and reflects its input, and never stretches it.
# * `GroupSort2` in place of ReLU: it sorts pairs of neighbours. A sort only moves numbers around, so it keeps every
#   distance that a ReLU would have thrown away.
# * `lipviz.Sequential` in place of `keras.Sequential`: it keeps an eye on the whole.
#
# A chain of maps that never stretch never stretches.

# %%
model = Sequential(
    [
        keras.Input((64,)),
        SpectralDense(128),
        GroupSort2(),
        SpectralDense(64),
        GroupSort2(),
        SpectralDense(10),
    ],
    name="promise",
)

# %% [markdown]
# Logits that may move by no more than the image are small, so the loss has to be told at which scale to read them:
# a cross-entropy of $\tau$ times the logits. The larger $\tau$, the more the training cares for accuracy; the
# smaller, the more for wide margins.

# %%
TAU = 20.0


def cross_entropy(y, logits):
    return keras.losses.sparse_categorical_crossentropy(y, TAU * logits, from_logits=True) / TAU


# %% [markdown]
# The bar below shows the progress; the first steps are slow, because Keras compiles the training step.

# %%
from tqdm.keras import TqdmCallback

model.compile(keras.optimizers.Adam(5e-3), loss=cross_entropy, metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[TqdmCallback(verbose=0)])
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
print(f"test accuracy: {accuracy:.3f}")
assert accuracy >= 0.9

# %% [markdown]
# ## Look inside
#
# A matrix stretches an input by at most its largest **singular value**, and by at least its smallest. Dotted: what
# the optimizer trains, free to be anything. Solid: what the network uses. Training pulled the raw kernels about;
# what is used did not move from 1.

# %%
spectra = measure.singular_values(model)
plots.picture(
    plots.plot_singular_values(spectra),
    plots.alt_text(spectra),
    caption="What the network uses lies on a line at 1, from the first to the last singular value.",
)

# %%
for layer in spectra:
    print(f"{layer.name:18s} raw: up to {layer.raw.max():5.2f}    used: {layer.smallest:.6f} to {layer.largest:.6f}")
    assert layer.largest <= 1  # the promise, exactly
    assert layer.smallest > 0.999  # and hardly anything is lost

# %% [markdown]
# ## Try to catch it
#
# Measured in float64, so that the rounding of a logit is not mistaken for a broken promise. First with random pairs
# of test images, then with a search: gradient ascent on $\|f(x) - f(y)\| / \|x - y\|$ itself.

# %%
secants = certification.secant_ratios(model, x_test, pairs=PAIRS)
ascent = certification.gradient_ascent_ratio(model, x_test, steps=STEPS)
print(f"largest ratio of {PAIRS} pairs: {secants.largest:.4f}")
print(f"largest ratio that the search found: {ascent.largest:.9f}")
assert secants.largest <= 1 + 1e-6
assert ascent.largest <= 1 + 1e-6

# %% [markdown]
# The search comes close to 1 and stays below: the bound holds, and it is not a lazy one. The random pairs alone would
# have left you with a much smaller number: a maximum over samples is a *lower* bound, and can prove nothing.
#
# ### And an ordinary network?
#
# The same sizes, ReLU, the same data. You may expect that a network which was trained on such tame images is tame.

# %%
plain = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ],
    name="ordinary",
)
plain.compile(
    keras.optimizers.Adam(5e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
plain.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[TqdmCallback(verbose=0)])
wild = certification.gradient_ascent_ratio(plain, x_test, steps=STEPS)
print(f"test accuracy: {plain.evaluate(x_test, y_test, verbose=0)[1]:.3f}")
print(f"largest ratio that the search found: {wild.largest:.1f}")
assert wild.largest > 10

# %% [markdown]
# **Surprise**: at about the same accuracy, it stretches some tiny change of an image more than ten times. Nothing in
# its training told it not to.

# %% [markdown]
# ## What the promise buys
#
# If the largest logit leads by a margin $m$, then no change of the image smaller than $m/\sqrt{2}$ can alter the
# class: that is a **certificate**, and no attack, known or unknown, can break it. (Why $\sqrt 2$? That is an exercise
# below.)

# %%
logits = np.sort(model.predict(x_test, verbose=0), axis=1)
right = model.predict(x_test, verbose=0).argmax(axis=1) == y_test
radius = (logits[:, -1] - logits[:, -2]) / np.sqrt(2) * right
print(f"mean certified radius: {radius.mean():.2f}")
for distance in (0.1, 0.25, 0.5):
    print(f"certainly right under any change up to {distance}: {(radius > distance).mean():.1%} of the test images")
assert (radius > 0.1).mean() > 0.5

# %% [markdown]
# ## Move the sliders
#
# How does a layer bring its singular values to 1, at every step of the training? Choose a kernel and turn the
# screws. Which slider can you turn until the largest singular value exceeds 1? (None: look at the sentence below the
# picture.)

# %%
explorer = BjorckExplorer()
explorer

# %% [markdown]
# The sliders can be moved by code too, and what they show can be read:

# %%
explorer.state = {"maxiter_bjorck": 3}
print(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.constrained.max() <= 1
explorer.reset()

# %% [markdown]
# ## Take it away
#
# For serving, the constraint has done its work: `vanilla_export` gives plain `Dense` layers with the same
# predictions.

# %%
export = model.vanilla_export()
difference = np.abs(export.predict(x_test, verbose=0) - model.predict(x_test, verbose=0)).max()
print([type(layer).__name__ for layer in export.layers], f"largest difference: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# ## Exercises
#
# Replace the `...`. A wrong answer costs nothing and brings a hint.
#
# ### Exercise 1: predict

# %%
course.exercise("tour.compose")

# %%
answer = ...

course.check("tour.compose", answer)

# %% [markdown]
# ### Exercise 2: predict

# %%
course.exercise("tour.radius")

# %%
answer = ...

course.check("tour.radius", answer)

# %% [markdown]
# ### Exercise 3: build

# %%
course.exercise("tour.scale")


# %%
def scale(w, k):
    return ...


course.check("tour.scale", scale)

# %% [markdown]
# ## Where to go next
#
# * Lesson 02 takes the orthogonalization apart, step by step.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019: GroupSort, and why ReLU
#   is not enough.
# * Y. Tsuzuku, I. Sato, M. Sugiyama: *Lipschitz-margin training*, NeurIPS 2018: the certificate.
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the layers that the reference library made known.
