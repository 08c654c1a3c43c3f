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
#     needs: 02 and 08; 04 helps
#     title: 'Choose a layer: what constraints make of one kernel'
# ---

# %% [markdown]
# # Choose a layer: what constraints make of one kernel
#
# **You will learn** what seven kinds of 1-Lipschitz layers make of the same kernel, what that means for deep networks
# and their certificates, what a training step of each kind costs, and how to choose between them.
#
# **You need** lesson 02: singular values, and Björck's iteration. The second half trains networks and certifies them;
# lesson 08 explains certified accuracy in more detail.
#
# **It takes** about two minutes of computing on two CPU cores, and an hour of your time.
#
# **Where you are.** Nearly all networks so far had `SpectralDense` and `SpectralConv2D`; now we compare these layers
# with others.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F13_choose_a_layer.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/13_choose_a_layer.ipynb
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
# ← [12 Come from deel-lip](12_come_from_deel_lip.py) · [All lessons](index.py) · [14 Bring your own
# data](14_bring_your_own_data.py) →

# %%
import keras
import numpy as np
from tqdm.auto import tqdm

from lipviz import course, data, measure, plots, toys
from lipviz.explorers import LayerKindExplorer

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"STEPS": 30, "TRAIN": 600, "TURNS": 1, "COMPARED": 3}}
STEPS = 150  # of the training of each network
TRAIN = None  # all 1,437 images
TURNS = 10  # of the measurement of times
DEPTH = 4  # hidden layers
COMPARED = len(measure.DENSE_KINDS)  # kinds to time and to train: all of them

# %% [markdown]
# ## Seven answers to one question
#
# A layer multiplies its input by a matrix, the **kernel**. The optimizer changes a **raw kernel**, which may be any
# matrix. The layer makes another kernel of it, which stretches nothing: its largest **singular value** (the factor by
# which it stretches most) is at most 1. There are several ways to do that:
#
# * `SpectralDense(eps_bjorck=None)` divides $W$ by a bound of its largest singular value.
# * `SpectralDense` does the same, and then applies Björck's iteration. The result is the nearest **orthogonal** matrix,
#   whose singular values are all 1.
# * `CayleyDense` computes $(I - A)(I + A)^{-1}$ from $A = W - W^\top$ (for a square $W$): the **Cayley transform**. The
#   result is a rotation.
# * `BRODense` computes $I - 2V(V^\top V + \varepsilon I)^{-1}V^\top$ from a narrow raw kernel $V$: a **block
#   reflector**. It turns the sign of all vectors in the space of the columns of $V$, and leaves those orthogonal to it.
# * `AOLDense` divides each column $i$ by the root of a sum, $t_i = \sum_j |W^\top W|_{ij}$. The layer is called
#   **almost orthogonal**, because the result is orthogonal if the columns of $W$ are orthogonal to each other.
# * `FrobeniusDense` divides $W$ by its **Frobenius norm**, the root of the sum of all squared entries.
# * `SLLDense` is a **residual block**, $x - 2V\,\mathrm{ReLU}(V^\top x + b)$: it adds something to its input. Here
#   $V$ is the kernel that `AOLDense` makes.
#
# For each of them there is a proof that the layer is 1-Lipschitz, for every raw kernel. The docstrings contain the
# proofs. We now give the same raw kernel to all of them: 64 × 64, with singular values between 1 and 0.1. (Only
# `BRODense` gets another one, which is narrow, and whose largest and smallest singular values are the same.)

# %% [markdown] question="choice.spectra"
# **Predict.** For which of the seven kinds are all singular values of the layer 1, to three digits?

# %%
one = measure.kind_spectra(measure.DENSE_KINDS, smallest=0.1)
rows = [
    f"{kind.title:31s} {values[-1]:.4f} to {values[0]:.4f}, median {np.median(values):.4f}"
    for kind, values in zip(one.kinds, one.values, strict=True)
]
picture = plots.picture(
    plots.plot_kind_spectra(one),
    plots.alt_text(one),
    caption="Each point is one of the 64 singular values of a layer. In each row, the largest lies on top.",
)
course.predict("choice.spectra", reveal=["\n".join(rows), picture])

# %% [markdown]
# Three kinds are orthogonal. Björck's iteration stops when it is near enough: lipviz promises 0.001 for such a raw
# kernel. The other two solve a linear system, and only rounding is left (float32 has seven digits). No value is above
# 1 for any kind: layers subtract a margin for rounding.

# %%
spectrum = {kind.title: values for kind, values in zip(one.kinds, one.values, strict=True)}
assert all(values[0] <= 1 + 1e-12 for values in spectrum.values())
assert spectrum["SpectralDense"][-1] > 1 - 1e-3
assert min(spectrum["CayleyDense"][-1], spectrum["BRODense"][-1]) > 1 - 1e-5

