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
#     needs: 00, or experience with deel-lip
#     title: 'Come from deel-lip: change one import, and check what was promised'
# ---

# %% [markdown]
# # Come from deel-lip: change one import, and check what was promised
#
# **You will learn** how to move a program from deel-lip to lipviz by changing its imports, where the layers of deel-lip
# are not 1-Lipschitz although they promise it, what that does to a certificate, and how to reuse trained weights and
# check their constant.
#
# **You need** some experience with deel-lip, or lesson 00: Lipschitz constants, singular values, certified radii. The
# text recalls each of them where it is used.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** You know what lipviz promises; this lesson holds the promises of an older library against it.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F12_come_from_deel_lip.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/12_come_from_deel_lip.ipynb
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
# ← [11 Train for real](11_train_for_real.py) · [All lessons](index.py) · [13 Choose a layer](13_choose_a_layer.py) →

# %%
import inspect
import tempfile
from pathlib import Path

import keras
import numpy as np
from tqdm.keras import TqdmCallback

import lipviz
from lipviz import certification, course, data, measure, metrics, operators, plots
from lipviz import normalizers as nm
from lipviz.activations import GroupSort2, Householder, PReLUlip
from lipviz.explorers import ConvolutionExplorer
from lipviz.layers import FrobeniusDense, SpectralConv2D, SpectralConv2DTranspose, SpectralDense
from lipviz.losses import TauCategoricalCrossentropy
from lipviz.metrics import CategoricalProvableRobustAccuracy

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 8}}
EPOCHS = 20

# %% [markdown]
# ## What do I have to change?
#
# You change the imports. deel-lip (the Keras 3 branch, 2.0.0) is the library that made these layers known, and lipviz
# uses the same names:
#
# | there (`deel.lip`) | here (`lipviz`) | what is the same |
# |---|---|---|
# | `layers`, `activations` | the same | names, arguments, their order and defaults; new ones come last |
# | `losses`, `callbacks` | the same | names, arguments, formulas; `alpha` and the like can be scheduled |
# | `metrics` | the same | names, arguments; they go into `compile(metrics=...)` |
# | `model` | `model`, `lipviz.Sequential` | how `k_coef_lip` is divided among layers; `condense`, `vanilla_export` |
# | `initializers`, `normalizers`, `utils`, … | the same | names, arguments, defaults |
#
# The next cell lists the arguments that `SpectralDense` has and `Dense` does not. Compare them with those that you
# know:

# %%
plain_arguments = inspect.signature(keras.layers.Dense).parameters
own_arguments = {
    name: parameter.default
    for name, parameter in inspect.signature(SpectralDense).parameters.items()
    if name not in plain_arguments
}
course.say(str(own_arguments))
assert own_arguments == {
    "k_coef_lip": 1.0,
    "eps_spectral": 1e-3,
    "eps_bjorck": 1e-3,
    "beta_bjorck": 0.5,
    "maxiter_spectral": 10,
    "maxiter_bjorck": 15,
}

# %% [markdown]
# Here is a typical program, on scikit-learn's digits. Only its imports say which library the layers come from.

# %%
(x_train, y_train), (x_test, y_test) = data.digits()
x_train, x_test = x_train.reshape(-1, 64), x_test.reshape(-1, 64)
one_hot_train, one_hot_test = np.eye(10)[y_train], np.eye(10)[y_test]

model = lipviz.Sequential(
    [
        keras.Input((64,)),
        SpectralDense(64),
        GroupSort2(),
        SpectralDense(64),
        GroupSort2(),
        SpectralDense(10),
    ],
    k_coef_lip=1.0,
)
model.compile(
    keras.optimizers.Adam(1e-2),
    loss=TauCategoricalCrossentropy(tau=20.0),
    metrics=["accuracy", CategoricalProvableRobustAccuracy(epsilon=0.25, disjoint_neurons=False, name="certified")],
)
model.fit(x_train, one_hot_train, batch_size=128, epochs=EPOCHS, verbose=0, callbacks=[TqdmCallback(verbose=0)])
_, accuracy, certified = model.evaluate(x_test, one_hot_test, verbose=0)
print(f"test accuracy {accuracy:.3f}, certified against every change up to 0.25: {certified:.3f}")
assert accuracy > 0.85

