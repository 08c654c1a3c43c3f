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
#     needs: a little Keras; 03 helps
#     title: 'Keep the gradient: through fifty layers, and through a pooling'
# ---

# %% [markdown]
# # Keep the gradient: through fifty layers, and through a pooling
#
# **You will learn** what depth and pooling do to a gradient, how to build a network of fifty layers that keeps its
# length, and how to build a convolutional network that keeps it as well, from the ten logits back to the image.
#
# **You need** a little Keras. A network is **1-Lipschitz** if it never moves two outputs further apart than their
# inputs are. Lesson 03 explains why its activations sort.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** You know orthogonal matrices, sorts, and the norm of a convolution: this lesson stacks fifty
# layers.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F05_keep_the_gradient.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/05_keep_the_gradient.ipynb
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
# ← [04 Measure a convolution](04_measure_a_convolution.py) · [All lessons](index.py) · [06 Estimate a
# distance](06_estimate_a_distance.py) →

# %%
import keras
import numpy as np

import lipviz
from lipviz import certification, course, data, measure, plots
from lipviz.explorers import GradientDepthExplorer
from lipviz.layers import (
    GroupSort2,
    InvertibleDownSampling,
    ScaledAveragePooling2D,
    ScaledL2NormPooling2D,
    SpectralConv2D,
    SpectralDense,
)
from lipviz.losses import TauSparseCategoricalCrossentropy

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 2}}
DEPTH = 50
EPOCHS = 15

# %% [markdown]
# ## What is left of a gradient after fifty layers?
#
# The gradient of an output with respect to the input says how a small change of the input changes the output. It is
# computed backwards, from the last layer to the first. Each layer makes it longer or shorter, or keeps its length. A
# layer of a 1-Lipschitz network never makes it longer. But each of fifty layers may make it shorter.
#
# Take the best matrices for this purpose: orthogonal ones, whose singular values are all exactly 1. They rotate a
# gradient and keep its length.

# %% [markdown] question="depth.fifty"
# **Predict.** How long is the gradient after fifty such matrices, with a ReLU after each, as a share of its length
# before? You may write 1e-3 for 0.001.

# %%
depth = measure.gradient_depth(("relu", "groupsort2"))
rows = [
    f"{name:10s} after 1 layer {median[0]:.2f}, after {depth.depths[-1]} layers {median[-1]:.1e}"
    for name, median in zip(depth.activations, depth.median, strict=True)
]
relu_median, sort_median = depth.median
picture = plots.picture(
    plots.plot_gradient_depth(depth),
    plots.alt_text(depth),
    caption="The axis is logarithmic: a straight line downwards is a constant factor per layer.",
)
course.predict("depth.fifty", truth=relu_median[-1], reveal=["\n".join(rows), picture])

# %%
assert relu_median[-1] < 1e-6
assert np.allclose(sort_median, 1, rtol=0, atol=1e-9)

# %% [markdown]
# All matrices are orthogonal, in both networks. What differs is the activation alone.
#
# (The usual remedy is to multiply the matrices by $\sqrt2$. Then gradients keep their length *on average*, but the
# network may stretch by up to $\sqrt2^{50} \approx 3 \cdot 10^7$. Lesson 01 shows how little such a bound says.)

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="depth.vanish"
# Predict: in a network of orthogonal matrices, each followed by a ReLU, half of the neurons of every layer are off, and
# each layer passes on √½ of the length of a gradient. After how many layers is less than a thousandth of it left for
# the first time?
#
# Expected: a whole number.

# %%
from lipviz import course

answer = ...

course.check("depth.vanish", answer)

# %% [markdown]
# ## Is it the same in a real network?
#
# Now we use Keras layers, and scikit-learn's handwritten digits (8 × 8 pixels). `SpectralDense` keeps its matrix
# orthogonal during training too. Here we look at the gradient before any training. Both networks share the same fifty
# matrices, and differ only in their activations.

# %%
(x_train, y_train), (x_test, y_test) = data.digits()
pixels = x_test[:50].reshape(-1, 64)
shared = [SpectralDense(64, kernel_initializer="orthogonal") for _ in range(DEPTH)]
last = SpectralDense(10)
deep = []
for name, activation in (("ReLU", keras.layers.ReLU), ("GroupSort2", GroupSort2)):
    steps = [keras.Input((64,))]
    for layer in shared:
        steps += [layer, activation()]
    deep.append(lipviz.Sequential([*steps, last], name=name))

