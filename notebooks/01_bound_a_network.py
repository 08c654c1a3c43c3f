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
#     minutes: 2
#     needs: a little Keras; 00 helps
#     title: 'Bound a network: what a Lipschitz constant is'
# ---

# %% [markdown]
# # Bound a network: what a Lipschitz constant is
#
# **You will learn** what a Lipschitz constant is, how to bound it from below (by trying) and from above (by proof), why
# the two bounds move apart with depth in an ordinary network, and how to build a network in which they meet.
#
# **You need** a little Keras and the idea of a matrix. Lesson 00 is a good start, but not needed.
#
# **It takes** about two minutes of computing on two CPU cores, and 40 minutes of your time.
#
# **Where you are.** The tour used a network with a Lipschitz constant of 1: this lesson says what that number is.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F01_bound_a_network.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/01_bound_a_network.ipynb
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
# ← [00 A tour](00_take_the_tour.py) · [All lessons](index.py) · [02 Orthogonalize a
# kernel](02_orthogonalize_a_kernel.py) →

# %%
import keras
import numpy as np

import lipviz
from lipviz import certification, course, data, measure, plots
from lipviz.explorers import ConeExplorer, LayerExplorer
from lipviz.layers import GroupSort2, SpectralDense
from lipviz.losses import TauSparseCategoricalCrossentropy

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"DEPTHS": [2, 8], "EPOCHS": 10, "CONSTRAINED": 2}}
DEPTHS = [2, 4, 8, 16]  # layers of the ordinary networks
EPOCHS = 30
CONSTRAINED = 8  # layers of the constrained network

# %% [markdown]
# ## How steep is a curve?
#
# Put a straight line through two points of a graph: a **secant**. The **Lipschitz constant** of $f$ is the smallest
# $L$ that no secant exceeds in steepness:
#
# $$|f(x) - f(y)| \le L\,|x - y| \quad\text{for all } x, y.$$
#
# Take $f(x) = x + \tfrac12\sin 3x$. Its slope is $1 + \tfrac32\cos 3x$, which is at most 2.5. So we know that
# $L = 2.5$, and can compare it with the steepest secant through random points.

# %%
rng = np.random.default_rng(0)
for count in (5, 20, 100, 1000):
    x = rng.uniform(-2, 2, count)
    rise, run = np.subtract.outer(x + np.sin(3 * x) / 2, x + np.sin(3 * x) / 2), np.subtract.outer(x, x)
    steepest = np.max(np.abs(rise[run > 0] / run[run > 0]))
    print(f"{count:4d} points: steepest secant {steepest:.4f}")
    assert steepest <= 2.5 + 1e-9  # whatever is tried stays below the constant

# %% [markdown]
# The steepest secant that you try is a **lower bound**: the constant is at least that. No number of secants proves that
# there is no steeper one. An **upper bound** needs an argument about all pairs, such as the one with the slope.
#
# An upper bound is useful because it confines the graph. Choose any point of the graph. The rest of the graph stays
# outside of a double cone at this point, whose sides have the slopes $\pm L$.

# %% [markdown] question="constants.cone"
# **Predict.** The constant of f(x) = x + ½ sin 3x is 2.5. Give the sides of the cone a smaller slope, 2. At which of
# its points does the graph enter the cone?

# %%
course.predict("constants.cone")

# %% [markdown]
# Now try it. Drag the cone along the graph: by the mouse on the picture, or by the arrow keys on the slider "Point x".
# Then make the slope k of its sides smaller. Which is the smallest slope for which the graph stays outside wherever the
# cone stands? Find it for the other functions as well.

# %%
explorer = ConeExplorer()
explorer

# %%
places = np.linspace(-2, 2, 41)
for k in (2.5, 2.0):
    cones = [measure.lipschitz_cone(lambda x: x + np.sin(3 * x) / 2, place, k) for place in places]
    entered = [cone.place for cone in cones if not cone.is_outside]
    print(f"slope {k}: the graph enters {len(entered)} of {len(cones)} cones")
    assert (len(entered) == 0) == (k == 2.5)

# %% [markdown]
# Some functions have no Lipschitz constant at all. The graph of $\sqrt x$ is vertical at 0: the smaller the step from
# 0, the steeper the secant. (In the explorer, put the cone of $\sqrt{|x|}$ at 0. No slope is enough.)

# %%
for step in (1e-2, 1e-4, 1e-6):
    print(f"secant of √x from 0 to {step:g}: slope {np.sqrt(step) / step:.0f}")

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="constants.kink"
# Predict: a small network takes one number x and returns 3·relu(x) + 2·relu(−2x), where relu(z) is the larger of z and
# 0. What is its Lipschitz constant, the smallest that holds?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("constants.kink", answer)

