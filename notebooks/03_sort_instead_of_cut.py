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
#     needs: a little Keras; 01 helps
#     title: 'Sort instead of cut: why ReLU is not enough'
# ---

# %% [markdown]
# # Sort instead of cut: why ReLU is not enough
#
# **You will learn** why a 1-Lipschitz network with ReLU fails even to learn $|x|$, why sorting works better, and how to
# judge any activation by one question: does it keep the length of a gradient?
#
# **You need** a little Keras and the idea of a derivative. A network is **1-Lipschitz** if it never moves two outputs
# further apart than their inputs are: lesson 01 makes that precise.
#
# **It takes** about two minutes of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** Lesson 02 was about the matrices of a network: this lesson is about what stands between them.

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
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 threadpoolctl>=3.5 "
        "adversarial-robustness-toolbox>=1.20 scikit-learn>=1.5 matplotlib>=3.11.1 ipywidgets>=8.1.5 "
        "anywidget>=0.9 rich>=13 voila>=0.5 tqdm>=4.66 pyyaml>=6.0.2"
    )
    subprocess.run([*install, *packages.split()], check=True)

# %% [markdown] tags=["way"]
# ← [02 Orthogonalize a kernel](02_orthogonalize_a_kernel.py) · [All lessons](index.py) · [04 Measure a
# convolution](04_measure_a_convolution.py) →

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
# The function $|x|$ is 1-Lipschitz: its slope is $-1$ or $+1$. It is also one of the simplest functions whose graph is
# not a straight line. We fit it with networks of a few dense layers whose matrices do not stretch (`SpectralDense`).
# Between the layers stands an **activation**, a simple function of the numbers there, which are called **channels**.
# One network has **ReLU**, which replaces negative numbers by 0, the other **GroupSort2**, which sorts neighbouring
# channels in pairs.

# %% [markdown] question="activations.error"
# **Predict.** Which of the two networks will fit `|x|` better, and by how much? Guess the error with ReLU, divided by
# the error with GroupSort2.

# %%
relu = toys.fit_function("abs", "relu", width=16, depth=DEPTH, steps=STEPS)
sort = toys.fit_function("abs", "groupsort2", width=16, depth=DEPTH, steps=STEPS)
rows = [f"{fit.activation:10s} error {fit.error:.3f}, steepest slope {fit.slope:.2f}" for fit in (relu, sort)]
picture = plots.picture(
    plots.plot_function_fit([relu, sort]),
    f"{plots.alt_text(relu)} {plots.alt_text(sort)}",
    caption="The dashed line is |x|. Compare the slopes of both networks with its slopes.",
)
course.predict("activations.error", truth=relu.error / sort.error, reveal=["\n".join(rows), picture])

# %%
assert max(relu.slope, sort.slope) <= 1 + 1e-6  # both keep the promise
assert relu.error > 3 * sort.error
assert relu.slope < 0.75

# %% [markdown]
# ReLU alone is not the cause. Without the constraint, with plain `Dense` layers, a network with ReLU learns $|x|$
# easily. (Two neurons are enough, since $|x| = \mathrm{relu}(x) + \mathrm{relu}(-x)$.) But then nothing bounds its
# slope:

# %%
free = toys.fit_function("abs", "relu", width=16, depth=DEPTH, steps=STEPS, constrained=False)
print(f"without the constraint: error {free.error:.4f}, steepest slope {free.slope:.2f}")
assert free.error < 0.3 * relu.error

# %% [markdown]
# ## Is the ReLU network too small?
#
# We train three more networks with ReLU, all larger than the first one.

# %% [markdown] question="activations.size"
# **Predict.** Perhaps the ReLU network only needs more neurons. Which of these networks with ReLU comes near the error
# that GroupSort2 has with width 16 and 3 hidden layers?

# %%
rows, larger_fits = [], []
for width, depth in SIZES:
    larger = toys.fit_function("abs", "relu", width=width, depth=depth, steps=STEPS)
    slopes = np.diff(larger.prediction) / np.diff(larger.x)
    found = f"error {larger.error:.3f}, slopes {slopes.min():.2f} to {slopes.max():.2f}"
    rows.append(f"width {width:2d}, {depth} hidden layers: {found}")
    larger_fits.append((larger, np.ptp(slopes)))
course.predict("activations.size", reveal="\n".join(rows))

# %%
for larger, difference in larger_fits:
    assert larger.error > 3 * sort.error
    if larger.depth == 1:
        assert difference <= 1 + 1e-6  # exercise 1 is about this

# %% [markdown]
# ### Exercise 1: prove
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="activations.steepness"
# A network with one number as its input, one hidden layer of ReLUs and one output computes Σ vᵢ relu(wᵢ x + bᵢ) + c.
# The constraints ‖w‖ ≤ 1 and ‖v‖ ≤ 1 make it 1-Lipschitz. It should equal s·|x| for some s > 0. What is the largest s
# that is possible, at any width?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("activations.steepness", answer)