# %% [markdown]
# ## Why should I change the library?
#
# "Certified" in the line above is a promise about changes that nobody has tried. It relies on the **Lipschitz
# constant**, the largest factor by which a network stretches a distance. The **certified radius** of an image is its
# **margin**, the lead of the largest score, divided by a multiple of that constant. If the constant is wrong, there is
# no error and no warning. There is only a number that is not true.
#
# In the rest of this lesson, each cell shows one fault of deel-lip, which we call the reference. The cell computes two
# values and puts them into a table: **there** (the formula of the reference, written out, because deel-lip is not
# installed here) and **here** (lipviz).

# %%
table = []  # rows: what, what it should be, there, here

# %% [markdown]
# ## Is a kernel divided by its norm?
#
# It is divided by an estimate. Ten steps of a power iteration estimate the norm of a kernel, its largest singular
# value, from *below*. A kernel that is divided by too small a number is too large. `nm.spectral_normalization` is
# exactly that formula. The layer of lipviz divides by a bound from *above*. (Lesson 02 shows how.)

# %%
there = []
for seed in range(10):
    rng = np.random.default_rng(seed)
    kernel, start = rng.standard_normal((64, 64)).astype("float32"), rng.standard_normal((1, 64)).astype("float32")
    normalized, _, _ = nm.spectral_normalization(kernel, start)
    there.append(measure.singular_values(np.asarray(normalized)).largest)
layer = SpectralDense(64, kernel_initializer=lambda shape, dtype: kernel, eps_bjorck=None)
layer.build((None, 64))
here = measure.singular_values(layer).largest
table.append(("power iteration, largest σ", 1.0, max(there), here))
print(f"there: {min(there):.4f} to {max(there):.4f}    here: {here:.6f}")
assert min(there) > 1 >= here

# %% [markdown]
# The error is larger when a kernel changes *suddenly*, by a large step or a loaded file, while the iteration still
# starts from the old direction. Next comes Björck's iteration, which makes the kernel orthogonal (lesson 02). It needs
# singular values below √5 to stay finite. Here it gets 10, and its result is NaN:

# %%
jumped = np.diag([10.0] + [1.0] * 7).astype("float32")
looks_elsewhere = np.eye(8, dtype="float32")[[1]]
there, _, _ = nm.reshaped_kernel_orthogonalization(jumped, looks_elsewhere, 1.0)
layer = SpectralDense(8, kernel_initializer=lambda shape, dtype: jumped)
layer.build((None, 8))
layer.u.assign(looks_elsewhere)
layer.refresh()
here = measure.singular_values(layer).largest
table.append(("kernel that jumps, largest σ", 1.0, np.asarray(there)[0, 0], here))
print(f"there: {np.asarray(there)[0, 0]}    here: {here:.6f}")
assert np.isnan(np.asarray(there)).any()
assert 0.99 < here <= 1

# %% [markdown]
# ## What is the norm of a convolution?
#
# A 3 × 3 kernel reads each pixel of an image up to nine times, so an orthogonal kernel stretches by up to √9 = 3, and
# must be divided by that. At the border a pixel is read less often. The reference uses the *average* over all pixels.
# But in the middle of the image every pixel is read nine times, and a change may lie in the middle.
#
# The bars show the norm of the convolution after its kernel is divided by the claim of each of four methods. It should
# be at most 1.

# %%
explorer = ConvolutionExplorer()
explorer

# %% [markdown]
# Code can move the sliders, too. The case of 1 → 16 channels is a common one: the first layer of a network for 28 × 28
# grey images.

