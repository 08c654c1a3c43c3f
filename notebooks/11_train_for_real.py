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
#     needs: 00; 06 and 07 help
#     title: 'Train for real: monitor, schedules, half precision, several devices'
# ---

# %% [markdown]
# # Train for real: monitor, schedules, half precision, several devices
#
# **You will learn** how to watch a training while it runs, how to change the weight of a loss during the training, and
# what happens to a Lipschitz network and its certificates with small batches, large learning rates, half precision and
# several devices.
#
# **You need** lesson 00, and an idea of the loss HKR, which is recalled below (lessons 06 and 07 are about it). No GPU.
#
# **It takes** about a minute of computing on two CPU cores, and an hour of your time.
#
# **Where you are.** The trainings so far were short and ran by themselves; this lesson prepares you for those that take
# hours.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F11_train_for_real.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/11_train_for_real.ipynb
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
# ← [10 Export and serve](10_export_and_serve.py) · [All lessons](index.py) · [12 Come from
# deel-lip](12_come_from_deel_lip.py) →

# %%
import keras
import numpy as np

import lipviz
from lipviz import certification, course, data, losses, measure, operators, plots
from lipviz.callbacks import LossParamScheduler
from lipviz.explorers import TradeoffExplorer
from lipviz.layers import GroupSort2, SpectralDense
from lipviz.monitor import TrainingMonitor
from lipviz.utils import process_labels_for_multi_gpu

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 6, "IMAGES": 4000}}
EPOCHS = 20
IMAGES = 40_000

# %% [markdown]
# ## Where will it run?
#
# Keras uses a GPU if it finds one, and you change nothing. In a terminal, `lipviz doctor` prints whether there is one,
# the backend, the versions, and which data sets are available. In Python:

# %%
gpus = keras.distribution.list_devices("gpu")
print("GPUs:", ", ".join(gpus) if gpus else "none; this lesson does not need one")

# %% [markdown]
# ## Two classes that are hard to tell apart
#
# The data are pullovers and coats of Fashion-MNIST, with 28 × 28 pixels. (If these images are not available, we use the
# digits of scikit-learn instead, even ones against odd ones. They are smaller and easier, and all that is said below
# holds for them as well.)

# %%
here = {found.name: found for found in data.availability()}["fashion_mnist"]
if here.available:
    (x_train, y_train), (x_test, y_test) = data.fashion_mnist(n_train=IMAGES, n_test=5000)
    used, positive, margin = (2, 4), (4,), 1.0
else:
    print(here.hint)
    (x_train, y_train), (x_test, y_test) = data.digits()
    used, positive, margin = range(10), (1, 3, 5, 7, 9), 0.5

keep_train, keep_test = np.isin(y_train, used), np.isin(y_test, used)
x_train, x_test = (x[keep].reshape(keep.sum(), -1) for x, keep in ((x_train, keep_train), (x_test, keep_test)))
y_train, y_test = (
    np.isin(y[keep], positive).astype("float32")[:, None] for y, keep in ((y_train, keep_train), (y_test, keep_test))
)
print(f"{len(x_train)} images to train on, {len(x_test)} to test, {x_train.shape[1]} pixels")

# %% [markdown]
# ## Which loss, and when?
#
# The network has one output, the **score**, whose sign decides. The loss **HKR** has two terms. **KR** is the mean
# score of one class minus that of the other. A large KR means that the scores of the classes are far apart, on
# whichever side of zero they are. The **hinge** is a penalty for scores on the wrong side of zero, or too close to it.
# $\alpha$ is its weight: $-\mathrm{KR} + \alpha \cdot \mathrm{hinge}$.
#
# $\alpha$ is a variable, so a callback can change it during the training. In the first third we use KR alone, which
# moves the scores of the classes apart. Then the weight of the hinge grows, which moves the scores to the correct side
# of zero. `LossParamScheduler` interpolates linearly between points, whose positions are counted in training steps.