# %% [markdown]
# ## What does an activation do to a gradient?
#
# Take two channels as the coordinates of a plane, and draw the letter F into it.

# %% [markdown] question="activations.letter"
# **Predict.** What does a sort of the two coordinates do to the letter F?

# %% jupyter={"source_hidden": true} tags=["hide-input"]
cut = measure.activation_shape(keras.layers.ReLU(), channels=2, name="ReLU")
sorted_pair = measure.activation_shape(GroupSort2(), channels=2, name="GroupSort2")
figure = plots.new_figure(2)
for ax, shape in zip(figure.axes, (cut, sorted_pair), strict=True):
    plots.plot_activation_plane(shape, ax=ax)
picture = plots.picture(
    figure,
    f"Left: {plots.alt_text(cut)} Right: {plots.alt_text(sorted_pair)}",
    caption="ReLU flattens three quarters of the plane onto two lines. The sort folds the plane along its diagonal, "
    "and a fold keeps every length. (Green is the image of a straight line.)",
)
course.predict("activations.letter", reveal=picture)

# %% [markdown]
# In formulas, the **Jacobian**, the matrix of an activation's derivatives, says how a gradient passes through.
#
# * The Jacobian of **ReLU** is diagonal, with 1 where the channel is positive and 0 where it is not. It is a
#   *projection*: the part of the gradient in channels that are not positive is lost.
# * The Jacobian of a **sort** has a single 1 in each row and column. It is a *permutation*: all entries of the gradient
#   are kept, in another order.

# %%
for name, shape in (("ReLU", cut), ("GroupSort2", sorted_pair)):
    print(f"{name:10s} singular values along a line: {np.unique(shape.values.round(6))}")
assert sorted_pair.is_isometry.all()
assert not cut.is_isometry.all()

# %% [markdown]
# ### Exercise 2: predict

# %% [markdown] question="activations.backward"
# Predict: GroupSort2 receives the four channels (2, -1, -3, 0.5) and sorts each pair of neighbours, the smaller one
# first. The gradient at its output is (3, 1, 4, 2). What is the gradient with respect to the four channels?
#
# Expected: an array of numbers, each exact to ±1e-06.

# %%
from lipviz import course

answer = ...

course.check("activations.backward", answer)

# %% [markdown]
# With depth, the losses of all layers multiply. Here are networks of six layers whose matrices are all orthogonal, so
# that only the activations can shorten a gradient. The lines are the singular values of the *whole* network's Jacobian,
# for 50 random inputs.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
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
    caption="Left, with ReLU, most singular values are small. Right, with GroupSort2, all are 1.",
)

# %%
relu_spectra, sort_spectra = spectra
print(f"ReLU: median of the largest singular value {np.median(relu_spectra.largest):.2f}")
print(f"GroupSort2: all between {sort_spectra.values.min():.4f} and {sort_spectra.values.max():.4f}")
assert np.median(relu_spectra.largest) < 0.8
assert abs(sort_spectra.values - 1).max() < 1e-3

# %% [markdown]
# So two properties of a ReLU network exclude each other. For a slope of 1, the gradient must pass through *active*
# neurons only. For a bend, some neurons must switch off. Anil, Lucas and Grosse (2019) prove it. Take a network of
# matrices that do not stretch, with ReLU or any other monotone function of single channels. If its gradient has length
# 1 almost everywhere, the network **is linear**. They also prove that networks with GroupSort2 approximate *every*
# 1-Lipschitz function on a bounded set as closely as you like. (The second proof bounds the matrices in another norm,
# the largest sum of magnitudes in a row. For the spectral norm, which is used here, we rely on experiments.)
#
# ## Can a sort express ReLU?
#
# Yes, and no training is needed. Put a 0 beside $x$, sort the pair, and keep the larger number: $\max(0, x)$. The
# weights are $(1, 0)$ and $(0, 1)$, and `certify` proves that the whole network is 1-Lipschitz.

# %%
by_hand = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2), GroupSort2(), keras.layers.Dense(1)])
by_hand.set_weights([np.array([[1.0, 0.0]]), np.zeros(2), np.array([[0.0], [1.0]]), np.zeros(1)])
points = np.linspace(-1, 1, 9, dtype="float32")
print(by_hand.predict(points[:, None], verbose=0)[:, 0])
assert np.array_equal(by_hand.predict(points[:, None], verbose=0)[:, 0], np.maximum(points, 0))
assert lipviz.certify(by_hand).upper_bound < 1 + 1e-9

# %% [markdown]
# So a sort can do everything that ReLU can do. You will build $|x|$ in this way in exercise 4.
#
# ## Which activation is the best?
#
# A harder test is a sawtooth with slopes of $\pm1$ and three kinks. All activations of lipviz try it at equal width.
#
# * **MaxMin** gives $\max(x, 0)$ and $\max(-x, 0)$ of each channel; **FullSort** sorts all channels at once;
# * **Householder** reflects a pair of channels at a line whose angle is learned; with 90° it sorts the pair;
# * **PReLUlip** has a slope for negative inputs that is learned, in $[-1, 1]$.