# %%
for image in (4, 8, 28):
    explorer.state = {"kernel": "random", "size": 3, "channels": 1, "filters": 16, "image": image}
    assert explorer.error is None
    after = dict(zip(explorer.data.methods, explorer.data.after, strict=True))
    there, here = after["reference's average"], after["lipviz's Fourier bound"]
    table.append((f"convolution 1 → 16 on {image} × {image}, norm", 1.0, there, here))
    course.say(explorer.statement(explorer.data))
    assert there > 1.02
    assert here <= 1 + 1e-9

# %% [markdown]
# On 28 × 28 pixels the norm is 1.0244 for *every* such layer whose kernel is orthogonal, before and after training:
# with 16 outputs for 9 weights, each patch keeps its length. In a network of many layers such factors multiply.
#
# In lipviz a convolution has one more argument. `bound="coverage"` (the default) uses the count of the pixel that is
# read most often. `bound="tight"` bounds the norm itself by a Fourier transform. `bound="unsound_average"` is the
# factor of the reference, for comparisons like this one. A model with such a layer warns.

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="migration.average"
# Predict: a 3 × 3 convolution (stride 1, zero padding) on images of 5 × 5 pixels has so many output channels that it
# keeps the length of every patch. It is divided by the square root of the average number of patches that read a pixel,
# as in the reference. What is its norm after that?
#
# The patches lie around each pixel, and those at the border stick out. In one row of 5 pixels, how many patches read
# each pixel?
#
# Expected: a number, exact to ±0.002.

# %%
from lipviz import course

answer = ...

course.check("migration.average", answer)

# %% [markdown]
# ### Exercise 2: change
#
# Move the sliders of the explorer above, or its `state` by code.

# %% [markdown] question="migration.harmless"
# "On larger images the border hardly counts, so the average will do." Take the kernel "random" in the explorer, 3 × 3,
# from 1 to 16 channels, its matrix orthogonal, stride 1, padding same. Change the image size. What is the smallest size
# at which the norm after division by the reference's average is below 1.03?
#
# Expected: a whole number.

# %%
from lipviz import course

answer = ...

course.check("migration.harmless", answer)

# %% [markdown]
# ## And of a transposed convolution with strides?
#
# Take a stride of 2, a kernel of 2 × 2, one input channel and four output channels. The patches do not overlap. Each
# pixel becomes 16 numbers, its value times all 16 weights. The reference orthogonalizes these weights as a 4 × 4
# matrix.

# %% [markdown] question="migration.entries"
# **Predict.** What is the Euclidean length of the vector of all 16 entries of an orthogonal 4 × 4 matrix?

# %%
orthogonal = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
up_there = keras.layers.Conv2DTranspose(4, 2, strides=2, use_bias=False)
up_here = SpectralConv2DTranspose(4, 2, strides=2, use_bias=False)
for layer in (up_there, up_here):
    layer.build((None, 8, 8, 1))
up_there.kernel.assign(orthogonal.reshape(up_there.kernel.shape))
there, here = (measure.largest_singular_value(operators.linear_operator(layer)) for layer in (up_there, up_here))
table.append(("transposed convolution, stride 2, norm", 1.0, there, here))
course.predict("migration.entries", reveal=f"norm there: {there:.4f}    here: {here:.6f}")

# %%
assert abs(there - 2) < 1e-6
assert here <= 1

# %% [markdown]
# The norm is twice the promised one, for *any* such kernel, before and after training. lipviz reshapes the kernel in
# another way: the 16 weights that multiply one pixel form one column.
#
# ## Which weights predict?
#
# A Lipschitz layer has two kernels: a raw one that the optimizer moves, and the constrained one, `wbar`. In the
# reference, on today's Keras with TensorFlow, the two share their memory. A training step writes the constrained
# kernel, then the optimizer changes it, and `predict` uses the result. Let us imitate that with our model, as in
# fine-tuning: condense it (write `wbar` into the raw kernels), compile it again, make *one* step of Adam, and look at
# both kernels. (`run_eagerly` only saves the time to compile the step.)

