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
#     needs: a little Keras
#     title: 'A tour: train a network that keeps a promise'
# ---

# %% [markdown]
# # A tour: train a network that keeps a promise
#
# **You will learn** how easily an ordinary network is fooled, what it means that a network is 1-Lipschitz, how to train
# one that reads handwritten digits, and how to search for inputs that break its promise.
#
# **You need** a little Keras (`Sequential`, `compile`, `fit`) and the idea of a matrix. No GPU.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** This is the first lesson: it shows a little of everything, and later lessons explain each part.

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
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 threadpoolctl>=3.5 "
        "adversarial-robustness-toolbox>=1.20 scikit-learn>=1.5 matplotlib>=3.11.1 ipywidgets>=8.1.5 "
        "anywidget>=0.9 rich>=13 voila>=0.5 tqdm>=4.66 pyyaml>=6.0.2"
    )
    subprocess.run([*install, *packages.split()], check=True)

# %% [markdown] tags=["way"]
# [All lessons](index.py) · [01 Bound a network](01_bound_a_network.py) →

# %% [markdown]
# ## Can you see the change?
#
# Run the next cell: click on it, and press Shift+Enter. (The first run takes some seconds. Red lines about CUDA or
# oneDNN may appear. They are messages of TensorFlow, and do no harm.)
#
# On the left is an image that two networks recognize. An **attack** searches for a small change of the image that makes
# a network err. Each network has been attacked, with changes of the same strength. Compare the pictures: what has
# changed? Then move the **strength** up.

# %%
from lipviz.explorers import FooledExplorer

explorer = FooledExplorer()
explorer

# %% [markdown]
# The strength is the Euclidean length of the change: the root of the sum of the squares, over all 784 pixels, with grey
# levels from 0 to 1. The five images were chosen because they show the difference well. Other images need other
# strengths, and for some the difference is small.

# %% [markdown] question="tour.fooled"
# **Predict.** You have seen what the attacks make of the bag. Now take the second image, the trousers. From which
# strength on will the 1-Lipschitz network err? Guess before you look at that image above.

# %%
from lipviz import course

explorer.state = {"image": 1}
_, constrained = explorer.data.networks
course.predict("tour.fooled", truth=constrained.fooled_at)

# %% [markdown]
# ## Why it holds
#
# Choose the other images as well. Here is what is known about all five. "Fooled from" is where *this* attack succeeds.
# Another attack may need less. "Proved" is where *every* attack must fail. We come back to how that can be proved.

# %%
for image in range(5):
    explorer.state = {"image": image}
    print(explorer.data.name(explorer.data.label))
    for network in explorer.data.networks:
        print(f"    {network.name:12s} fooled from {network.fooled_at:.2f}    proved up to {network.radius:.2f}")
        assert network.radius < network.fooled_at  # no attack contradicts what is proved
    ordinary, constrained = explorer.data.networks
    assert constrained.radius > ordinary.fooled_at  # where the ordinary network errs, the other one cannot
assert explorer.error is None
explorer.reset()

# %% [markdown]
# The ordinary network is fooled early, and hardly anything is proved about it. The other network was built such that
# its output never changes by more than its input does. That is a promise about *every* pair of inputs, including the
# pairs that nobody has tried. As a formula: a function $f$ is **$k$-Lipschitz** when it never stretches a distance by
# more than $k$,
#
# $$\|f(x) - f(y)\| \le k\,\|x - y\| \quad\text{for all } x, y.$$
#
# The smallest such $k$ is the **Lipschitz constant** of $f$. With $k = 1$, a change of the image by a distance of 0.3
# changes the output by at most 0.3, for every image and in every direction. So whoever wants to change the decision
# must change the image visibly. Let us build such a network.

# %%
import keras
import numpy as np

from lipviz import Sequential, certification, data, measure, plots
from lipviz.layers import GroupSort2, SpectralDense

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 8, "PAIRS": 2000, "STEPS": 10}}
EPOCHS = 30
PAIRS = 10_000
STEPS = 50