# %% [markdown] question="activations.sawtooth"
# **Predict.** Which of these networks will have the largest error on the sawtooth?

# %%
from tqdm.auto import tqdm

fits = {}
for activation in tqdm(RIVALS):
    settings = {"width": 32, "depth": DEPTH, "steps": RIVAL_STEPS, "learning_rate": 0.03}
    fits[activation] = toys.fit_function("sawtooth", activation, **settings)
ranked = sorted(fits.items(), key=lambda item: item[1].error)
rows = [f"{activation:12s} error {fit.error:.4f}, steepest slope {fit.slope:.2f}" for activation, fit in ranked]
course.predict("activations.sawtooth", reveal="\n".join(rows))

# %%
assert max(fits, key=lambda activation: fits[activation].error) == "relu"
assert fits["relu"].slope < 0.75

# %%
ax = plots.plot_function_fit(list(fits.values()))
ax.set_ylim(-0.1, 1.05)
plots.picture(
    ax,
    " ".join(map(plots.alt_text, fits.values())),
    caption="All slopes are at most 1. The network with ReLU has the flattest teeth.",
)

# %% [markdown]
# ReLU is the worst, at every number of steps that we tried. The order of the others may depend on the seed. They have
# one thing in common: each linear piece of them is an orthogonal map, or can learn to be one. PReLUlip can learn the
# slope $-1$, and then it is $|x|$ itself. For a network with many inputs, GroupSort2 is the usual choice: it costs
# little, and has no parameters.
#
# ## Fold the plane yourself
#
# Choose an activation, and look at the plane or at the outputs along a line. Which activations flatten the letter F?
# Which only fold it? What does `tanh` do near 0, and what far away from 0?

# %%
explorer = ActivationExplorer()
explorer

# %%
for activation in ("relu", "tanh", "householder"):
    explorer.state = {"activation": activation, "view": "plane"}
    course.say(f"{activation}: {explorer.statement(explorer.data)}")
    assert explorer.error is None
    assert explorer.data.values.max() <= 1 + 1e-6  # all are 1-Lipschitz
    assert explorer.data.is_isometry.all() == (activation == "householder")  # one keeps lengths

# %% [markdown]
# ### Exercise 3: change

# %% [markdown] question="activations.slope"
# PReLUlip passes a positive input on as it is, and multiplies a negative one by a slope between −1 and 1. With the
# slope 1 it is no activation at all: it bends nothing. Change the slope in the cell below until the explorer states
# that lengths are kept all along the line, although the activation bends. Which slope is that?
#
# Expected: a number, exact to ±1e-06.

# %%
from lipviz import course
from lipviz.explorers import ActivationExplorer

explorer = ActivationExplorer()
explorer.state = {"activation": "prelulip", "view": "line", "slope": 0.25}  # change the slope here
course.say(explorer.statement(explorer.data))

# %%
from lipviz import course

answer = ...

course.check("activations.slope", answer)

# %% [markdown]
# ## One more exercise
#
# ### Exercise 4: build

# %% [markdown] question="activations.fold"
# Build s·|x| from a sort. The network multiplies a number x by a pair of weights w = (w₁, w₂), sorts the two products
# with GroupSort2, the smaller one first, and returns their scalar product with v = (v₁, v₂). Write a function `fold(s)`
# that takes a number s, not 0, and returns an array of shape (2, 2) with the rows w and v. The network must equal s·|x|
# for all x, and both rows have a norm of at most √|s|, so that the whole is certified to be |s|-Lipschitz.
#
# Expected: a function that is called as `fold(s)`.

# %%
import numpy as np

from lipviz import course


def fold(s):
    return ...


course.check("activations.fold", fold)

# %% [markdown]
# ## What you have seen
#
# * A 1-Lipschitz network with ReLU cannot fit $|x|$, at any width and depth that you tried.
# * ReLU loses the part of a gradient in the channels that it cuts off. A sort only reorders a gradient.
# * With orthogonal matrices and sorts, all singular values of a network's Jacobian are 1, at any depth.
# * A sort can express ReLU. So nothing is lost by sorting.
#
# ## Where to go next
#
# * Lesson 02 explains the layers that keep lengths. Lesson 05 puts fifty of them on top of each other.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019: GroupSort, and both
#   theorems.
# * S. Singla, S. Singla, S. Feizi: *Improved deterministic $\ell_2$ robustness on CIFAR-10 and CIFAR-100*, ICLR 2022:
#   Householder activations.
# * M. Blot, M. Cord, N. Thome: *Max-min convolutional neural networks for image classification*, ICIP 2016: MaxMin.

# %% [markdown] tags=["way"]
# ← [02 Orthogonalize a kernel](02_orthogonalize_a_kernel.py) · [All lessons](index.py) · [04 Measure a
# convolution](04_measure_a_convolution.py) →