# %%
BATCH = 128
steps = EPOCHS * -(-len(x_train) // BATCH)
schedule = LossParamScheduler("alpha", fp=(0.0, 0.0, 50.0), xp=(0, steps // 3, steps))


def network(dtype="float32"):
    model = lipviz.Sequential(
        [
            keras.Input((x_train.shape[1],), dtype="float32"),
            SpectralDense(64, dtype=dtype, name="first"),
            GroupSort2(dtype=dtype),
            SpectralDense(64, dtype=dtype, name="second"),
            GroupSort2(dtype=dtype),
            SpectralDense(1, dtype=dtype, name="last"),
        ]
    )
    accuracy = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
    model.compile(keras.optimizers.Adam(1e-3), losses.HKR(alpha=50.0, min_margin=margin), metrics=[accuracy])
    return model


# %% [markdown]
# ## How does the training proceed?
#
# `TrainingMonitor` is a callback, too. It takes some samples, and draws while `fit` runs: the loss, the metrics, both
# terms of the loss, the norms of the gradients, and the singular values of the kernels that the network uses. In a
# terminal it prints a table instead. With `folder="run"` it writes files.
#
# While it runs, look at the accuracy: in the first third, the loss does not depend on which side of zero a score is.

# %%
model = network()
monitor = TrainingMonitor(x_test[:256], y_test[:256], every=5.0)
model.fit(
    x_train,
    y_train,
    batch_size=BATCH,
    epochs=EPOCHS,
    validation_data=(x_test, y_test),
    verbose=0,
    callbacks=[monitor, schedule],
)
log = monitor.log

# %% [markdown]
# You can use the log of the monitor for figures of your own. First look at the two terms: KR grows while $\alpha$ is 0,
# and decreases once the hinge has weight. Then look at the accuracy, which is dashed for the test images. In the last
# two panels, no gradient norm and no singular value is above 1.
#
# The loss itself *grows*, although the training succeeds: with another $\alpha$ it is another loss. So with a schedule,
# do not use the loss to stop early or to compare epochs. Watch its terms and the accuracy.

# %%
plots.picture(
    plots.plot_training_log(log),
    plots.alt_text(log),
    caption="KR grows first. With the weight of the hinge, the accuracy grows and KR decreases. Gradients stay at 1.",
)

# %%
first = max(EPOCHS // 3 - 1, 0)
correct = log.metrics["val_accuracy"]
print(f"at the end of the first third: KR {log.kr[first]:.3f}, accuracy {correct[first]:.3f}")
print(f"at the end:                    KR {log.kr[-1]:.3f}, accuracy {correct[-1]:.3f}")
assert log.kr[-1] < log.kr[first]
assert log.hinge[-1] < log.hinge[first]
assert correct[-1] > correct[first]
assert max(values.max() for values in log.spectra.values()) <= 1
assert float(log.gradients.norms.max()) <= 1 + 1e-5

# %% [markdown]
# ## Which $\alpha$ is the right one?
#
# No $\alpha$ is right for every purpose: it is a choice. Each point below is a network for the digits that was trained
# with one loss and one value of its parameter. The axes are its accuracy and its mean certified radius (an image has to
# move by at least this distance before its class changes). Press Start to train one more network.

# %%
explorer = TradeoffExplorer()
explorer

# %%
chosen = []
for alpha in (1.0, 10.0, 100.0):
    explorer.state = {"loss": "hkr", "alpha": alpha, "margin": 0.3}
    chosen.append(explorer.data.runs[explorer.data.chosen])
    course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert chosen[0].accuracy < chosen[-1].accuracy
assert chosen[0].mean_radius > chosen[-1].mean_radius

# %% [markdown]
# ## How small may a batch be?
#
# A hinge is a mean over samples, and small batches only make it noisy. KR is a *difference of two means*. If a batch
# holds samples of one class only, the mean of the other class counts as 0.
#
# Take the trained network and draw batches of two test images, again and again.

# %% [markdown] question="training.means"
# **Predict.** What is the mean of KR over all these batches of two, in per cent of KR of all images together?

# %%
scores = np.asarray(model(x_test, training=False))
whole = float(np.mean(losses.kr(y_test, scores)))
rng = np.random.default_rng(0)
rows = [f"all images: KR {whole:.3f}"]
means = {}
for size in (2, 4, 16, 64):
    draws = rng.integers(0, len(scores), (size, 10_000))  # 10,000 batches, one in each column
    means[size] = np.mean(losses.kr(y_test[draws, 0], scores[draws, 0]))
    rows.append(f"batches of {size:3d}: mean {means[size]:.3f} ({means[size] / whole:.0%})")
course.predict("training.means", truth=100 * means[2] / whole, reveal="\n".join(rows))

# %%
assert 0.6 < means[2] / whole < 0.9
assert 0.9 < means[64] / whole < 1.1

# %% [markdown]
# There is a remedy. Give each label a weight, by the size of its class, *before* the data are split into batches:
# `process_labels_for_multi_gpu` turns 0 and 1 into weights, and a loss with `multi_gpu=True` uses them.

# %%
weights = np.asarray(process_labels_for_multi_gpu(y_test))
print("two classes, two weights:", np.unique(weights).round(4))
rng = np.random.default_rng(0)
draws = rng.integers(0, len(scores), (2, 10_000))
weighted = np.mean(losses.kr(weights[draws, 0], scores[draws, 0], multi_gpu=True))
print(f"batches of 2, weighted: mean {weighted:.3f} ({weighted / whole:.0%})")
assert abs(weighted / whole - 1) < 0.1

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="training.pairs"
# Predict: a network scores every positive sample with 2.5 and every negative one with -1.5, so KR of all samples is 4.
# Both classes are equally frequent. You draw batches of two samples, independently, and compute KR of each, where the
# mean of a class that is not there counts as 0. What is the mean of KR over very many such batches?
#
# Expected: a number, exact to ±0.005.

# %%
from lipviz import course

answer = ...

course.check("training.pairs", answer)

# %% [markdown]
# ## What do several devices do to a batch?
#
# Data-parallel training splits each batch among the devices, and averages their losses and gradients. For a loss this
# is the same as small batches. Here is a batch of 12 samples, three of them positive, on four devices. The numbers are
# small enough to check by hand. The third value uses labels that were weighted before the split:

# %%
DEVICES = 4

labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], "float32")[:, None]
outputs = np.array([3, 2, 1, -1, -2, 0, -1, -1, -1, 0, -2, -1], "float32")[:, None]
balanced = np.asarray(process_labels_for_multi_gpu(labels))
parts = list(zip(*(np.split(values, DEVICES) for values in (labels, outputs, balanced)), strict=True))
one_device = float(np.mean(losses.kr(labels, outputs)))
naive = float(np.mean([np.mean(losses.kr(y, f)) for y, f, _ in parts]))
right = float(np.mean([np.mean(losses.kr(w, f, multi_gpu=True)) for _, f, w in parts]))
print(f"one device: {one_device:.4f}    {DEVICES} devices: {naive:.4f}    labels weighted first: {right:.4f}")
assert abs(right - one_device) < 1e-6 < abs(naive - one_device)

# %% [markdown]
# ### Exercise 2: change

# %% [markdown] question="training.devices"
# Change `DEVICES = 4` in the lesson to 3 and run that cell again. What does it print as KR for 3 devices, where the
# labels are not weighted first?
#
# Expected: a number, exact to ±0.002.

# %%
from lipviz import course

answer = ...

course.check("training.devices", answer)

# %% [markdown]
# On TensorFlow the program is as follows. (The layers keep their constrained kernels the same on all devices.)
#
# ```python
# strategy = tf.distribute.MirroredStrategy()
# with strategy.scope():
#     model = network()
#     model.compile("adam", losses.HKR(alpha=50.0, multi_gpu=True))
# model.fit(x_train, np.asarray(process_labels_for_multi_gpu(y_train)), ...)
# ```
#
# On JAX, call `keras.distribution.set_distribution(keras.distribution.DataParallel())` before you create the model. On
# both backends the weights of the labels are computed once, with the class sizes of all training images.
#
# ## How large may a learning rate be?
#
# Take the trained network and an ordinary one of the same sizes, trained with the same loss. Then train both for two
# epochs with a learning rate that is a thousand times as large.

# %% [markdown] question="training.rate"
# **Predict.** What are the norms of the gradients after two epochs at a thousand times the learning rate?

# %%
plain = keras.Sequential(
    [
        keras.Input((x_train.shape[1],)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1),
    ],
    name="ordinary",
)
plain.compile(keras.optimizers.Adam(1e-3), losses.HKR(alpha=50.0, min_margin=margin))
plain.fit(x_train, y_train, batch_size=BATCH, epochs=3, verbose=0)

largest, median, rows = {}, {}, []
for name, net in (("ordinary", plain), ("Lipschitz", model)):
    for rate in (1e-3, 1.0):
        net.optimizer.learning_rate = rate
        net.fit(x_train, y_train, batch_size=BATCH, epochs=2, verbose=0)
        gradients = measure.input_gradient_norms(net, x_test[:128])
        accuracy = np.mean((np.asarray(net(x_test, training=False)) > 0) == (y_test > 0))
        largest[name, rate], median[name, rate] = gradients.largest, gradients.median
        words = f"gradient norm {gradients.median:.3g} (median), {gradients.largest:.3g} at most"
        rows.append(f"{name:9s} rate {rate:5g}: accuracy {accuracy:.3f}, {words}")
course.predict("training.rate", reveal="\n".join(rows))

# %%
assert not 0.01 < median["ordinary", 1.0] < 10  # dead or wild; a few images may still find a slope
assert 0.9 < largest["Lipschitz", 1.0] <= 1 + 1e-5

# %% [markdown]
# A constrained layer has two kernels. The optimizer changes the **raw kernel**. The network uses the constrained one,
# `wbar`, which the layer computes from it. Of the Lipschitz network, only the raw kernels have grown:

# %%
raw = [layer.raw.max() for layer in measure.singular_values(model)]
used = [layer.largest for layer in measure.singular_values(model)]
print("largest singular values, raw:", np.round(raw, 1), "  used:", np.round(used, 6))
assert max(used) <= 1 < min(raw)

# %% [markdown]
# The size of a raw kernel does not matter for the predictions. Ten times the kernel gives the same `wbar`. But it
# matters for learning. A step of Adam has a length that does not depend on the size of the kernel, so it changes the
# direction of a large kernel less than that of a small one. A network with large raw kernels learns slowly, as if its
# learning rate had been divided. `model.condense()` overwrites the raw kernels with `wbar`, which makes them small
# again (`CondenseCallback` does that after every epoch). By default kernels are orthogonal at the start
# (`SpectralInitializer`), so that a learning rate means the same for every layer.

# %%
model.condense()
for name, net in (("ordinary", plain), ("Lipschitz", model)):
    net.optimizer.learning_rate = 1e-3
    net.fit(x_train, y_train, batch_size=BATCH, epochs=5, verbose=0)
    accuracy = np.mean((np.asarray(net(x_test, training=False)) > 0) == (y_test > 0))
    print(f"{name:9s} after five more epochs at 0.001: accuracy {accuracy:.3f}")
assert accuracy > 0.7

# %% [markdown]
# ## May I compute in half precision?
#
# Yes, for training. On a GPU it can be much faster. Layers take `dtype="mixed_bfloat16"` or `"mixed_float16"`, and
# `keras.config.set_dtype_policy` sets it for all layers. lipviz still stores and constrains its kernels in float32.
# Only the products are rounded. Here is one more epoch in bfloat16:

# %%
half = network("mixed_bfloat16")
half.set_weights(model.get_weights())
half.fit(x_train, y_train, batch_size=BATCH, epochs=1, verbose=0)
accuracy = np.mean((np.asarray(half(x_test, training=False), "float32") > 0) == (y_test > 0))
largest_used = max(layer.largest for layer in measure.singular_values(half))
print(f"accuracy {accuracy:.3f}; largest singular value that is stored: {largest_used:.6f}")
assert accuracy > 0.7
assert largest_used <= 1

# %% [markdown]
# But what happens to a certificate? It says: the score is $s$, so no change shorter than $|s|$ alters its sign. But
# rounding may change the score that the served network computes for the changed image, by up to $E$. So only $|s| - E$
# is certain. With several classes it is the margin minus $2E$, since two logits are rounded. `logit_errors` measures
# the rounding at samples. For $E$, use a multiple of the largest error.

# %%
exact = operators.float64_copy(half)
bounds = certification.pairwise_bounds(exact)
shares, constants = {}, {}
for dtype in ("float32", "mixed_float16", "mixed_bfloat16"):
    served = network(dtype)
    served.set_weights(half.get_weights())
    constants[dtype] = lipviz.certify(served, search=False).upper_bound
    error = 2 * certification.logit_errors(served, x_test).max()
    radii = certification.certified_radius(exact, x_test, y_test[:, 0], bounds=bounds, logit_error=error).radii
    shares[dtype] = (radii > 0.1).mean()
    print(f"{dtype:15s} E = {error:.1e}    certified beyond 0.1: {shares[dtype]:.1%}    mean radius {radii.mean():.4f}")
assert shares["mixed_bfloat16"] <= shares["mixed_float16"] <= shares["float32"]

# %% [markdown]
# In float32 the error is almost 0. In bfloat16 it makes every radius smaller, and small radii become 0. The kernel that
# a layer computes with is rounded as well, so that its norm may exceed 1. `certify` takes that into account:

# %%
for dtype, constant in constants.items():
    print(f"{dtype:15s} Lipschitz constant at most {constant:.6f}")
assert constants["float32"] <= 1 < constants["mixed_bfloat16"]

# %% [markdown]
# `logit_errors` measures errors at the samples, and does not prove them. `certified_radius(..., arithmetic="bfloat16")`
# does: see lesson 10.
#
# So train in half precision where it is faster. Then serve and certify a float32 copy of the weights, which
# `network("float32")` and `set_weights` give you.
#
# ### Exercise 3: predict

# %% [markdown] question="training.rounding"
# A 1-Lipschitz network (l2 norm, all outputs together) with several classes is served in bfloat16. For an image, exact
# arithmetic gives the largest logit 1.3 and the runner-up 0.9. In bfloat16 each logit is off by up to 0.03, at every
# image. Within which radius does the network *that is served* surely give this class?
#
# Expected: a number, exact to ±0.002.

# %%
from lipviz import course

answer = ...

course.check("training.rounding", answer)

# %% [markdown]
# ## Write the weights yourself
#
# ### Exercise 4: build

# %% [markdown] question="training.weigh"
# Write `weigh(labels)` in NumPy: what `process_labels_for_multi_gpu` does for one output. It takes an array of n
# labels, positive where they are above 0 (they come as 0 and 1, or -1 and 1), and returns n weights such that, for any
# scores f of these n samples, np.mean(weights \* f) is the mean of f over the positive samples minus its mean over the
# others. All samples of a class have the same weight. A class without samples counts as 0, and must not make the result
# NaN or infinite.
#
# Expected: a function that is called as `weigh(labels)`.

# %%
import numpy as np

from lipviz import course


def weigh(labels):
    return ...


course.check("training.weigh", weigh)

# %% [markdown]
# ## What you have seen
#
# * A schedule changes a loss while the network trains. Then watch the terms of the loss and the accuracy, not the loss.
# * KR is a difference of two means. Small batches, and batches that are split among devices, make it too small; labels
#   that were weighted before the split do not.
# * No learning rate breaks a constraint. Large raw kernels only make a network learn slowly.
# * In half precision, train as you like. Subtract the rounding from the margin before you certify, or serve a float32
#   copy.

# %% [markdown]
# ## Where to go next
#
# * Lesson 07 is about the losses and their margins, lesson 08 about certificates, lesson 10 about serving.
#
# ## References
#
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the loss HKR.
# * L. Béthune et al.: *Pay attention to your loss: understanding misconceptions about 1-Lipschitz neural networks*,
#   NeurIPS 2022: accuracy against robustness as a choice of the loss.
# * P. Micikevicius et al.: *Mixed precision training*, ICLR 2018.
# * T. van Laarhoven: *L2 regularization versus batch and weight normalization*, arXiv 1706.05350, 2017: why the size of
#   a normalized weight acts like a learning rate.

# %% [markdown] tags=["way"]
# ← [10 Export and serve](10_export_and_serve.py) · [All lessons](index.py) · [12 Come from
# deel-lip](12_come_from_deel_lip.py) →
