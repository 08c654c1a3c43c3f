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
#     title: 'Sort instead of cut: why ReLU is not enough'
# ---

# %% [markdown]
# # Sort instead of cut: why ReLU is not enough
#
# **You will learn** why a 1-Lipschitz network of ReLUs cannot even learn $|x|$, what a sort does better, and to judge
# any activation by one question: does it keep the length of a gradient?
#
# **You need** a little Keras and the idea of a derivative. A network is **1-Lipschitz** if it never moves two outputs
# further apart than their inputs are: lesson 01 makes that precise.
#
# **It takes** about two minutes of computing on two CPU cores, and half an hour of yours.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F03_sort_instead_of_cut.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/03_sort_instead_of_cut.ipynb
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
from lipviz import course, measure, plots, toys
from lipviz.explorers import ActivationExplorer
from lipviz.layers import GroupSort2

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"DEPTH": 2, "SIZES": [[16, 1]], "RIVALS": ["relu", "fullsort"], "RIVAL_STEPS": 200, "STEPS": 250}}
STEPS = 400
DEPTH = 3  # hidden layers
SIZES = [(16, 1), (64, 3), (16, 8)]  # (width, depth) of ReLU networks
RIVALS = ["relu", "maxmin", "groupsort2", "householder", "prelulip", "fullsort"]
RIVAL_STEPS = 600

# %% [markdown]
# ## Can a 1-Lipschitz network learn |x|?
#
# The function $|x|$ is 1-Lipschitz: its slope is $-1$ or $+1$. It is also the simplest function that is not a straight
# line. We fit it with networks of a few dense layers whose matrices stretch nothing (`SpectralDense`), once with ReLU
# in between, once with **GroupSort2**, which sorts neighbouring channels in pairs.
#
# **Predict**: which of them will fit better, and by how much?

# %%
relu = toys.fit_function("abs", "relu", width=16, depth=DEPTH, steps=STEPS)
sort = toys.fit_function("abs", "groupsort2", width=16, depth=DEPTH, steps=STEPS)
for fit in (relu, sort):
    print(f"{fit.activation:10s} error {fit.error:.3f}, steepest slope {fit.slope:.2f}")
    assert fit.slope <= 1 + 1e-6  # both keep the promise
assert relu.error > 3 * sort.error
assert relu.slope < 0.75

# %%
plots.picture(
    plots.plot_function_fit([relu, sort]),
    f"{plots.alt_text(relu)} {plots.alt_text(sort)}",
    caption="GroupSort2 follows the dashed |x|. ReLU makes a flat dish of it, as if it were afraid of slopes.",
)

# %% [markdown]
# ReLU is not to blame by itself. Let it off the leash, with plain `Dense` layers, and it learns $|x|$ with ease. (As
# $|x| = \mathrm{relu}(x) + \mathrm{relu}(-x)$, two neurons would do.) But then nothing holds its slope:

# %%
free = toys.fit_function("abs", "relu", width=16, depth=DEPTH, steps=STEPS, constrained=False)
print(f"without the constraint: error {free.error:.4f}, steepest slope {free.slope:.2f}")
assert free.error < 0.3 * relu.error

# %% [markdown]
# ## Is the ReLU network too small?
#
# That is what one would think first. **Predict**: how much do four times the width, or more layers, mend?

# %%
for width, depth in SIZES:
    larger = toys.fit_function("abs", "relu", width=width, depth=depth, steps=STEPS)
    slopes = np.diff(larger.prediction) / np.diff(larger.x)
    found = f"error {larger.error:.3f}, slopes {slopes.min():.2f} to {slopes.max():.2f}"
    print(f"width {width:2d}, {depth} hidden layers: {found}")
    assert larger.error > 3 * sort.error
    if depth == 1:
        assert np.ptp(slopes) <= 1 + 1e-6  # never both −1 and +1: exercise 2

# %% [markdown]
# **Surprise**: size is not the matter. With one hidden layer, a 1-Lipschitz ReLU network cannot have two slopes that
# are more than 1 apart, whatever its width: $\pm\tfrac12$ is the best that it can do (you will show it in exercise 2).
# Depth helps, but slowly.
#
# ## What does an activation do to a gradient?
#
# Look at what it does to a picture of the plane, its two channels being the coordinates. **Predict**: what becomes of
# the letter F under a ReLU, and under a sort of the two coordinates?