# %%
model.condense()
model.compile(keras.optimizers.Adam(1e-2), loss=TauCategoricalCrossentropy(tau=20.0), run_eagerly=True)
model.train_on_batch(x_train[:128], one_hot_train[:128])
lipviz.model.refresh(model)
raw = [layer.raw.max() for layer in measure.singular_values(model)]
used = [layer.largest for layer in measure.singular_values(model)]
table.append(("three layers after one step of Adam, product of σ", 1.0, np.prod(raw), np.prod(used)))
print("there, what predicts:", np.round(raw, 3), f"   product {np.prod(raw):.3f}")
print("here,  what predicts:", np.round(used, 6), f"   product {np.prod(used):.6f}")
assert np.prod(raw) > 1.05
assert np.prod(used) <= 1

# %% [markdown]
# One step is enough. The error depends on the length of the last step. It is largest at the first steps of Adam, and
# almost 0 after a long training that has converged. But nothing tells you which case you have. In lipviz a prediction
# compares the raw kernel with the one from which `wbar` was computed, and constrains it again if they differ. `fit` of
# a `lipviz.Sequential` stores the new `wbar` at its end. After a training loop of your own, or with a plain
# `keras.Model`, call `lipviz.model.refresh(model)` to store it, so that later predictions do not compute it again.
#
# There is one more difference. The layers of the reference are in training mode by default, also in a call `model(x)`.
# In lipviz such a call is inference, as everywhere in Keras, and changes nothing. In a training loop of your own, write
# `model(x, training=True)`.
#
# ## Does it matter? A false certificate
#
# A few percent look harmless. Let us build a network for which they matter: one convolution with the factor of the
# reference and equal weights, and a dense layer with a single output $f(x)$, whose sign is the class. The reference
# says that both layers are 1-Lipschitz.

# %%
convolution = SpectralConv2D(16, 3, bound="unsound_average", use_bias=False)
head = FrobeniusDense(1)
victim = keras.Sequential([keras.Input((28, 28, 1)), convolution, keras.layers.Flatten(), head])
convolution.kernel.assign(np.ones((3, 3, 1, 16)))
convolution.refresh()

# %% [markdown]
# We compute the image that the convolution stretches most. The weights of the last layer get the direction of the
# convolution's output for this image, so that this image changes the score most. The bias sets the score of the black
# image to 1.0141. A 1-Lipschitz network with that score keeps its class under *every* change shorter than 1.0141, and
# so under every change of length 1.

# %%
operator = operators.linear_operator(convolution)
direction = np.ones(operator.shape[1])
for _ in range(300):
    direction = operator.T @ (operator @ direction)
    direction /= np.linalg.norm(direction)
head.kernel.assign((operator @ direction)[:, None])
head.refresh()
head.bias.assign([1.0141])

black = np.zeros((1, 28, 28, 1))
change = -direction.reshape(1, 28, 28, 1)
score = float(victim(black, training=False)[0, 0])
print(f"score of the black image: {score:.4f}; length of the change: {np.linalg.norm(change):.4f}")
assert score > 1

# %% [markdown] question="migration.sign"
# **Predict.** How long must the change be to alter the sign? The reference says: at least 1.0141.