# %% [markdown]
# The row of `SLLDense` shows its **Jacobian** at a random input, the matrix of its slopes there: a residual block is
# not linear. Where a neuron of the ReLU is off, the input passes unchanged. So some singular values are exactly 1.
#
# ### Exercise 1: predict

# %% [markdown] question="choice.frobenius"
# Predict: the raw kernel of a `FrobeniusDense` is an orthogonal matrix of 64 × 64. The layer divides it by its
# Frobenius norm, the root of the sum of all squared entries. All singular values of the result are the same. What are
# they?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("choice.frobenius", answer)

# %% [markdown]
# ## What becomes of them in a deep network?
#
# In a stack of layers, matrices are multiplied. Between them are activations such as `GroupSort2`, which exchange
# numbers and keep all lengths. `kind_spectra` with a `depth` multiplies the kernel with itself, and exchanges the
# numbers at random in between. The **gain** is the length that is left of a random change of length 1 (as the root of
# the mean of its squares).

# %% [markdown] question="choice.gain"
# **Predict.** One layer of `AOLDense` has a gain of about 0.4: so much is left of the length of a random change. What
# is the gain of eight such layers?

# %%
stacks = {depth: measure.kind_spectra(measure.DENSE_KINDS, smallest=0.1, depth=depth) for depth in (1, 2, 4, 8)}
gains = [f"{'gain after':31s} {' '.join(f'{depth:9d}' for depth in stacks)} layers"]
for place, kind in enumerate(measure.DENSE_KINDS):
    gains.append(f"{kind.title:31s} {' '.join(f'{stack.gain[place]:9.2g}' for stack in stacks.values())}")
picture = plots.picture(
    plots.plot_kind_spectra(stacks[8]),
    plots.alt_text(stacks[8]),
    caption="Each point is one of the 64 singular values of eight layers.",
)
aol = measure.DENSE_KINDS.index(measure.layer_kind("AOLDense"))
course.predict("choice.gain", truth=stacks[8].gain[aol], reveal=["\n".join(gains), picture])

# %% [markdown]
# After eight layers, the orthogonal kinds are as before. The kinds that only divide leave hardly anything of any
# direction. The residual block loses less.
#
# For a stack of linear layers we know more: the product of all singular values is the determinant, up to its sign, and
# determinants multiply. So the *mean of the logarithms* of the singular values of four layers is four times that of
# one. No exchange of numbers can change that. Rounding can: a number in float64 has 16 digits, and the smallest
# singular value of four layers may be $10^{-4}$ of the largest. So 12 digits are left, and we ask for nine.

# %%
for place, kind in enumerate(measure.DENSE_KINDS):
    if not kind.is_block:
        difference = np.log(stacks[4].values[place]).mean() - 4 * np.log(one.values[place]).mean()
        assert abs(difference) < 1e-9
orthogonal = [kind.title in ("SpectralDense", "CayleyDense", "BRODense") for kind in measure.DENSE_KINDS]
assert np.all(stacks[8].gain[orthogonal] > 1 - 8 * 1e-3)
assert np.all(stacks[8].gain[np.invert(orthogonal)] < 0.5)

# %% [markdown]
# **Surprise**: all of these stacks are 1-Lipschitz, and every certificate of such a network is true. But a certificate
# needs a **margin**: the output of the true class minus the next largest one. A change of the input by $\varepsilon$
# can change the margin by at most $\sqrt2\,\varepsilon$ times the constant that is proved. If the stack passes on a
# thousandth of most changes, two images of different classes have nearly the same output. No margin is left to be
# certified. The loss asks for a margin of a fixed size, and the gradient that should produce it is lost on its way back
# as well (lesson 05).
#
# Training changes the raw kernel, and with it the spectrum. So the question is how far training gets. We will measure
# that below.
#
# ### Exercise 2: predict

# %% [markdown] question="choice.layers"
# Predict: every layer of a network multiplies the length of each change by 0.8. After how many layers is less than a
# tenth of the length left for the first time?
#
# Expected: a whole number.

# %%
from lipviz import course

answer = ...

course.check("choice.layers", answer)

# %% [markdown]
# ## What does a step cost?
#
# After training, all kinds cost the same: `vanilla_export` makes plain layers of them. During training, each step
# computes the kernel anew. We measure the CPU time of a step with a layer of 256 × 256, as a multiple of that of
# Keras's own `Dense`, in turns. These figures depend on your machine.

# %%
costs = {}
for kind in tqdm(measure.DENSE_KINDS[:COMPARED]):
    costs[kind.title] = measure.step_cost(kind, turns=TURNS).ratio