# %%
cut = measure.activation_shape(keras.layers.ReLU(), channels=2, name="ReLU")
sorted_pair = measure.activation_shape(GroupSort2(), channels=2, name="GroupSort2")
figure = plots.new_figure(2)
for ax, shape in zip(figure.axes, (cut, sorted_pair), strict=True):
    plots.plot_activation_plane(shape, ax=ax)
plots.picture(
    figure,
    f"Left: {plots.alt_text(cut)} Right: {plots.alt_text(sorted_pair)}",
    caption="ReLU flattens three quarters of the plane onto two lines. The sort folds the plane along its diagonal, "
    "and a fold keeps every length. (Green is the image of a straight line.)",
)

# %% [markdown]
# In formulas: the matrix of an activation's derivatives, its **Jacobian**, tells how a gradient passes through.
#
# * Of **ReLU** it is diagonal, with a 1 where the channel is positive and a 0 where it is not: a *projection*. What
#   lies in the dead channels is lost.
# * Of a **sort** it has a single 1 in each row and column: a *permutation*. All is kept, in another order.

# %%
for name, shape in (("ReLU", cut), ("GroupSort2", sorted_pair)):
    print(f"{name:10s} singular values along a line: {np.unique(shape.values.round(6))}")
assert sorted_pair.is_isometry.all()
assert not cut.is_isometry.all()

# %% [markdown]
# Losses multiply with depth. Here are networks of six layers whose matrices are all orthogonal, so that nothing but the
# activation can lose anything; the lines are the
# singular values of the *whole* network's Jacobian, over 50 random inputs.

# %%
x = np.random.default_rng(0).standard_normal((50, 16)).astype("float32")
spectra = []
figure = plots.new_figure(2)
for ax, activation in zip(figure.axes, ("relu", "groupsort2"), strict=True):
    network = toys.toy_network(activation, width=16, depth=6, inputs=16, outputs=16)
    spectra.append(measure.jacobian_singular_values(network, x))
    plots.plot_jacobian_spectra(spectra[-1], ax=ax)
    ax.set_title(f"Jacobian with {activation}", loc="left", fontsize=11, fontweight="bold", pad=26)
plots.picture(
    figure,
    f"Left, ReLU: {plots.alt_text(spectra[0])} Right, GroupSort2: {plots.alt_text(spectra[1])}",
    caption="Left, with ReLU, a few directions survive and the rest is gone. Right, with GroupSort2, all are at 1.",
)

# %%
relu_spectra, sort_spectra = spectra
print(f"ReLU: median of the largest singular value {np.median(relu_spectra.largest):.2f}")
print(f"GroupSort2: all between {sort_spectra.values.min():.4f} and {sort_spectra.values.max():.4f}")
assert np.median(relu_spectra.largest) < 0.8
assert abs(sort_spectra.values - 1).max() < 1e-3

# %% [markdown]
# So a ReLU network faces a choice. To be steep, a gradient must pass through *active* neurons only; to bend, neurons
# must switch off. Anil, Lucas and Grosse (2019) prove it: a network of matrices that stretch nothing and of ReLUs (or
# any other monotone function of single channels), whose gradient has length 1 almost everywhere, **is linear**. And
# they prove what sorts can do: networks with GroupSort2 come as close as you like to *every* 1-Lipschitz function on a
# bounded set. (Their proof holds the matrices by the norm $\|\cdot\|_\infty$; for the spectral norm, as here, we rely
# on what we see.)
#
# ## Does a sort contain the ReLU?
#
# It does, and no training is needed. Put a 0 beside $x$, sort the pair, and keep the larger: $\max(0, x)$. The weights
# are $(1, 0)$ and $(0, 1)$, and `certify` proves that the whole is 1-Lipschitz.

# %%
by_hand = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2), GroupSort2(), keras.layers.Dense(1)])
by_hand.set_weights([np.array([[1.0, 0.0]]), np.zeros(2), np.array([[0.0], [1.0]]), np.zeros(1)])
points = np.linspace(-1, 1, 9, dtype="float32")
print(by_hand.predict(points[:, None], verbose=0)[:, 0])
assert np.array_equal(by_hand.predict(points[:, None], verbose=0)[:, 0], np.maximum(points, 0))
assert lipviz.certify(by_hand).upper_bound < 1 + 1e-9