# %%
sizes = np.linspace(0, 1.1, 111)
exact = operators.float64_copy(victim)  # the same network, without the rounding of float32
scores = np.asarray(exact(black + sizes[:, None, None, None] * change, training=False))[:, 0]
turns = np.interp(0, -scores, sizes)
radius = certification.certified_radius(victim, black).radii[0]
table.append(("certified radius of f = 1.0141", turns, 1.0141, radius))
turned = float(exact(black + 0.9999 * change, training=False)[0, 0])
rows = [
    f"the sign turns at {turns:.4f}",
    f"lipviz, which measures the constant of the weights: certain up to {radius:.4f}",
    f"score after a change of length 0.9999: {turned:.6f}",
]
# %% jupyter={"source_hidden": true} tags=["hide-input"]
figure = plots.new_figure()
ax = plots.style.prepared(
    figure.axes[0],
    title="A certificate, and a change that breaks it",
    xlabel="length of the change (l2 norm, pixel values 0 to 1)",
    ylabel="score f (no unit)",
)
ends = np.array([0.9, score, 1.1])
ax.plot(sizes, scores, **plots.style.role("constrained", marker="", label="score"))
ax.plot(ends, score - ends, **plots.style.role("attack", label="promised there"))
ax.plot([radius], [0], **plots.style.role("certified", linestyle="", label="certain here"))
ax.axhline(0, color="0.6", linewidth=1, zorder=1)
ax.set(xlim=(0.95, 1.05), ylim=(-0.06, 0.08))
plots.style.legend(ax)
picture = plots.picture(
    figure,
    f"Score against the length of the change, near 1. The score crosses zero at {turns:.4f}, up to where lipviz "
    "certifies. The least score that a 1-Lipschitz network could have crosses it at 1.0141, up to where the reference "
    "certifies.",
    caption="Dashed: the least score of a 1-Lipschitz network. Between the two marks its certificate is false.",
)

# %%
course.predict("migration.sign", truth=turns, reveal=["\n".join(rows), picture])

# %%
assert turned < 0
assert radius <= turns < 1

# %% [markdown]
# **Surprise**: the network changes its decision within its certified radius. A constant that is 1.4 % above 1 is
# enough. Nobody can see that from the certificate: it looks the same, whether its constant is true or not.
#
# `lipviz.certified_radius` does not use the constant that a layer promises. It bounds the constant of the *actual*
# weights, so that even this network gets a true radius. `lipviz.certify` bounds the constant of the network:

# %%
certificate = lipviz.certify(victim)
print(f"Lipschitz constant of the network: between {certificate.lower_bound:.4f} and {certificate.upper_bound:.4f}")
assert certificate.lower_bound > 1.01

# %% [markdown]
# ## Which number divides a margin?
#
# `FrobeniusDense(disjoint_neurons=True)` makes every *output* 1-Lipschitz. Then two outputs may move in opposite
# directions, each by the whole length of the change. So their difference is 2-Lipschitz, and the radius is margin / 2.
# The other formula of the reference, margin / √2, is for outputs that are 1-Lipschitz *together*. For disjoint neurons
# it claims too much.

# %%
opposite = keras.Sequential([keras.Input((2,)), FrobeniusDense(2, use_bias=False)])
opposite.layers[0].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
opposite.layers[0].refresh()
point = np.array([[0.5, 0.0]])
scores = np.asarray(opposite(point, training=False))
margin = scores[0, 0] - scores[0, 1]
here = certification.certified_radius(opposite, point).radii[0]
table.append(("radius of a margin of 1, disjoint neurons", 0.5, margin / np.sqrt(2), here))
print(f"margin {margin:.4f}: claimed {margin / np.sqrt(2):.4f}, true {here:.4f}")
moved = np.asarray(opposite(point - [[0.51, 0.0]], training=False))
assert moved.argmax() != scores.argmax()  # a change of 0.51 is enough
assert abs(here - 0.5) < 1e-5

# %% [markdown]
# ### Exercise 3: predict

# %% [markdown] question="migration.disjoint"
# A network ends with `FrobeniusDense(10, disjoint_neurons=True)`, so that each of its ten outputs is 1-Lipschitz by
# itself; nothing more is known of them. For an image the largest output leads the runner-up by a margin of 1.2. What is
# the largest radius (l2 norm) within which the class is certain?
#
# Expected: a number, exact to ±0.002.

# %%
from lipviz import course

answer = ...

course.check("migration.disjoint", answer)

# %% [markdown]
# ## Four small faults
#
# The reference has four more faults. `Householder` ignores `k_coef_lip`. `PReLUlip(k_coef_lip=0.5)` still has slope 1
# for positive numbers. A column of zeros is divided by its norm. A robustness *metric* is a loss, whose mean over
# batches gives a small last batch the same weight as a full one.

