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
#     title: 'Bound a network: what a Lipschitz constant is'
# ---

# %% [markdown]
# # Bound a network: what a Lipschitz constant is
#
# **You will learn** what a Lipschitz constant is, to hem it in from below (by trying) and from above (by proving),
# why depth drives the two apart in an ordinary network, and how a network is built in which they meet.
#
# **You need** a little Keras and the idea of a matrix. Lesson 00 is a good start, but not needed.
#
# **It takes** about two minutes of computing on two CPU cores, and 40 minutes of yours.

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
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 adversarial-robustness-toolbox>=1.20 "
        "scikit-learn>=1.5 threadpoolctl>=3.1 matplotlib>=3.11 ipywidgets>=8.1 rich>=13 voila>=0.5 tqdm>=4.66"
        " pyyaml>=6"
    )
    subprocess.run([*install, *packages.split()], check=True)

# %%
import keras
import numpy as np

import lipviz
from lipviz import certification, course, data, measure, plots
from lipviz.explorers import LayerExplorer
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
# Take $f(x) = x + \tfrac12\sin 3x$. Its slope is $1 + \tfrac32\cos 3x$, at most 2.5. So we know the answer, $L = 2.5$,
# and can watch what secants through random points find.

# %%
rng = np.random.default_rng(0)
for count in (5, 20, 100, 1000):
    x = rng.uniform(-2, 2, count)
    rise, run = np.subtract.outer(x + np.sin(3 * x) / 2, x + np.sin(3 * x) / 2), np.subtract.outer(x, x)
    steepest = np.max(np.abs(rise[run > 0] / run[run > 0]))
    print(f"{count:4d} points: steepest secant {steepest:.4f}")
    assert steepest <= 2.5 + 1e-9  # whatever is tried stays below the constant

# %% [markdown]
# What you try comes from below, and so it is a **lower bound**: the constant is at least that. No number of secants
# proves that there is no steeper one. For that it takes an argument about all pairs, such as the one with the slope: an
# **upper bound**.
#
# An upper bound is worth having, because it confines the graph. Stand on any point of it: the rest keeps out of a
# double cone whose sides have the slope $\pm L$.

# %%
x = np.linspace(-2, 2, 401)
ax = plots.style.prepared(None, title="A graph keeps out of its cone", xlabel="x (no unit)", ylabel="f(x) (no unit)")
at = 0.5
top = at + np.sin(3 * at) / 2
for side in (-1, 1):
    edge = top + side * 2.5 * np.abs(x - at)
    ax.fill_between(x, edge, side * 9, color="0.88", label="forbidden" if side == 1 else None)
ax.plot(x, x + np.sin(3 * x) / 2, color=plots.PALETTE[0], label="f")
ax.plot(at, top, "o", color=plots.PALETTE[1], label="where you stand")
ax.set_xlim(-2, 2)
ax.set_ylim(-4, 4)
plots.style.legend(ax)
plots.picture(
    ax,
    "The curve x + ½ sin 3x rises in waves from −1.9 to 1.9. A grey double cone with sides of slope ±2.5 opens upwards "
    "and downwards at the point x = 0.5 of the curve. The curve lies outside of the cone everywhere.",
    caption="Move the point along the curve: the grey double cone never touches the rest of it.",
)

# %% [markdown]
# Some functions have no constant at all. The graph of $\sqrt x$ is vertical at 0, so the finer you look, the steeper it
# gets:

# %%
for step in (1e-2, 1e-4, 1e-6):
    print(f"secant of √x from 0 to {step:g}: slope {np.sqrt(step) / step:.0f}")

# %% [markdown]
# ## How much does a matrix stretch?
#
# With many inputs and outputs, a distance is a Euclidean length: $\|f(x) - f(y)\| \le L\,\|x - y\|$. For a matrix,
# $f(x) - f(y) = W(x - y)$, so that only the direction of $x - y$ matters. The direction that is stretched most is the
# first **singular vector**, and its stretch is the largest **singular value** $\sigma_1$: the constant is $\sigma_1$,
# known at once.
#
# So here we can grade the method of trying. Draw 10,000 random pairs, keep the best, and compare it with $\sigma_1$.
# **Predict first**: which share of the constant will it find, in 2 dimensions? In 64? In 512?

# %%
rng = np.random.default_rng(0)
best = {}
for dimension in (2, 8, 64, 512):
    matrix = rng.standard_normal((dimension, dimension))
    pairs = rng.standard_normal((10_000, dimension)) - rng.standard_normal((10_000, dimension))
    stretch = np.linalg.norm(pairs @ matrix, axis=1) / np.linalg.norm(pairs, axis=1)
    best[dimension] = np.maximum.accumulate(stretch) / np.linalg.norm(matrix, 2)
    print(f"dimension {dimension:3d}: the best of 10,000 pairs finds {best[dimension][-1]:.0%} of the constant")
assert best[2][-1] > 0.99
assert best[512][-1] < 0.65