# %% [markdown]
# `gradient_flow` computes a gradient backwards through a network, one for each image, and records its length after
# every step. `vanilla_export` returns the same network of plain Keras layers, for which this is faster.

# %%
flows = [measure.gradient_flow(model.vanilla_export(), pixels) for model in deep]
for flow in flows:
    print(f"{flow.name}: after {DEPTH} layers {flow.median[0]:.2g} of the gradient arrives at the pixels")
assert flows[0].median[0] < 10 * 0.5 ** (DEPTH / 2)  # ReLU: √½ a layer; 10 is three deviations
assert abs(flows[1].norms - 1).max() < 0.05  # GroupSort2: within 5 % at every layer and for every image

# %%
plots.picture(
    plots.plot_gradient_flow(flows),
    f"Norm of a gradient on its way back through {DEPTH} layers, logarithmic. With GroupSort2 it stays at 1. With ReLU "
    f"it falls in even stairs from 1 at the output to {flows[0].median[0]:.2g} at the input.",
    caption="Read it from right to left, as the gradient is computed: a matrix keeps its length, a ReLU shortens it.",
)

# %% [markdown]
# ## What does a pooling do?
#
# Networks for images reduce the size of the image by a **pooling**: it replaces a window of 2 × 2 pixels by one pixel.
# There are five ways to do that:
#
# * the **average** of a window. It stretches by at most 1/2, so it halves every gradient;
# * the **scaled average**: the average times 2 (√4 for 4 pixels). Its Lipschitz constant is exactly 1;
# * the **l2 norm** of a window: the root of the sum of its squares;
# * the **maximum** of a window;
# * **invertible down-sampling**: the four pixels of a window become four channels of one pixel. No number changes.
#
# All are 1-Lipschitz. We ask two questions. How much of the length of a *gradient* does each pass back? How much of the
# *distance* between two images does each keep?

# %% [markdown] question="depth.poolings"
# **Predict.** Which of the five keep the *distances* of all pairs of images?

# %%
poolings = {
    "average": keras.layers.AveragePooling2D(2),
    "scaled average": ScaledAveragePooling2D(2),
    "l2 norm": ScaledL2NormPooling2D(2),
    "maximum": keras.layers.MaxPooling2D(2),
    "invertible": InvertibleDownSampling(2),
}
gradient, distance, rows = {}, {}, []
for name, layer in poolings.items():
    pooling = keras.Sequential([keras.Input((8, 8, 1)), layer])
    gradient[name] = measure.gradient_flow(pooling, x_test[:100]).norms[0]
    distance[name] = certification.secant_ratios(pooling, x_test).ratios
    kept = (
        f"gradient {np.median(gradient[name]):.2f}, distances {distance[name].min():.2f} to {distance[name].max():.2f}"
    )
    rows.append(f"{name:15s} {kept}, shape {pooling.output_shape[1:]}")
course.predict("depth.poolings", reveal="\n".join(rows))

# %%
assert all(np.allclose(gradient[name], 1) for name in ("scaled average", "maximum", "invertible"))
assert np.allclose(gradient["average"], 0.5)
assert np.allclose(distance["invertible"], 1)
assert all(distance[name].min() < 0.5 for name in poolings if name != "invertible")

# %% [markdown]
# Look at differences *within* a window. Add a pattern of lighter and darker pixels to an image. Which poolings notice
# it?

# %%
image = x_test[:1]
pattern = 0.1 * (-1.0) ** np.indices((8, 8)).sum(axis=0)[None, :, :, None]  # a checkerboard of ±0.1
for name, layer in poolings.items():
    moved = np.linalg.norm(layer(image + pattern) - layer(image))
    print(f"{name:15s} the pattern has the length {np.linalg.norm(pattern):.2f} before, {moved:.2f} after")
    assert moved < 1e-5 if "average" in name else moved > 0.1

# %% [markdown]
# (On these images the l2 norm loses a part of the gradient as well: its slope is 0 where a window is black.)

# %% [markdown]
# ### Exercise 2: predict