for title, cost in costs.items():
    print(f"{title:31s} {cost:5.1f}")

# %% [markdown]
# ## The same network, seven times
#
# Now a network learns to read scikit-learn's digits (8 × 8 pixels between 0 and 1). It has four hidden layers of one
# kind with 64 neurons, and a last layer which is the same for all. All are trained in the same way. The loss is a
# cross-entropy that asks for a margin: `OffsetCategoricalCrossentropy`. Then we compute the **accuracy** on the test
# images, and the **certified accuracy** at ε: the share of images that are right, and stay right under every change of
# a length up to ε.

# %% [markdown] question="choice.deeper"
# **Predict.** With one hidden layer, the network of `SpectralDense(eps_bjorck=None)` has a certified accuracy of 93 %
# at ε = 0.1; with Björck's iteration it is 95 %. Now both have four hidden layers. What is the certified accuracy of
# the one without Björck's iteration?

# %%
train, test = data.digits(n_train=TRAIN)
runs = []
for kind in tqdm(measure.DENSE_KINDS[:COMPARED]):
    runs.append(toys.kind_run(train, test, kind, depth=DEPTH, steps=STEPS, dataset="digits"))
networks = toys.compare_kinds([run.kind for run in runs], DEPTH, runs=runs, costs=costs)
reached = []
for kind, accuracy, certified in zip(networks.kinds, networks.accuracy, networks.certified, strict=True):
    shares = ", ".join(f"{100 * share:.0f} % at {eps}" for share, eps in zip(certified, networks.epsilons, strict=True))
    reached.append(f"{kind.title}:\n    accuracy {100 * accuracy:.0f} %, certified {shares}")
picture = plots.picture(
    plots.plot_kind_accuracy(networks),
    plots.alt_text(networks),
    caption="The same network with hidden layers of seven kinds, after the same training.",
)
divided = networks.kinds.index(measure.layer_kind("SpectralDense(eps_bjorck=None)"))
course.predict("choice.deeper", truth=100 * networks.certified[divided, 0], reveal=["\n".join(reached), picture])

# %%
plots.picture(
    plots.plot_kind_costs(networks),
    "Bars of the cost of a training step: " + ", ".join(f"{title} {cost:.1f}" for title, cost in costs.items()) + ".",
    caption="What that costs during training: the CPU time of a step of one layer, as a multiple of the plain layer's.",
)

# %% [markdown]
# A certified share is never above the accuracy, and never grows with ε. Orthogonal layers must be ahead of the layer
# that only divides by the largest singular value, by far more than chance: with 360 test images, a share has a standard
# error of at most 2.6 %.

# %%
assert np.all(networks.certified <= networks.accuracy[:, None])
assert np.all(np.diff(networks.certified, axis=1) <= 0)
at_small = {kind.title: share for kind, share in zip(networks.kinds, networks.certified[:, 0], strict=True)}
for title in at_small.keys() & {"SpectralDense", "CayleyDense", "BRODense", "SLLDense"}:
    assert at_small[title] > at_small["SpectralDense(eps_bjorck=None)"] + 5 * 0.026

# %% [markdown]
# Read the figures again. The difference between the orthogonal kinds is small, a few images: here the cost decides.
# `SLLDense` is not orthogonal, but its residual connection lets much of a change pass. The networks of layers that only
# divide learn too slowly, although a single layer looked harmless. With *one* hidden layer, they are nearly as good as
# the others. You can see that in the explorer below: move *Layers* to 1.
#
# (If a network is nearly constant, its certified accuracy hardly depends on ε. A network that always says "3" is right
# for a tenth of the digits, under every change. Never look at certified accuracy without the accuracy.)

# %% [markdown]
# ## Try other kernels and convolutions
#
# The explorer shows the spectra, and on the right what networks of each kind reach on handwritten digits, and what a
# step costs. The networks come with lipviz. Which kinds still pass on changes after 16 layers? What if the smallest
# singular value of the raw kernel is 0.001? *Start* trains networks with your settings, which takes a minute or more.

# %%
explorer = LayerKindExplorer()
explorer

# %%
explorer.state = {"depth": 8, "smallest": 0.01}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.spectra.depth == 8

# %% [markdown]
# ### Exercise 3: find the orthogonal convolution

# %% [markdown] question="choice.padding"
# Find out with the explorer: choose the convolutions and the padding "valid" (none), with 2 layers. Which kind keeps
# all singular values at 1? And is that still so with the padding "same" (zeros)?
#
# Expected: one of "a" (AOCConv2D, and also with zeros), "b" (AOCConv2D, but not with zeros), "c" (SpectralConv2D, and
# also with zeros), "d" (SpectralConv2D(bound='tight'), but not with zeros).