# %%
ax = plots.style.prepared(
    None, title="Trying longer hardly helps", xlabel="random pairs tried", ylabel="best so far (share of constant)"
)
for (dimension, found), color, dashes in zip(best.items(), plots.PALETTE, ("-", "--", "-.", ":"), strict=False):
    ax.step(np.arange(1, 10_001), found, dashes, where="post", color=color, label=f"dimension {dimension}")
ax.set_xscale("log")
ax.set_ylim(0, 1.05)
ax.legend(loc="lower right", fontsize=9)
plots.picture(
    ax,
    "Largest stretch found so far against the number of random pairs, from 1 to 10,000, as a share of the constant. "
    + " ".join(f"In dimension {dimension} it ends at {found[-1]:.2f}." for dimension, found in best.items()),
    caption="In high dimensions the curves are flat: a hundred times the pairs add next to nothing.",
)

# %% [markdown]
# **Surprise**: in 512 dimensions, ten thousand pairs find little more than half, and the first hundred found nearly as
# much. A random direction has a little of every singular vector, so that all of them are stretched about equally, by
# an average. An image has hundreds of dimensions or more: *a constant that was "measured" on random pairs says next to
# nothing*.
#
# The cure is to search instead of to sample: turn the direction uphill. Three kinds of lower bound will compete below:
#
# * **secants** between pairs of test images (`certification.secant_ratios`);
# * **Jacobian norms** at test images. The Jacobian is the matrix of all derivatives, the network seen through a
#   magnifying glass: its largest singular value is the stretch there (`measure.input_gradient_norms`);
# * **gradient ascent** on the ratio itself, from many starts (`certification.gradient_ascent_ratio`).

# %% [markdown]
# ## What does depth do to the bounds?
#
# From above there is a classic: layers that follow each other multiply what they stretch, and ReLU stretches nothing.
# So the **product of all $\sigma_1$** bounds the whole network. `lipviz.certify` computes it, with the weights that
# the network uses.
#
# Let us train ordinary ReLU networks of several depths on scikit-learn's handwritten digits (8 × 8 pixels), and bound
# each of them from both sides. **Predict**: how far apart will the two sides be for the deepest one?

# %%
(x_train, y_train), (x_test, y_test) = data.digits()
x_train, x_test = x_train.reshape(-1, 64), x_test.reshape(-1, 64)

# %%
from tqdm.auto import tqdm

secants, jacobians, ascents, products = [], [], [], []
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
    products.append(lipviz.certify(plain, search=False).upper_bound)
    accuracy = plain.evaluate(x_test, y_test, verbose=0)[1]
    found = f"secants {secants[-1]:.1f}, Jacobians {jacobians[-1]:.1f}, ascent {ascents[-1]:.1f}"
    print(f"{depth:2d} layers, accuracy {accuracy:.2f}: {found}; product {products[-1]:.1f}")

# %%
lower = np.maximum(np.maximum(secants, jacobians), ascents)  # each is true, so the largest is the best
gap = products / lower
print("the product is above the best lower bound by a factor of", " · ".join(f"{factor:.1f}" for factor in gap))
assert (lower <= products).all()  # nothing found contradicts what is proved
assert (np.diff(gap) > 0).all()
assert gap[0] < 1.5
assert gap[-1] > 5

# %%
ax = plots.style.prepared(
    None, title="Two sides of a constant", xlabel="layers", ylabel="constant (logits per grey level)"
)
rows = {"product (upper)": products, "ascent": ascents, "Jacobians": jacobians, "secants": secants}
for order, (name, values) in enumerate(rows.items()):
    dashes = ("-", "--", "-.", ":")[order]
    ax.plot(DEPTHS, values, dashes, marker=plots.style.MARKERS[order], color=plots.PALETTE[order], label=name)
ax.fill_between(DEPTHS, lower, products, color="0.9", label="nobody knows", zorder=1)
ax.set_yscale("log")
ax.set_xticks(DEPTHS)
ax.legend(loc="upper left", fontsize=8)
plots.picture(
    ax,
    f"Bounds of ReLU networks of {DEPTHS[0]} to {DEPTHS[-1]} layers, logarithmic. The product of norms grows from "
    f"{products[0]:.3g} to {products[-1]:.3g}. The best lower bound grows from {lower[0]:.3g} to {lower[-1]:.3g} only.",
    caption="The true constant lies somewhere in the grey. With depth the grey opens like a mouth.",
)

# %% [markdown]
# **Surprise**: for two layers the sides nearly meet. For the deepest network the proof says "up to" a number that is
# many times anything that can be found, and nobody knows where in between the truth lies. A certificate from the
# product would be true, and useless.
#
# Look at the lower bounds as well. Secants between test images see the least, and the search is not always the best of
# the three: it is worth trying several, and keeping the largest.
#
# ## Why is the product so loose?
#
# A product is attained only if the direction that one layer stretches most comes out as the direction that the next one
# stretches most, and so on to the end. Trained layers have one strong direction and many weak ones, which do not line
# up. (And ReLU cuts off a part on the way.) Multiply the matrices of two layers, and compare:

# %%
first, second = (np.asarray(keras.ops.convert_to_numpy(layer.kernel)) for layer in plain.layers[:2])
together = np.linalg.norm(first @ second, 2)
separate = np.linalg.norm(first, 2) * np.linalg.norm(second, 2)
print(f"norm of the product {together:.2f}, product of the norms {separate:.2f}: {together / separate:.0%}")
assert together < separate

# %% [markdown]
# Lose such a share at every layer, and it is plain what sixteen of them do. Two ways out are open: to compute better,
# or to build better.
#
# ## Compute better
#
# One can be more exact about each step. For a dense layer there is nothing to gain, $\sigma_1$ *is* its constant; a
# convolution is a huge matrix, of which `certify` takes a quick sound bound. `exact=True` spends seconds to close that
# gap, but the product of the steps stays a product:

# %%
keras.utils.set_random_seed(0)
convolutions = [keras.layers.Conv2D(16, 3, padding="same", activation="relu") for _ in range(2)]
network = keras.Sequential([keras.Input((8, 8, 1)), *convolutions, keras.layers.Flatten(), keras.layers.Dense(10)])
fast, exact = (lipviz.certify(network, exact=mode, samples=x_test.reshape(-1, 8, 8, 1)) for mode in (False, True))
for step, closer in zip(fast.layers, exact.layers, strict=True):
    if step.upper != 1:
        print(f"{step.name:12s} at most {step.upper:.4f} ({step.method}), or {closer.upper:.4f} ({closer.method})")
print(f"whole network: at least {exact.lower_bound:.4f}, at most {fast.upper_bound:.4f}, or {exact.upper_bound:.4f}")
assert exact.lower_bound <= exact.upper_bound <= fast.upper_bound

# %% [markdown]
# Even this small network, which has not been trained, has its two sides far apart. (There is no way around that in
# general: to compute the constant of a ReLU network is NP-hard already for two layers.)

# %% [markdown]
# ## Build better
#
# If *every* direction is stretched by exactly 1, there is nothing that could fail to line up. That is what lipviz
# builds: `SpectralDense` brings all singular values to 1, and `GroupSort2`, which sorts pairs of numbers, keeps every
# length where ReLU cuts. (Lessons 02 and 03 open them.)

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
    caption="At every step, and for the whole, 'at least' (|) and 'at most' (◆) fall on the same place.",
)

# %% [markdown]
# The same method of proof, a product of norms, is hopeless for the network above and exact for this one. The constant
# is not measured after the fact, it is built in.
#
# ## Play with one layer
#
# Choose any layer. Left are its singular values, right how much random inputs are stretched, and the line that nothing
# can pass. Where do the random inputs stand, for a plain `Dense` layer? For `SpectralDense` with as many units as
# inputs?

# %%
explorer = LayerExplorer()
explorer

# %%
explorer.state = {"layer": "Dense", "inputs": 64, "units": 64}
print(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.gains.max() < 0.8 * explorer.data.largest  # random inputs see little of a plain layer

explorer.state = {"layer": "SpectralDense"}
print(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.gains.min() > 0.9  # here all inputs see nearly all of it

# %% [markdown]
# ## Exercises
#
# Replace the `...`. A wrong answer costs nothing and brings a hint.
#
# ### Exercise 1: predict

# %%
course.exercise("constants.kink")

# %%
answer = ...

course.check("constants.kink", answer)

# %% [markdown]
# ### Exercise 2: what follows?

# %%
course.exercise("constants.follows")

# %%
answer = ...

course.check("constants.follows", answer)

# %% [markdown]
# ### Exercise 3: change

# %%
course.exercise("constants.narrow")

# %%
explorer.reset()  # change the line below
explorer.state = {"layer": "SpectralDense", "inputs": 64, "units": 64}
print(f"median stretch of random inputs: {np.median(explorer.data.gains):.3f}")

# %%
answer = ...

course.check("constants.narrow", answer)

# %% [markdown]
# ### Exercise 4: build

# %%
course.exercise("constants.steepest")


# %%
def steepest(x, y):
    return ...


course.check("constants.steepest", steepest)

# %% [markdown]
# ## Where to go next
#
# * Lesson 02 shows how a layer gets its singular values, lesson 03 why GroupSort takes the place of ReLU.
# * C. Szegedy et al.: *Intriguing properties of neural networks*, ICLR 2014: the product of norms, and what it is for.
# * A. Virmaux, K. Scaman: *Lipschitz regularity of deep neural networks: analysis and efficient estimation*,
#   NeurIPS 2018: NP-hardness, and what to do.
# * H. Gouk, E. Frank, B. Pfahringer, M. Cree: *Regularisation of neural networks by enforcing Lipschitz continuity*,
#   Machine Learning, 2021.