# %% [markdown]
# ## How much does a matrix stretch?
#
# With many inputs and outputs, a distance is a Euclidean length: $\|f(x) - f(y)\| \le L\,\|x - y\|$. For a matrix,
# $f(x) - f(y) = W(x - y)$, so that only the direction of $x - y$ matters. The direction that is stretched most is the
# first **singular vector**. The factor of its stretch is the largest **singular value** $\sigma_1$. So the Lipschitz
# constant of a matrix is $\sigma_1$, which a singular value decomposition computes.
#
# So for a matrix we know the constant, and can judge how much of it random pairs find.

# %% [markdown] question="constants.pairs"
# **Predict.** Draw 10,000 random pairs, keep the largest stretch, and divide it by σ₁. Which share of the constant will
# that find for a random matrix in 2 dimensions? In 8, 64 and 512? Draw the curve.

# %%
rng = np.random.default_rng(0)
best = {}
for dimension in (2, 8, 64, 512):
    matrix = rng.standard_normal((dimension, dimension))
    pairs = rng.standard_normal((10_000, dimension)) - rng.standard_normal((10_000, dimension))
    stretch = np.linalg.norm(pairs @ matrix, axis=1) / np.linalg.norm(pairs, axis=1)
    best[dimension] = np.maximum.accumulate(stretch) / np.linalg.norm(matrix, 2)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
ax = plots.style.prepared(
    None, title="Trying longer hardly helps", xlabel="random pairs tried", ylabel="best so far (share of constant)"
)
for (dimension, found), color, dashes in zip(best.items(), plots.PALETTE, ("-", "--", "-.", ":"), strict=False):
    ax.step(np.arange(1, 10_001), found, dashes, where="post", color=color, label=f"dimension {dimension}")
ax.set_xscale("log")
ax.set_ylim(0, 1.05)
ax.legend(loc="lower right", fontsize=9)
picture = plots.picture(
    ax,
    "Largest stretch found so far against the number of random pairs, from 1 to 10,000, as a share of the constant. "
    + " ".join(f"In dimension {dimension} it ends at {found[-1]:.2f}." for dimension, found in best.items()),
    caption="In high dimensions the curves are flat: with a hundred times as many pairs, the best is hardly larger.",
)
course.predict("constants.pairs", truth=[found[-1] for found in best.values()], reveal=picture)

# %%
assert best[2][-1] > 0.99
assert best[512][-1] < 0.65

# %% [markdown]
# An image has hundreds of dimensions or more. What does a constant tell that was "measured" on random pairs of images?
#
# A search does better than a sample: it changes the direction so that the stretch grows. We will compare three kinds of
# lower bounds below:
#
# * **secants** between pairs of test images (`certification.secant_ratios`);
# * **Jacobian norms** at test images. The Jacobian is the matrix of all derivatives. Its largest singular value is the
#   largest stretch of very small changes of that image (`measure.input_gradient_norms`);
# * **gradient ascent** on the ratio itself, from many starts (`certification.gradient_ascent_ratio`).

# %% [markdown]
# ## What does depth do to the bounds?
#
# There is a classic upper bound. When layers follow each other, their factors of stretch multiply, and ReLU never
# stretches. So the **product of all $\sigma_1$** is an upper bound for the whole network.
# `lipviz.certify(..., method="product")` computes it from the weights that the network uses.
#
# Let us train ordinary ReLU networks of several depths on scikit-learn's handwritten digits (8 × 8 pixels), and bound
# each of them from both sides.

# %%
(x_train, y_train), (x_test, y_test) = data.digits()
x_train, x_test = x_train.reshape(-1, 64), x_test.reshape(-1, 64)

# %%
from tqdm.auto import tqdm

secants, jacobians, ascents, products, rows = [], [], [], [], []
for depth in tqdm(DEPTHS):
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(depth - 1)]
    plain = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)], name=f"plain_{depth}")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(keras.optimizers.Adam(2e-3), loss=loss, metrics=["accuracy"])
    plain.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=0)
    secants.append(certification.secant_ratios(plain, x_test).largest)
    jacobians.append(measure.input_gradient_norms(plain, x_test).largest)
    ascents.append(certification.gradient_ascent_ratio(plain, x_test).largest)
    products.append(lipviz.certify(plain, method="product", search=False).upper_bound)
    accuracy = plain.evaluate(x_test, y_test, verbose=0)[1]
    found = f"secants {secants[-1]:.1f}, Jacobians {jacobians[-1]:.1f}, ascent {ascents[-1]:.1f}"
    rows.append(f"{depth:2d} layers, accuracy {accuracy:.2f}: {found}; product {products[-1]:.1f}")

# %% [markdown] question="constants.gap"
# **Predict.** Divide the product of all σ₁, which is proved, by the largest ratio that was found. For two layers this
# is close to 1. How large is it for the deepest of the networks?