# %%
x = np.abs(np.random.default_rng(0).standard_normal((200, 8)))
k_is_ignored = {"Householder": Householder(), "PReLUlip": keras.layers.PReLU()}
k_is_kept = {"Householder": Householder(k_coef_lip=0.5), "PReLUlip": PReLUlip(k_coef_lip=0.5)}
for name in k_is_kept:
    there, here = (
        (np.linalg.norm(layers[name](x), axis=1) / np.linalg.norm(x, axis=1)).max()
        for layers in (k_is_ignored, k_is_kept)
    )
    table.append((f"{name}(k_coef_lip=0.5), largest gain", 0.5, there, here))
    assert here <= 0.5 + 1e-6 < there

column = np.zeros((3, 1))
with np.errstate(invalid="ignore"):
    there = (column / np.linalg.norm(column, axis=0))[0, 0]
layer = FrobeniusDense(1, kernel_initializer="zeros")
layer.build((None, 3))
table.append(("a column of zeros over its norm", 0.0, there, np.asarray(layer.wbar)[0, 0]))
assert np.isnan(there)

right_and_wrong = np.array([[1.0, 0.0]] * 32 + [[0.0, 1.0]] * 4)  # 32 right with a margin of 1, then 4 wrong
labels = np.array([[1.0, 0.0]] * 36)
certified = np.asarray(metrics.categorical_provable_robust_accuracy(labels, right_and_wrong))
there = np.mean([certified[:32].mean(), certified[32:].mean()])
metric = CategoricalProvableRobustAccuracy()
for part in (slice(0, 32), slice(32, 36)):
    metric.update_state(labels[part], right_and_wrong[part])
table.append(("certified accuracy of 32 + 4 samples", 32 / 36, there, float(metric.result())))
assert abs(float(metric.result()) - 32 / 36) < 1e-6

# %% [markdown]
# ## What does neither library promise?
#
# One thing is not a fault, but a common misunderstanding. In both libraries, `eps_bjorck` bounds the length of the
# *last step*, and not the distance to an orthogonal matrix. A singular value of 0.001 grows by half at a step. This
# step is shorter than `eps_bjorck`, so the iteration stops. All singular values are at most 1, as promised. They are
# not all equal to 1.

# %%
stopped = measure.bjorck_convergence(np.diag([1.0, 0.001]))
print(f"after {stopped.iterations} iterations: {np.round(stopped.constrained, 5)}")
assert stopped.constrained.max() <= 1
assert stopped.constrained.min() < 0.01

# %% [markdown]
# ## All results in one table

# %%
print(f"{'':52s}{'should be':>11s}{'there':>9s}{'here':>9s}")
for what, should_be, there, here in table:
    print(f"{what:52s}{should_be:11.4f}{there:9.4f}{here:9.4f}")
assert all(not abs(there - should_be) < 0.01 for _, should_be, there, _ in table)  # NaN is near nothing
assert all(-1e-2 < here - should_be < 1e-5 for _, should_be, _, here in table)

# %% [markdown]
# ## What will stop my program?
#
# The reference accepts some arguments without a warning although it cannot bound the result. lipviz refuses them at
# once, and says what it expects. These are the messages that you are most likely to see:

# %%
attempts = {
    "a dilated convolution": lambda: SpectralConv2D(8, 3, dilation_rate=2),
    "β above 0.5": lambda: SpectralDense(8, beta_bjorck=0.6),
    "a metric without its mean": lambda: CategoricalProvableRobustAccuracy(reduction=None),
    "LoRA behind the constraint": lambda: SpectralDense(8, lora_rank=2),
}
for what, attempt in attempts.items():
    try:
        attempt()
        raise AssertionError(f"{what} was accepted")
    except ValueError as error:
        course.say(f"• {what}: {error}")