# %% [markdown]
# So nothing is given up by sorting. You will build $|x|$ in this way in exercise 4.
#
# ## Which activation is the best?
#
# A harder test: a sawtooth with slopes of $\pm1$ and three kinks, for all activations of lipviz at equal width.
#
# * **MaxMin** gives $\max(x, 0)$ and $\max(-x, 0)$ of each channel; **FullSort** sorts all channels at once;
# * **Householder** reflects a pair of channels at a line whose angle is learned; with 90° it sorts the pair;
# * **PReLUlip** has a learned slope in $[-1, 1]$ for negative inputs.
#
# **Predict** an order, then run it.

# %%
from tqdm.auto import tqdm

fits = {}
for activation in tqdm(RIVALS):
    settings = {"width": 32, "depth": DEPTH, "steps": RIVAL_STEPS, "learning_rate": 0.03}
    fits[activation] = toys.fit_function("sawtooth", activation, **settings)
for activation, fit in sorted(fits.items(), key=lambda item: item[1].error):
    print(f"{activation:12s} error {fit.error:.4f}, steepest slope {fit.slope:.2f}")
assert max(fits, key=lambda activation: fits[activation].error) == "relu"
assert fits["relu"].slope < 0.75

# %%
ax = plots.plot_function_fit(list(fits.values()))
ax.set_ylim(-0.1, 1.05)
plots.picture(
    ax,
    " ".join(map(plots.alt_text, fits.values())),
    caption="All keep the promise, but ReLU can use little of it: its teeth are the shallowest.",
)

# %% [markdown]
# ReLU comes last, at any number of steps that we tried. Among the others do not read too much into one seed. What they
# have in common is that every piece of theirs is an orthogonal map, or can learn to be one: PReLUlip may learn the
# slope $-1$, and so become $|x|$ itself. For a network with many inputs, GroupSort2 is the usual choice: it costs
# little, and has nothing to learn.
#
# ## Fold the plane yourself
#
# Choose an activation, and look at the plane or at the outputs along a line. Which ones tear the letter F flat? Which
# only fold it? What does `tanh` do to it, and far away from 0?

# %%
explorer = ActivationExplorer()
explorer

# %%
for activation in ("relu", "tanh", "householder"):
    explorer.state = {"activation": activation, "view": "plane"}
    print(f"{activation}: {explorer.statement(explorer.data)}\n")
    assert explorer.error is None
    assert explorer.data.values.max() <= 1 + 1e-6  # all are 1-Lipschitz
    assert explorer.data.is_isometry.all() == (activation == "householder")  # one keeps lengths

# %% [markdown]
# ## Exercises
#
# Replace the `...`. A wrong answer costs nothing and brings a hint.
#
# ### Exercise 1: predict

# %%
course.exercise("activations.backward")

# %%
answer = ...

course.check("activations.backward", answer)

# %% [markdown]
# ### Exercise 2: prove

# %%
course.exercise("activations.steepness")

# %%
answer = ...

course.check("activations.steepness", answer)

# %% [markdown]
# ### Exercise 3: change

# %%
course.exercise("activations.slope")

# %%
explorer.state = {"activation": "prelulip", "view": "line", "slope": 0.25}  # change the slope here
print(explorer.statement(explorer.data))

# %%
answer = ...

course.check("activations.slope", answer)

# %% [markdown]
# ### Exercise 4: build

# %%
course.exercise("activations.fold")


# %%
def fold(s):
    return ...


course.check("activations.fold", fold)

# %% [markdown]
# ## Where to go next
#
# * Lesson 02 takes the layers apart that keep lengths; lesson 05 builds fifty of them on top of each other.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019: GroupSort, and both
#   theorems.
# * S. Singla, S. Singla, S. Feizi: *Improved deterministic $\ell_2$ robustness on CIFAR-10 and CIFAR-100*, ICLR 2022:
#   Householder activations.
# * M. Blot, M. Cord, N. Thome: *Max-min convolutional neural networks for image classification*, ICIP 2016: MaxMin.