# %% [markdown] question="depth.lost"
# Predict: an average pooling with windows of 2 × 2 is a linear map from images of 8 × 8 pixels with one channel to
# smaller ones. How many independent directions, in which an image can change, does it not notice at all?
#
# Expected: a whole number.

# %%
from lipviz import course

answer = ...

course.check("depth.lost", answer)

# %% [markdown]
# ## How do I build a network that keeps everything?
#
# Use steps that keep both gradients and small distances, as long as possible: square orthogonal matrices, sorts, and
# invertible down-sampling. After the down-sampling, a convolution with a window of 1 × 1 applies one orthogonal matrix
# to every pixel. Both together are a convolution with a window of 2 × 2 and stride 2, whose windows do not overlap. So
# 8 × 8 × 1 numbers become 4 × 4 × 4, then 2 × 2 × 16, then 1 × 1 × 64. These are always 64 numbers. A dense layer may
# follow, and only the last layer reduces them to 10.
#
# We compare it with the usual kind of network: overlapping 3 × 3 convolutions, and average pooling. Both networks are
# 1-Lipschitz, and both sort.

# %%
keras.utils.set_random_seed(0)
usual = lipviz.Sequential(
    [
        keras.Input((8, 8, 1)),
        SpectralConv2D(16, 3),
        GroupSort2(),
        ScaledAveragePooling2D(2),
        SpectralConv2D(32, 3),
        GroupSort2(),
        ScaledAveragePooling2D(2),
        keras.layers.Flatten(),
        SpectralDense(10),
    ],
    name="usual",
)
keeping = lipviz.Sequential(
    [
        keras.Input((8, 8, 1)),
        InvertibleDownSampling(2),
        SpectralConv2D(4, 1),
        GroupSort2(),
        InvertibleDownSampling(2),
        SpectralConv2D(16, 1),
        GroupSort2(),
        InvertibleDownSampling(2),
        SpectralConv2D(64, 1),
        GroupSort2(),
        keras.layers.Flatten(),
        SpectralDense(64),
        GroupSort2(),
        SpectralDense(10),
    ],
    name="keeping",
)

# %%
from tqdm.keras import TqdmCallback

for model in (usual, keeping):
    right = keras.metrics.SparseCategoricalAccuracy("accuracy")
    model.compile(keras.optimizers.Adam(5e-3), loss=TauSparseCategoricalCrossentropy(20), metrics=[right])
    bar = TqdmCallback(verbose=0)
    model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[bar])

# %% [markdown]
# The **Jacobian** of a network is the matrix of all its derivatives, here 10 logits by 64 pixels. Its singular values
# say how much the whole network stretches small changes of an image. The largest one belongs to the change that moves
# the logits most.
#
# A network that keeps more of the gradient can also certify more. If the largest logit is larger than the second by a
# margin $m$, no change of the image smaller than $m/\sqrt2$ can alter the class. This number is the **certified
# radius** of the image. A network whose singular values are closer to 1 can have wider margins.

# %%
spectra, radius, accuracy = {}, {}, {}
for model in (usual, keeping):
    accuracy[model.name] = model.evaluate(x_test, y_test, verbose=0)[1]
    spectra[model.name] = measure.jacobian_singular_values(model, x_test[:100])
    radius[model.name] = lipviz.certified_radius(model, x_test, y_test).radii.mean()
    print(f"{model.name}: test accuracy {accuracy[model.name]:.3f}, ", end="")
    values = spectra[model.name].values
    print(f"singular values {values.min():.4f} to {values.max():.4f}, mean certified radius {radius[model.name]:.3f}")

# %%
assert abs(spectra["keeping"].values - 1).max() < 0.01  # all singular values of the whole network, trained
assert spectra["usual"].largest.max() < 0.7
assert radius["keeping"] > 1.3 * radius["usual"]
assert min(accuracy.values()) > 0.85

# %% [markdown]
# Where does the usual network lose the gradient? Follow it backwards:

# %%
flows = [measure.gradient_flow(model, x_test[:50]) for model in (usual, keeping)]
plots.picture(
    plots.plot_gradient_flow(flows),
    " ".join(map(plots.alt_text, flows)),
    caption="From right to left, as the gradient is computed: 'keeping' stays at 1, 'usual' falls twice.",
)