# %% [markdown]
# ## Real images
#
# The data are scikit-learn's digits: 1,797 scans of 8 × 8 pixels, with grey levels from 0 to 1. The Euclidean distance
# between two images of different digits is about 3, between two images of the same digit about 2. Remember these
# numbers, and compare every distance below with them.

# %%
(x_train, y_train), (x_test, y_test) = data.digits()
x_train, x_test = x_train.reshape(-1, 64), x_test.reshape(-1, 64)
distances = np.linalg.norm(x_test[:200, None] - x_test[None, :200], axis=-1)
same = y_test[:200, None] == y_test[None, :200]
print(f"{len(x_train)} images to train on, {len(x_test)} to test")
print(f"mean distance, same digit: {distances[same & (distances > 0)].mean():.2f}")
print(f"mean distance, different digits: {distances[~same].mean():.2f}")

# %% [markdown]
# ## A network that cannot break the promise
#
# The matrix of a layer is its **kernel**. It stretches an input by at most its largest **singular value**, and by at
# least its smallest. The numbers between two layers are **channels**. We make three changes to an ordinary network:
#
# * `SpectralDense` in place of `Dense`. It brings all singular values of its kernel up to 1, and none above 1. Such a
#   matrix rotates and reflects its input, and never stretches it.
# * `GroupSort2` in place of ReLU. It sorts pairs of neighbouring channels. A sort only changes the order of the
#   numbers, so it keeps the length of every gradient. A ReLU loses a part of it.
# * `lipviz.Sequential` in place of `keras.Sequential`. It divides the constant of the whole network among the layers,
#   and warns of a layer that may stretch more.
#
# If no layer stretches a distance, the whole network does not stretch it either.

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
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="tour.compose"
# A network is a chain of three layers with the Lipschitz constants 2, 0.25 and 3. What is the smallest Lipschitz
# constant that these three numbers guarantee for the whole network?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("tour.compose", answer)

# %% [markdown]
# The ten outputs of the network, one for each digit, are its **logits**. The largest one is the decision. Here they are
# small, because they change by no more than the image does. So the loss multiplies them by a factor $\tau$ before it
# takes the cross-entropy. With a large $\tau$ the training favours accuracy. With a small $\tau$ it favours a
# largest logit that is far above all others.

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
# Each layer has two kernels. The optimizer changes the **raw kernel**, without any constraint: dotted lines. The
# network computes with a kernel that is made of it: solid lines. Training has changed the singular values of the raw
# kernels. Those in use have stayed at 1.

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
# ## Search for a counterexample
#
# Both methods below compute in float64, so that the rounding of a logit is not mistaken for a broken promise. The first
# one takes random pairs of test images. The second one is a search: gradient ascent on $\|f(x) - f(y)\| / \|x - y\|$
# itself.

# %%
secants = certification.secant_ratios(model, x_test, pairs=PAIRS)
ascent = certification.gradient_ascent_ratio(model, x_test, steps=STEPS)
print(f"largest ratio of {PAIRS:,} pairs: {secants.largest:.4f}")
print(f"largest ratio that the search found: {ascent.largest:.4f}")
assert secants.largest <= 1 + 1e-6
assert ascent.largest <= 1 + 1e-6

# %% [markdown]
# The search comes close to 1 and does not exceed it: the bound holds, and no much smaller number would be one. The
# random pairs find less. A maximum over samples is only a *lower* bound of the constant. It cannot prove that the
# constant is at most 1.
#
# ### And an ordinary network?
#
# This network has the same sizes and the same data, but plain layers with ReLU.

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

# %% [markdown] question="tour.wild"
# **Predict.** The constrained network stretches no change by more than 1. The ordinary one has about the same accuracy.
# By which factor does it stretch the change that it stretches most?

# %%
found = f"largest ratio that the search found: {wild.largest:.1f}"
course.predict("tour.wild", truth=wild.largest, reveal=found)

