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
#     minutes: 3
#     needs: Keras; 00 or 01
#     title: 'Certify Fashion-MNIST: accuracy that no attack can take away'
# ---

# %% [markdown]
# # Certify Fashion-MNIST: accuracy that no attack can take away
#
# **You will learn** how to train a convolutional network whose decisions have certificates, how to compute which part
# of its accuracy no attack can take away, how to compare this with real attacks, and how to choose between accuracy and
# robustness.
#
# **You need** Keras (`Sequential`, `compile`, `fit`) and the idea of a 1-Lipschitz network: moving the image by a
# distance moves the output by no more than that (lesson 00 or 01).
#
# **It takes** about three minutes of computing on two CPU cores, and an hour of your time.
#
# **Where you are.** Lesson 07 certified the decisions of a network between two classes of points; now there are ten
# classes, of images.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F08_certify_fashion.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/08_certify_fashion.ipynb
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
# ← [07 Separate with margins](07_separate_with_margins.py) · [All lessons](index.py) · [09 Explain with
# gradients](09_explain_with_gradients.py) →

# %%
import keras
import numpy as np
from scipy.spatial.distance import cdist
from tqdm.keras import TqdmCallback

from lipviz import Sequential, certification, course, data, measure, plots
from lipviz.explorers import TradeoffExplorer
from lipviz.layers import FrobeniusDense, GroupSort2, ScaledL2NormPooling2D, SpectralConv2D, SpectralDense
from lipviz.losses import TauSparseCategoricalCrossentropy

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 4, "BATCH": 64, "TRAIN": 1024, "TEST": 800, "ATTACKED": 12, "ATTACK_STEPS": 10}}
EPOCHS = 3
BATCH = 256
TRAIN = 30_000  # half of all
TEST = None  # all 10,000
ATTACKED = 100
ATTACK_STEPS = 40

# %% [markdown]
# ## What is to be certified?
#
# The data are Fashion-MNIST: images of ten kinds of clothes, with 28 × 28 pixels and grey levels from 0 to 1. All
# distances below are Euclidean, in these units. A change of one pixel from black to white has size 1. A change of every
# pixel by 1/28 has size 1 as well.

# %%
try:
    (x_train, y_train), (x_test, y_test) = data.fashion_mnist(TRAIN, TEST)
    names = data.class_names("fashion_mnist")
except data.DatasetNotFoundError as error:
    print(f"{error}\nGoing on with scikit-learn's digits: small images, other numbers, the same lesson.")
    (x_train, y_train), (x_test, y_test) = data.digits()
    names = data.class_names("digits")
sample = x_test[:500].reshape(500, -1)
distances = cdist(sample, sample)
others = np.where(y_test[:500, None] == y_test[None, :500], np.inf, distances)
print(f"{len(x_train)} images to train on, {len(x_test)} to test")
print(f"from an image to the nearest of another class: {np.median(others.min(axis=1)):.2f} (median of 500)")

# %% [markdown]
# Remember that number. Suppose that the nearest image of another class is at a distance of about 5. A classifier that
# is right on both images cannot have certified radii above half of that for both. A change of 0.5 is a tenth of that
# distance, and hardly visible.
#
# ## A network with a constant
#
# The network has two convolutions, two poolings and two dense layers. All layers but the last are 1-Lipschitz: none of
# them stretches a distance, so all of them together do not either. `bound="tight"` bounds the norm of the convolution
# itself, and brings it up to nearly 1 (lesson 04).
#
# The last layer computes a **logit** for each class, a score; the class with the largest logit wins. This layer,
# `FrobeniusDense`, gives each class one direction of length 1, for itself (`disjoint_neurons=True`, its default). So
# each *single* logit is 1-Lipschitz. The vector of all ten logits is not: one change of the image can move several
# logits at once. Keep that in mind for the number that `certify` prints below.