# %% [markdown]
# ## How do I reuse my weights?
#
# A file of the reference can only be loaded with the classes of the reference. So copy the *trainable* weights, in
# their order. Their shapes are the same, and everything else follows from them. With the reference, save them by
# `np.savez("mine.npz", *[w.numpy() for w in model.trainable_weights])`. With lipviz, build the same network and assign
# them:

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mine.npz"
    np.savez(path, *[np.asarray(weight) for weight in model.trainable_weights])
    saved = np.load(path)
    carried = keras.models.clone_model(model)
    for weight, name in zip(carried.trainable_weights, saved.files, strict=True):
        weight.assign(saved[name])
    saved.close()
lipviz.model.refresh(carried)
difference = np.abs(carried(x_test, training=False) - model(x_test, training=False)).max()
constant = lipviz.certify(carried, search=False).upper_bound
print(f"largest difference of the predictions: {difference:.1e}")
print(f"certified Lipschitz constant: {constant:.6f}")
assert difference < 1e-4
assert constant <= 1 + 1e-6

# %% [markdown]
# The kernels of convolutions become a little smaller than in the reference, because its factor is too large. So the
# scores change a little as well. Fine-tune for an epoch, or use `bound="tight"`.
#
# Perhaps you only have an export of the reference, a plain Keras network. Then compute what its constant is. Here is
# the network from above with the weights that the reference would have exported:

# %%
exported = model.vanilla_export()
for plain, layer in zip(exported.layers, model.layers, strict=True):
    if plain.weights:
        plain.kernel.assign(layer.kernel)
certificate = lipviz.certify(exported)
print(f"said to be 1, is between {certificate.lower_bound:.4f} and {certificate.upper_bound:.4f}")
radii = certification.certified_radius(exported, x_test, y_test)
print(f"truly certified against every change up to 0.25: {(radii.radii > 0.25).mean():.3f} of the test images")
assert certificate.upper_bound > 1.05

# %% [markdown]
# The radii of lipviz are true for this network too, because the margins are divided by its actual constant.

# %% [markdown]
# ## Count the patches
#
# ### Exercise 4: build

# %% [markdown] question="migration.coverage"
# Write a function `coverage(n, k, s)` that returns, for a row of n pixels, how many patches read each of them: an array
# of n whole numbers. The kernel has k taps and the stride is s. Padding is Keras's same: there are ⌈n / s⌉ patches;
# max((patches - 1) · s + k - n, 0) zeros are added in all, half of them (rounded down) before the row, the others after
# it.
#
# For both axes, lipviz multiplies an orthogonal kernel by one over the root of the largest count.
#
# Expected: a function that is called as `coverage(n, k, s)`.

# %%
import numpy as np

from lipviz import course


def coverage(n, k, s):
    return ...


course.check("migration.coverage", coverage)

# %% [markdown]
# ## What you have seen
#
# * Programs move by a change of imports. Names, arguments and defaults are the same.
# * The reference divides by estimates and averages: its layers may stretch by more than they promise. lipviz divides by
#   bounds.
# * An excess of 1.4 % is enough for a false certificate, and nothing in the certificate shows it.
# * `certify` and `certified_radius` compute the constant of the weights as they are, also of a network from elsewhere.

# %% [markdown]
# ## Where to go next
#
# * Lesson 02 shows how a kernel is divided by a bound from above, lesson 04 where a convolution's norm comes from, and
#   lesson 08 how `certify` proves a constant for a whole network.
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the layers and the losses of deel-lip; the averaged factor is in its appendix.
# * H. Sedghi, V. Gupta, P. M. Long: *The singular values of convolutional layers*, ICLR 2019: the Fourier view, exact
#   for circular padding.
# * B. Delattre et al.: *Efficient bound of Lipschitz constant for convolutional layers by Gram iteration*, ICML 2023:
#   bounds from above.

# %% [markdown] tags=["way"]
# ← [11 Train for real](11_train_for_real.py) · [All lessons](index.py) · [13 Choose a layer](13_choose_a_layer.py) →