# %%
assert wild.largest > 10 * ascent.largest

# %% [markdown]
# ## What the promise buys
#
# Suppose that the largest logit is larger than the second largest by a **margin** $m$. Then no change of the image
# smaller than $m/\sqrt{2}$, the **certified radius**, can alter the class. No attack, known or unknown, can break that.
# (Why $\sqrt 2$? That is exercise 2.)

# %%
logits = np.sort(model.predict(x_test, verbose=0), axis=1)
right = model.predict(x_test, verbose=0).argmax(axis=1) == y_test
radius = (logits[:, -1] - logits[:, -2]) / np.sqrt(2) * right
assert (radius > 0.1).mean() > 0.5

# %% [markdown] question="tour.certain"
# **Predict.** For which share of the test images, in per cent, does this network give the right digit under *every*
# change of the image up to a length of 0.25?

# %%
shares = [
    f"certainly right under any change up to {distance}: {(radius > distance).mean():.1%} of the test images"
    for distance in (0.1, 0.25, 0.5)
]
course.predict("tour.certain", truth=100 * (radius > 0.25).mean(), reveal="\n".join(shares))

# %% [markdown]
# ### Exercise 2: predict

# %% [markdown] question="tour.radius"
# A classifier maps an image to a vector of logits and is 1-Lipschitz: the Euclidean distance between two vectors of
# logits is at most that between the two images. For one image the largest logit is 2.1 and the runner-up 0.7. What is
# the largest radius, in Euclidean distance, within which these facts guarantee that no change of the image alters the
# class?
#
# Expected: a number, exact to ±0.005.

# %%
from lipviz import course

answer = ...

course.check("tour.radius", answer)

# %% [markdown]
# ## Take it away
#
# A network that only predicts no longer needs the constraint. `vanilla_export` returns a network of plain `Dense`
# layers with the same predictions.

# %%
export = model.vanilla_export()
difference = np.abs(export.predict(x_test, verbose=0) - model.predict(x_test, verbose=0)).max()
print([type(layer).__name__ for layer in export.layers], f"largest difference: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# ## One more exercise
#
# ### Exercise 3: build

# %% [markdown] question="tour.scale"
# Write a function `scale(w, k)` that takes a float64 matrix W, not zero, and a number k > 0, and returns a matrix of
# the same shape and direction (a positive multiple of W) whose spectral norm is k. The spectral norm is the largest
# singular value; it is checked to a relative error of 1e-9 on tall, wide, square and rank-one matrices. Do not change W
# itself.
#
# Expected: a function that is called as `scale(w, k)`.

# %%
import numpy as np

from lipviz import course


def scale(w, k):
    return ...


course.check("tour.scale", scale)

# %% [markdown]
# ## What you have seen
#
# * An ordinary network can be fooled by a change that nobody sees. A 1-Lipschitz one needs a visible change.
# * A k-Lipschitz function stretches no distance by more than k. That holds for every pair of inputs.
# * If no layer stretches a distance, the network does not. `SpectralDense` and `GroupSort2` are such layers.
# * A search finds lower bounds of a Lipschitz constant. Only a proof gives an upper bound.
# * The margin divided by √2 is a radius within which no attack on a 1-Lipschitz network can succeed.
#
# ## Where to go next
#
# * Lesson 01 is about the Lipschitz constant, lesson 02 about how a layer brings its singular values to 1.
# * In the playground, an ordinary and a 1-Lipschitz network learn points that you can drag. Type `lipviz playground` in
#   a terminal; it needs no internet. On Binder or Colab, open the page "Playground" of the documentation.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019: GroupSort, and why ReLU
#   is not enough.
# * Y. Tsuzuku, I. Sato, M. Sugiyama: *Lipschitz-margin training*, NeurIPS 2018: the certificate.
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the layers that the reference library made known.

# %% [markdown] tags=["way"]
# [All lessons](index.py) · [01 Bound a network](01_bound_a_network.py) →