# %%
found = {"ascent": ascents, "Jacobians": jacobians, "secants": secants}
lower = np.max(list(found.values()), axis=0)  # each is true, so the largest is the best
gap = products / lower
rows.append("the product is above the best lower bound by a factor of " + " · ".join(f"{factor:.1f}" for factor in gap))
assert (lower <= products).all()  # nothing found contradicts what is proved

# %% jupyter={"source_hidden": true} tags=["hide-input"]
ax = plots.style.prepared(
    None, title="Two sides of a constant", xlabel="layers", ylabel="constant (logits per grey level)"
)
ax.plot(DEPTHS, products, label="product (upper)", **plots.style.role("certified"))
looks = (("X", "--", 1), ("D", "-.", 3), ("o", ":", 0))
for (marker, dashes, color), (name, values) in zip(looks, found.items(), strict=True):
    ax.plot(DEPTHS, values, dashes, marker=marker, color=plots.PALETTE[color], label=name)
ax.fill_between(DEPTHS, lower, products, color="0.9", label="unknown", zorder=1)
ax.set_yscale("log")
ax.set_xticks(DEPTHS)
ax.legend(loc="upper left", fontsize=8)
picture = plots.picture(
    ax,
    f"Bounds of ReLU networks of {DEPTHS[0]} to {DEPTHS[-1]} layers, logarithmic. The product of norms grows from "
    f"{products[0]:.3g} to {products[-1]:.3g}. The best lower bound grows from {lower[0]:.3g} to {lower[-1]:.3g} only.",
    caption="The true constant lies somewhere in the grey area. The area grows with depth.",
)
course.predict("constants.gap", truth=gap[-1], reveal=["\n".join(rows), picture])

# %%
assert (np.diff(gap) > 0).all()
assert gap[0] < 1.5
assert gap[-1] > 5

# %% [markdown]
# **Surprise**: for two layers the two bounds nearly meet, and then they part.
#
# Look at the lower bounds as well. Secants between test images find the least. The search is not always the best of the
# three, so try several methods, and keep the largest result.
#
# ## Why is the product so loose?
#
# Each layer has one direction that it stretches most. A change of the input is stretched by the whole product only if
# it lies in this direction of the first layer, arrives at the second layer in the direction that the second layer
# stretches most, and so on to the end. Trained layers stretch few directions strongly and many weakly, and the strong
# directions of two layers do not agree. (ReLU also sets a part of each vector to zero.) Multiply the matrices of two
# layers, and compare:

# %%
first, second = (np.asarray(keras.ops.convert_to_numpy(layer.kernel)) for layer in plain.layers[:2])
together = np.linalg.norm(first @ second, 2)
separate = np.linalg.norm(first, 2) * np.linalg.norm(second, 2)
print(f"norm of the product {together:.2f}, product of the norms {separate:.2f}: {together / separate:.0%}")
assert together < separate

# %% [markdown]
# If the product bound is too large by such a factor at every layer, these factors multiply over sixteen layers. There
# are two ways out: compute a better bound, or build a better network.
#
# ## Compute a better bound
#
# A bound can look at several layers together. `certify` does so where the network is small enough (`method="auto"`, the
# default). It solves a **semidefinite program**: a matrix inequality that says how far two inputs can move apart on
# their way through all layers, when each ReLU has a slope between 0 and 1. `method="tight"` takes more time, and finds
# a smaller bound. A factorization in float64 proves each result. Here are the three methods for the deepest network:

# %%
certificates = {method: lipviz.certify(plain, method=method, search=False) for method in ("product", "auto", "tight")}
for method, found in certificates.items():
    factor = found.upper_bound / lower[-1]
    print(f"{method:8s} at most {found.upper_bound:10.4g}, {factor:6.1f} times the best lower bound")
proved = [found.upper_bound for found in certificates.values()]
assert lower[-1] <= proved[2] <= proved[1] < proved[0] / 2

# %% [markdown]
# That gains a lot, and the two sides are still apart. (There is no general way around that. To compute the constant of
# a ReLU network is **NP-hard**, even for two layers: nobody knows a method that is fast for all networks.)

# %% [markdown]
# ### Exercise 2: what follows?

# %% [markdown] question="constants.follows"
# A search over a million pairs of inputs found that a network stretches none of them by more than 0.93.
# `lipviz.certify` says: at most 1.2. What follows for the network's Lipschitz constant L?
#
# Expected: one of "a" (L is at most 0.93), "b" (L lies between 0.93 and 1.2), "c" (L is 0.93 up to a small error), "d"
# (L is 1.2).

# %%
from lipviz import course

answer = ...

course.check("constants.follows", answer)

# %% [markdown]
# ## Build a better network
#
# If a layer stretches *every* direction by exactly 1, it does not matter which directions of two layers agree. lipviz
# builds such layers: `SpectralDense` brings the singular values up to 1, and `GroupSort2` sorts pairs of numbers, which
# keeps the length of a vector, while ReLU shortens it. (Lessons 02 and 03 explain them.)