# %%
share = flows[0].median[:-1] / flows[0].median[1:]
for place, passed in zip(flows[0].places[1:], share, strict=True):
    print(f"{place:30s} passes on {passed:.2f} of a gradient")
    assert passed < 0.7 if "conv" in place else passed > 0.99

# %% [markdown]
# The poolings are not the cause: as we saw, the scaled average keeps the length of every gradient. The convolutions
# are. Their windows overlap, so that each pixel is used up to nine times. The layer must not stretch the worst image,
# so it makes the kernel smaller, and that shortens all other images too much (lesson 04). Without overlap there is no
# such worst case.
#
# The price is in the first column, the accuracy. Windows of 2 × 2 that never overlap see a smaller part of an image,
# and after enough training the usual network is more accurate. Lesson 07 is about this choice between accuracy and
# robustness. Convolutions that overlap *and* are orthogonal exist, but take more time (Li et al., below).
#
# ## Compare activations at every depth
#
# The explorer starts with the network that you have just trained. Then choose "random, orthogonal layers", and compare
# activations. Which ones keep the gradient at depth 50? Which lose it fastest? In the picture "motion", press Play: you
# see a gradient on its way back, layer by layer.

# %%
explorer = GradientDepthExplorer(keeping, x_test[:50])
explorer

# %%
course.say(explorer.statement(explorer.data))
assert explorer.error is None
explorer.state = {"network": "random", "first": "tanh", "second": "abs", "depth": 50}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert np.allclose(explorer.data.way.norms[1], 1)  # the absolute value keeps it as well

# %% [markdown]
# ### Exercise 3: change

# %% [markdown] question="depth.leaky"
# Change the cell below: put "leaky_relu" in place of "relu". It multiplies a negative input by 0.2 instead of by 0.
# Which share of a gradient does a layer pass on? (The cell prints the median after 50 layers, to the power of 1/50.)
# Guess first: does the leak solve the problem?
#
# Expected: a number, exact to ±0.01.

# %%
from lipviz.explorers import GradientDepthExplorer

explorer = GradientDepthExplorer()
explorer.state = {"network": "random", "first": "relu", "second": "groupsort2", "depth": 50}  # change "first" here
print(f"share that a layer passes on: {explorer.data.way.median[0, -1] ** (1 / 50):.3f}")

# %%
from lipviz import course

answer = ...

course.check("depth.leaky", answer)

# %% [markdown]
# ## One more exercise
#
# ### Exercise 4: build

# %% [markdown] question="depth.downsample"
# Build an invertible down-sampling: write a function `downsample(x, p)` that takes an image x of shape (height, width,
# channels), with p a divisor of height and of width, and returns one of shape (height/p, width/p, p·p·channels). Pixel
# (i, j) of the result holds all entries of the window of p × p pixels that begins at row i·p and column j·p, in any
# order that you like. Do not change x itself.
#
# Expected: a function that is called as `downsample(x, p)`.

# %%
import numpy as np

from lipviz import course


def downsample(x, p):
    return ...


course.check("depth.downsample", downsample)

# %% [markdown]
# ## What you have seen
#
# * With ReLU, a gradient loses a part at each layer, and after fifty layers nearly all. With a sort it loses nothing.
# * To keep gradients and to keep distances are two properties. Of the five poolings, one keeps both.
# * Convolutions that overlap are made smaller for the sake of the worst image, and lose gradients of the others.
# * A network of square orthogonal steps keeps every gradient, and certifies larger radii. It costs some accuracy.
#
# ## Where to go next
#
# * Lesson 04 is about convolutions and their bounds, lesson 08 about certificates.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019: gradient norm preservation.
# * Q. Li, S. Haque, C. Anil, J. Lucas, R. Grosse, J.-H. Jacobsen: *Preventing gradient attenuation in Lipschitz
#   constrained convolutional networks*, NeurIPS 2019: networks such as 'keeping', with orthogonal convolutions.
# * K. He, X. Zhang, S. Ren, J. Sun: *Delving deep into rectifiers*, ICCV 2015: the factor √2.
# * Y.-L. Boureau, J. Ponce, Y. LeCun: *A theoretical analysis of feature pooling in visual recognition*, ICML 2010.

# %% [markdown] tags=["way"]
# ← [04 Measure a convolution](04_measure_a_convolution.py) · [All lessons](index.py) · [06 Estimate a
# distance](06_estimate_a_distance.py) →