# %%
def network():
    return Sequential(
        [
            keras.Input(x_train.shape[1:]),
            SpectralConv2D(16, 3, bound="tight", activation=GroupSort2()),
            ScaledL2NormPooling2D(2),
            SpectralConv2D(32, 3, bound="tight", activation=GroupSort2()),
            ScaledL2NormPooling2D(2),
            keras.layers.Flatten(),
            SpectralDense(128, activation=GroupSort2()),
            FrobeniusDense(10),
        ]
    )


# %% [markdown]
# ## How should it be trained?
#
# A cross-entropy is small only if the logits are far apart. An ordinary network reaches that with large weights. This
# one cannot. So the loss multiplies the logits by a factor $\tau$, the **inverse temperature**, before it takes the
# cross-entropy. The **margin** of an image is the lead of its largest logit. With a large $\tau$, the loss of an image
# is almost zero as soon as its margin is small but positive, and training does not widen that margin. With a small
# $\tau$, the loss goes on falling while margins become wider.
#
# The learning rate rises in the first tenth of the training and falls to almost nothing at the end.


# %%
def trained(tau):
    keras.utils.set_random_seed(0)
    model = network()
    steps = EPOCHS * -(-len(x_train) // BATCH)
    rise = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(5e-4, steps - rise, warmup_target=5e-3, warmup_steps=rise)
    right = keras.metrics.SparseCategoricalAccuracy("accuracy")
    model.compile(keras.optimizers.Adam(rate), TauSparseCategoricalCrossentropy(tau), metrics=[right])
    model.fit(x_train, y_train, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[TqdmCallback(verbose=0)])
    return model


model = trained(tau=3)
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
print(f"test accuracy: {accuracy:.3f}")

# %% [markdown]
# ## How far does each decision hold?
#
# Suppose that the largest logit exceeds another one by the margin $m$, and that a change of size $r$ moves their
# difference by at most $c\,r$. Then no change smaller than $r = m / c$ makes the other logit larger. The smallest of
# these $r$ over all other classes is the **certified radius**. It needs the Lipschitz constant $c$ of a *difference* of
# two logits. First, look at the constant of the whole network:

# %%
certificate = certification.certify(model, search=False)
print(f"Lipschitz constant of the whole network: at most {certificate.upper_bound:.4f}")
assert certificate.upper_bound < np.inf

# %% [markdown]
# This is an upper bound that holds for all images, the product of the bounds of all layers. (Lesson 01 also searches
# for lower bounds.) **Why can it exceed 1?** It counts all ten logits together. The last layer divides the direction of
# each class by its own length, and does nothing about the ten directions together. If some of them are similar, one
# change of the image moves several logits at once. With ten directions of length 1, the norm of this layer lies between
# 1 and $\sqrt{10} \approx 3.16$. No promise is broken: with disjoint neurons `FrobeniusDense` promises 1 for each
# logit. (Lesson 12 shows a library that divides a margin by too small a number there.)
#
# The radius does not need this number. It needs the constants of *pairs* of classes, $c_{ij} = L\,\|w_i - w_j\|$. Here
# $L$ is the constant of all layers before the last one, and $w_i$ and $w_j$ are the directions of the two classes. The
# more similar two directions are, the smaller is $c_{ij}$. The usual rule takes $\sqrt 2$ times the constant of the
# whole network for every pair.

# %%
pairs = certification.pairwise_bounds(model)
between = pairs[~np.eye(len(pairs), dtype=bool)]
print(f"constants of the differences of two logits: {between.min():.3f} to {between.max():.3f}")
print(f"√2 times the constant of the whole network: {np.sqrt(2) * certificate.upper_bound:.3f}")
assert between.max() <= np.sqrt(2) * certificate.upper_bound * (1 + 1e-9)

# %%
radii = certification.certified_radius(model, x_test, y_test, bounds=pairs)
for image in range(3):
    name, margin, radius = names[radii.predicted[image]], radii.margins[image], radii.radii[image]
    print(f"image {image}: {name}, by a margin of {margin:.3f}; no change shorter than {radius:.3f} alters that")

# %% [markdown]
# Each image has its own radius. An image that is classified wrongly gets the radius 0.
#
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="certificates.pair"
# The last layer of a classifier has the directions w₁ = (1, 0) and w₂ = (0.6, 0.8), each of length 1, and what comes
# before it is 1-Lipschitz. For one image, logit 1 leads logit 2, the runner-up, by 0.5. Up to which Euclidean distance
# is it certain that logit 2 does not overtake logit 1?
#
# Expected: a number, exact to ±0.005.

# %%
from lipviz import course

answer = ...

course.check("certificates.pair", answer)

# %% [markdown]
# ## What accuracy is left?
#
# An image counts at $\varepsilon$ if it is classified correctly and its radius is larger than $\varepsilon$. The share
# of these images is the **certified accuracy**. No attack with changes of size up to $\varepsilon$ can make the
# accuracy smaller than that.

# %% [markdown] question="certificates.half"
# **Predict.** Which share of the test images, in per cent, is certainly right under *every* change up to 0.5? Compare
# with the accuracy, and with the distance to the nearest image of another class.

# %%
epsilons = np.linspace(0, 1.5, 61)
certified = radii.accuracy_at(epsilons)
histogram = plots.picture(
    plots.plot_radii(radii),
    plots.alt_text(radii),
    caption="The radii of all test images. Those of images that are classified wrongly are 0.",
)
curve = plots.picture(
    plots.plot_certified_accuracy(certified),
    plots.alt_text(radii.accuracy_at((0, 36 / 255, 0.5, 1.0))),
    caption="Certified accuracy starts at the accuracy and can only fall. The training decides how fast it falls.",
)
sizes = (36 / 255, 0.5, 1.0)
shares = radii.accuracy_at(sizes).certified
rows = [
    f"certainly right under every change up to {epsilon:.3f}: {share:.1%} of the test images"
    for epsilon, share in zip(sizes, shares, strict=True)
]
course.predict("certificates.half", truth=100 * shares[1], reveal=["\n".join(rows), histogram, curve])

# %%
assert np.all(np.diff(certified.certified) <= 0)
assert certified.certified[0] <= radii.accuracy

# %% [markdown]
# ## Can an attack break a certificate?
#
# If an attack changes the class within the certified radius, the certificate is false. DeepFool looks for the nearest
# point where the class changes, step by step along the gradients. The distance that it finds is an upper bound of the
# true distance, the radius is a lower bound. So **the certified radius must not exceed the distance of the attack**,
# for every single image.

# %%
attack = certification.attack(model, x_test[:ATTACKED], y_test[:ATTACKED], method="deepfool")
there = certification.certified_radius(model, x_test[:ATTACKED], y_test[:ATTACKED], bounds=pairs)
right = there.correct
print(f"attacked {right.sum()} images that were right; the class changed on {attack.success[right].sum()}")
ratio = attack.found[right] / there.radii[right]
print(f"distance of the attack over the certificate: median {np.median(ratio):.2f}, smallest {ratio.min():.2f}")
assert np.all(attack.found[right] >= there.radii[right])

# %%
plots.picture(
    plots.plot_certified_accuracy(there.accuracy_at(epsilons).beside(attack)),
    plots.alt_text(there.accuracy_at().beside(attack)),
    caption="The accuracy under the best attack lies in the grey band, between the proof and what DeepFool left.",
)

# %% [markdown]
# The second attack is projected gradient descent. It stays within 0.999 times the radius of each image. If the theory
# is right, it never succeeds.

# %%
inside = certification.attack(
    model,
    x_test[:ATTACKED][right],
    y_test[:ATTACKED][right],
    epsilon=0.999 * np.maximum(there.radii[right], 1e-6),
    steps=ATTACK_STEPS,
    starts=2,
)
print(f"attacks within the certified radius: {len(inside)}, successful: {inside.success.sum()}")
assert not inside.success.any()

# %% [markdown]
# What do the changes of an attack look like? For a network with certificates, they have to be large enough to see.

# %%
changed = measure.adversarial_pairs(attack, x_test[:ATTACKED], class_names=names)
plots.picture(
    plots.plot_adversarial_pairs(changed),
    plots.alt_text(changed),
    caption="The image, what DeepFool made of it, and the difference between the two.",
)

# %% [markdown]
# ### Exercise 2: predict

# %% [markdown] question="certificates.left"
# Of 1000 test images a network classifies 880 correctly. For 340 of these the certified radius is at most 0.5, for the
# others it is larger. Under an attack with changes of size up to 0.5, 700 images are still classified correctly. In the
# worst case that these numbers allow, how many images does a better attack of that size leave correctly classified?
#
# Expected: a whole number.

# %%
from lipviz import course

answer = ...

course.check("certificates.left", answer)

# %% [markdown]
# ## Change the inverse temperature
#
# So far $\tau$ was 3, without a reason. Now train the same network with 0.5 and with 1, and keep everything else.

# %% [markdown] question="certificates.cross"
# **Predict.** Which of the three has the highest accuracy, and which has the largest share of images that are certainly
# right under every change up to 1?

# %% nbmake={"mock": {"TAUS": [0.5, 3]}}
TAUS = [0.5, 1, 3]

# %%
frontier = [radii if tau == 3 else certification.certified_radius(trained(tau), x_test, y_test) for tau in TAUS]
rows = ["   τ  accuracy  mean radius   at 36/255   at 0.5   at 1.0"]
for tau, one in zip(TAUS, frontier, strict=True):
    shares = one.accuracy_at((36 / 255, 0.5, 1.0)).certified
    known = f"{shares[0]:11.3f} {shares[1]:8.3f} {shares[2]:8.3f}"
    rows.append(f"{tau:4g} {one.accuracy:9.3f} {one.mean_radius:12.3f} {known}")

# %% jupyter={"source_hidden": true} tags=["hide-input"]
certified = {f"τ = {tau}": one.accuracy_at(epsilons) for tau, one in zip(TAUS, frontier, strict=True)}
picture = plots.picture(
    plots.plot_certified_accuracies(certified),
    f"Certified accuracy against the size of a change for τ = {', '.join(map(str, TAUS))}. The larger τ, the higher "
    "the line begins and the sooner it falls: the lines cross.",
    caption="The lines cross: the best network depends on the size of the changes that it has to resist.",
)

# %%
course.predict("certificates.cross", reveal=["\n".join(rows), picture])

# %%
accuracies = [one.accuracy for one in frontier]
means = [one.mean_radius for one in frontier]
far = [one.accuracy_at(1.0).certified[0] for one in frontier]
assert accuracies == sorted(accuracies)  # the larger τ, the more images are right,
assert means == sorted(means, reverse=True)  # and the less far they hold:
assert far[0] > far[-1]  # at 1.0, the least accurate network beats the most accurate one

# %%
x_train = y_train = None  # 94 MB that nothing below needs. To train again, load the images again.

# %% [markdown]
# The best pairs of accuracy and robustness form a frontier, and $\tau$ chooses a point on it.
#
# Does the accuracy always grow with $\tau$? No: the larger $\tau$, the longer the training takes. After 48 steps on
# 4,000 images $\tau = 100$ reached .743 and .731 (two seeds), $\tau = 10$ reached .751 and .763, and $\tau = 3$ reached
# .769 and .759. Which $\tau$ has the highest accuracy depends on how long you train. Which one has the largest radii
# did not depend on it, as far as we tried.
#
# ## Another parameter
#
# HKR, the loss of lesson 07, has another parameter: the weight $\alpha$ of the hinge. The explorer below shows networks
# for the digits that were trained with both losses. First move $\tau$ of the cross-entropy: the chosen point runs along
# the whole frontier. Then choose HKR and move $\alpha$ from 1 to 100. How far does the point move now?

# %%
explorer = TradeoffExplorer()
explorer

# %%
explorer.state = {"loss": "hkr", "alpha": 100.0}
eager = explorer.data.runs[explorer.data.chosen]
explorer.state = {"alpha": 1.0}
careful = explorer.data.runs[explorer.data.chosen]
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert eager.accuracy >= careful.accuracy

explorer.state = {"loss": "crossentropy", "tau": 100.0}
steep = explorer.data.runs[explorer.data.chosen]
explorer.state = {"tau": 0.1}
gentle = explorer.data.runs[explorer.data.chosen]
by_alpha, by_tau = careful.mean_radius - eager.mean_radius, gentle.mean_radius - steep.mean_radius
print(f"mean certified radius: α changes it by {by_alpha:.3f}, τ by {by_tau:.3f}")
assert by_tau > 2 * abs(by_alpha)
explorer.reset()

# %% [markdown]
# On these data $\alpha$ changes little: the margin of the hinge, which stays the same, decides how far the classes are
# moved apart. $\tau$ does the work of both.

# %% [markdown]
# ### Exercise 3: change

# %% [markdown] question="certificates.tau"
# Set the explorer to the loss `crossentropy` and the inverse temperature τ = 100, by the sliders or by `explorer.state
# = {"loss": "crossentropy", "tau": 100.0}`. What is the mean certified radius of the run that it chooses, to two digits
# after the point? Read it off, or ask for `explorer.data.runs[explorer.data.chosen].mean_radius`.
#
# Expected: a number, exact to ±0.0051.

# %%
from lipviz import course

answer = ...

course.check("certificates.tau", answer)

# %% [markdown]
# ## What can be reached?
#
# The page on Fashion-MNIST in the documentation shows the frontier of this network after five and twenty epochs on the
# whole data set, with seeds, times and the command that computes it.

# %% [markdown]
# ## Write it yourself
#
# ### Exercise 4: build

# %% [markdown] question="certificates.share"
# Write `share(logits, labels, k, epsilon)`: the certified accuracy of a k-Lipschitz classifier at the size epsilon, by
# the rule with √2. `logits` is an array of shape (n, C), `labels` holds n class numbers. An image counts if it is
# classified correctly and its radius, the margin over √2 · k, is larger than epsilon. Return one number between 0 and
# 1, exact to 1e-9.
#
# Expected: a function that is called as `share(logits, labels, k, epsilon)`.

# %%
import numpy as np

from lipviz import course


def share(logits, labels, k, epsilon):
    return ...


course.check("certificates.share", share)

# %% [markdown]
# ## What you have seen
#
# * The certified radius of an image is its margin over the Lipschitz constant of a *difference* of two logits. For each
#   pair of classes, that constant comes from the last layer's two directions.
# * Nobody knows the accuracy under the best possible attack. A certificate bounds it from below, and any attack bounds
#   it from above. No attack succeeded within the certified radius of an image.
# * $\tau$ chooses between accuracy and radius. The accuracy on test images does not show what it costs.

# %% [markdown]
# ## Where to go next
#
# * Lesson 09 looks at the gradients of such a network. Lesson 10 saves, exports and serves one.
# * Y. Tsuzuku, I. Sato, M. Sugiyama: *Lipschitz-margin training: scalable certification of perturbation invariance for
#   deep neural networks*, NeurIPS 2018: radii from margins.
# * L. Béthune et al.: *Pay attention to your loss: understanding misconceptions about 1-Lipschitz neural networks*,
#   NeurIPS 2022: the inverse temperature.
# * S.-M. Moosavi-Dezfooli, A. Fawzi, P. Frossard: *DeepFool: a simple and accurate method to fool deep neural
#   networks*, CVPR 2016.
# * A. Madry et al.: *Towards deep learning models resistant to adversarial attacks*, ICLR 2018: projected gradient
#   descent.
# * H. Xiao, K. Rasul, R. Vollgraf: *Fashion-MNIST: a novel image dataset for benchmarking machine learning
#   algorithms*, 2017.

# %% [markdown] tags=["way"]
# ← [07 Separate with margins](07_separate_with_margins.py) · [All lessons](index.py) · [09 Explain with
# gradients](09_explain_with_gradients.py) →