# %%
keras.utils.set_random_seed(0)
hidden = [layer for _ in range(CONSTRAINED - 1) for layer in (SpectralDense(64), GroupSort2())]
model = lipviz.Sequential([keras.Input((64,)), *hidden, SpectralDense(10)], name="constrained")
model.compile(keras.optimizers.Adam(5e-3), loss=TauSparseCategoricalCrossentropy(20), metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=10, verbose=0)
certificate = lipviz.certify(model, samples=x_test)
print(f"{CONSTRAINED} layers, accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.2f}")
print(f"at least {certificate.lower_bound:.6f}, at most {certificate.upper_bound:.6f}")
assert certificate.upper_bound <= 1
assert certificate.lower_bound > 0.999 * certificate.upper_bound  # the sides meet to 0.1 %

# %%
plots.picture(
    plots.plot_certificate(certificate),
    plots.alt_text(certificate),
    caption="At every step, and for the whole network, 'at least' (|) and 'at most' (■) coincide.",
)

# %% [markdown]
# Here a product of norms is enough. For the network above its result is useless, for this one it is exact to 0.1 %. The
# layers of this network are built so that the constant is known.
#
# ## Play with one layer
#
# Choose any layer. The left panel shows its singular values. The right panel shows the factors by which it stretches
# random inputs, and the upper limit of these factors as a line. Where are the random inputs for a plain `Dense` layer?
# Where are they for `SpectralDense` with as many units as inputs?
#
# (With 64 inputs and 64 units, one of the 64 singular values stays below 1: that of the raw kernel is tiny. Lesson 02
# says what is promised. The upper limit holds in any case.)

# %%
explorer = LayerExplorer()
explorer

# %%
explorer.state = {"layer": "Dense", "inputs": 64, "units": 64}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.gains.max() < 0.8 * explorer.data.largest  # random inputs see little of a plain layer

explorer.state = {"layer": "SpectralDense"}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.gains.min() > 0.9  # here all inputs see nearly all of it

# %% [markdown]
# ### Exercise 3: change

# %% [markdown] question="constants.narrow"
# Change the cell below: let the layer have 64 inputs and 32 units in place of 64. All of its singular values are still
# 1, and there are 32 of them. Guess the median stretch of random inputs, then run the cell and answer with that number.
#
# Expected: a number, exact to ±0.02.

# %%
import numpy as np

from lipviz.explorers import LayerExplorer

explorer = LayerExplorer()  # change the line below
explorer.state = {"layer": "SpectralDense", "inputs": 64, "units": 64}
print(f"median stretch of random inputs: {np.median(explorer.data.gains):.3f}")

# %%
from lipviz import course

answer = ...

course.check("constants.narrow", answer)

# %% [markdown]
# ## One more exercise
#
# ### Exercise 4: build

# %% [markdown] question="constants.steepest"
# Write a function `steepest(x, y)` that takes samples x of shape (n, d) and what a network made of them, y of shape (n,
# m), both float64. It returns one number, the largest ratio ‖yᵢ − yⱼ‖ / ‖xᵢ − xⱼ‖ over all pairs of samples. Pairs of
# equal samples are left out. It is checked to a relative error of 1e-9.
#
# Expected: a function that is called as `steepest(x, y)`.

# %%
import numpy as np

from lipviz import course


def steepest(x, y):
    return ...


course.check("constants.steepest", steepest)

# %% [markdown]
# ## What you have seen
#
# * The Lipschitz constant is the smallest number that the steepness of no secant exceeds. For a matrix it is
#   $\sigma_1$.
# * What is tried gives a lower bound. In high dimensions, random pairs give a poor one.
# * What is proved gives an upper bound. The product of all $\sigma_1$ is one, and it is poor for deep networks.
# * `certify` proves better bounds of small networks, from several layers together.
# * If each layer stretches every direction by 1, lower and upper bound meet, at any depth.
#
# ## Where to go next
#
# * Lesson 02 shows how a layer gets its singular values, lesson 03 why GroupSort takes the place of ReLU.
# * C. Szegedy et al.: *Intriguing properties of neural networks*, ICLR 2014: the product of norms, and what it is for.
# * A. Virmaux, K. Scaman: *Lipschitz regularity of deep neural networks: analysis and efficient estimation*,
#   NeurIPS 2018: NP-hardness, and what to do.
# * H. Gouk, E. Frank, B. Pfahringer, M. Cree: *Regularisation of neural networks by enforcing Lipschitz continuity*,
#   Machine Learning, 2021.

# %% [markdown] tags=["way"]
# ← [00 A tour](00_take_the_tour.py) · [All lessons](index.py) · [02 Orthogonalize a
# kernel](02_orthogonalize_a_kernel.py) →