# %%
from lipviz import course

answer = ...

course.check("choice.padding", answer)

# %% [markdown]
# Convolutions have the same problem, and a second one: the kernel is a small part of a large matrix. A kernel whose
# own matrix is orthogonal does not make an orthogonal convolution (lesson 04). `AOCConv2D` does. What is lost at the
# border depends on the **padding**, the numbers that are put around the image: none ("valid"), zeros ("same"), or the
# opposite side of the image ("circular"). `BROConv2D`, a block reflector at every frequency of the image, is always
# circular, and orthogonal too.

# %%
aoc = [measure.layer_kind("AOCConv2D")]
for padding in ("circular", "valid", "same"):
    (values,) = measure.kind_spectra(aoc, padding=padding).values
    print(f"{padding:9s} {len(values):3d} singular values from {values[-1]:.4f} to {values[0]:.4f}")
    assert values[0] <= 1 + 1e-12
    assert (values[-1] > 1 - 1e-4) == (padding != "same")
(reflector,) = measure.kind_spectra([measure.layer_kind("BROConv2D")], padding="circular").values
assert 1 - 1e-4 < reflector[-1] <= reflector[0] <= 1 + 1e-12

# %% [markdown]
# ## And networks of convolutions?
#
# Networks of convolutions take longer to train. lipviz comes with some: a layer that makes 8 channels of the image,
# two hidden convolutions of 3 × 3, and the same last layer. The padding is zeros, but for `BROConv2D`.

# %%
convolutions = toys.compare_kinds(measure.CONVOLUTION_KINDS, 2)
plots.picture(
    plots.plot_kind_accuracy(convolutions),
    plots.alt_text(convolutions),
    caption="Networks with two hidden convolutions of each kind. They come with lipviz, trained with one seed.",
)

# %% [markdown]
# ## Choose
#
# There is no best layer. Questions that decide:
#
# * **How deep?** One hidden layer: every kind works, so take a cheap one. Two: all but the Frobenius norm. Deeper:
#   orthogonal, or residual.
# * **Dense or convolutional?** The default is `SpectralDense`; `BRODense` costs less. For images, `AOCConv2D` keeps
#   gradients, and `SpectralConv2D` costs hardly more than a plain layer. `BROConv2D` costs most.
# * **What else must the network do?** A rotation cannot become a reflection: one `CayleyDense` cannot learn every
#   orthogonal matrix. `SLLDense` keeps the number of channels, so it cannot change the width.
# * **What does the training cost in total?** In a large network, products with the data cost more than the constraint.
#
# The page "Which layer when" of the documentation has the figures for all kinds.
#
# ### Exercise 4: build a choice

# %% [markdown] question="choice.cheapest"
# Build a choice: write a function `cheapest(smallest, cost, least)`. The array `smallest` holds the smallest singular
# value of each kind of layer, the array `cost` the cost of a step. The function returns the place of the cheapest kind
# whose smallest singular value is at least `least`, and -1 if there is none.
#
# Expected: a function that is called as `cheapest(smallest, cost, least)`.

# %%
import numpy as np

from lipviz import course


def cheapest(smallest, cost, least):
    return ...


course.check("choice.cheapest", cheapest)

# %% [markdown]
# ## What you have seen
#
# * A constant of 1 bounds the largest singular value. Orthogonal layers have no other values; layers that only divide
#   have many small ones.
# * Singular values multiply. In a deep network, small ones leave hardly any margin, and without a margin there is
#   nothing to certify.
# * A residual block passes on what the others would lose, without being orthogonal.
# * Layers that reach the same differ in cost, and the cost of a constraint ends with the training.

# %% [markdown]
# ## References
#
# * A. Trockman, J. Z. Kolter: *Orthogonalizing convolutional layers with the Cayley transform*, ICLR 2021.
# * B. Prach, C. Lampert: *Almost-orthogonal layers for efficient general-purpose Lipschitz networks*, ECCV 2022; the
#   cross-entropy with an offset is from there as well.
# * A. Araujo et al.: *A unified algebraic perspective on Lipschitz neural networks*, ICLR 2023: SLL.
# * B. Prach et al.: *1-Lipschitz layers compared: memory, speed, and certifiable robustness*, CVPR 2024.
# * T. Boissin et al.: *An adaptive orthogonal convolution scheme for efficient and flexible CNN architectures*, 2025.
# * B.-H. Lai et al.: *Enhancing certified robustness via block reflector orthogonal layers and logit annealing loss*,
#   2025: BRO.

# %% [markdown] tags=["way"]
# ← [12 Come from deel-lip](12_come_from_deel_lip.py) · [All lessons](index.py) · [14 Bring your own
# data](14_bring_your_own_data.py) →
