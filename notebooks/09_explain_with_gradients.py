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
#     needs: 00; gradients
#     title: 'Explain with gradients: what would have to change?'
# ---

# %% [markdown]
# # Explain with gradients: what would have to change?
#
# **You will learn** how the gradient explains a decision of a network, in what the gradients of an ordinary and of a
# 1-Lipschitz network differ, and how to compute a **counterfactual** with them: the same image, changed until the
# network decides otherwise.
#
# **You need** lesson 00, and the gradient of a function of several variables.
#
# **It takes** about a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** Lesson 08 computed *how far* a decision holds; now we look at the direction in which it is lost
# first.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F09_explain_with_gradients.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/09_explain_with_gradients.ipynb
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
# ← [08 Certify Fashion-MNIST](08_certify_fashion.py) · [All lessons](index.py) · [10 Export and
# serve](10_export_and_serve.py) →

# %% [markdown]
# ## The question
#
# A network says "ankle boot". *Why?* One answer is the **gradient** of its score with respect to the pixels. For each
# pixel it says how much the score grows or falls when the pixel becomes brighter. The gradient as an image is called a
# **saliency map**. The maps of ordinary networks are known to look like noise.
#
# This lesson trains an ordinary network and a **1-Lipschitz** one, whose score never changes by more than the image
# does: $|f(x) - f(y)| \le \|x - y\|$. Then it asks three questions about both. How *long* is the gradient? In which
# direction does it *point*? What happens if we *follow* it?

# %%
import keras
import numpy as np

from lipviz import Sequential, certification, course, data, losses, measure, operators, plots
from lipviz.explorers import CertificateExplorer
from lipviz.layers import GroupSort2, SpectralDense

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 4, "STEPS": 4, "IMAGES": 5000, "TESTS": 600}}
EPOCHS = 10
STEPS = 6  # of each walk along the gradient
IMAGES = 20_000  # of Fashion-MNIST; a fifth of them are shoes of the two kinds below
TESTS = 2_000

# %% [markdown]
# ## Two kinds of shoes
#
# The data are sneakers (class 0) and ankle boots (class 1) of Fashion-MNIST, with 28 × 28 pixels and grey levels from 0
# to 1. If you had to turn a sneaker into a boot with a pencil, what would you draw? Remember your answer.

# %%
try:
    (x_train, y_train), (x_test, y_test) = data.fashion_mnist(n_train=IMAGES, n_test=TESTS)
    pair, names = (7, 9), ("sneaker", "ankle boot")
except data.DatasetNotFoundError as error:
    print(f"{error}\nThis lesson uses the digits 3 and 8 in place of sneakers and boots.")
    (x_train, y_train), (x_test, y_test) = data.digits()
    pair, names = (3, 8), ("three", "eight")

train, test = np.isin(y_train, pair), np.isin(y_test, pair)
x_train, y_train = x_train[train], (y_train[train] == pair[1]).astype("int32")
x_test, y_test = x_test[test], (y_test[test] == pair[1]).astype("int32")
print(f"{len(x_train)} images to train on, {len(x_test)} to test: {names[0]} is class 0, {names[1]} is class 1")

# %% [markdown]
# ## Two networks
#
# Both networks have the same widths and one output $f(x)$, whose sign decides. The ordinary network has ReLUs and is
# trained with cross-entropy. The 1-Lipschitz network has layers whose singular values are 1 (`SpectralDense`) and sorts
# in place of ReLUs (`GroupSort2`). Its loss is **HKR**, which has two parts (lesson 07). The Kantorovich-Rubinstein
# part moves the mean scores of the two classes as far apart as a 1-Lipschitz function can. The **hinge** penalizes
# images whose score is wrong, or nearer to 0 than half a margin.

# %%
lipschitz = Sequential(
    [
        keras.Input(x_train.shape[1:]),
        keras.layers.Flatten(),
        SpectralDense(64),
        GroupSort2(),
        SpectralDense(32),
        GroupSort2(),
        SpectralDense(16),
        GroupSort2(),
        SpectralDense(1),
    ],
    name="1-Lipschitz",
)
ordinary = keras.Sequential(
    [
        keras.Input(x_train.shape[1:]),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(1),
    ],
    name="ordinary",
)

# %%
from tqdm.keras import TqdmCallback

lipschitz.compile(keras.optimizers.Adam(5e-3), loss=losses.HKR(alpha=10.0, min_margin=2.0))
ordinary.compile(keras.optimizers.Adam(1e-3), loss=keras.losses.BinaryCrossentropy(from_logits=True))
for model in (lipschitz, ordinary):
    model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[TqdmCallback(verbose=0)])

certain = {model.name: certification.certified_radius(model, x_test, y_test) for model in (lipschitz, ordinary)}
for name, radii in certain.items():
    print(f"{name:12s} test accuracy {radii.accuracy:.3f}, median |f| {np.median(radii.margins):.2f}")
    assert radii.accuracy > 0.85

# %% [markdown]
# The ordinary network is a little more accurate. That is the usual price of robustness, and lesson 07 is about it. Here
# we ask what the 1-Lipschitz network gives in return.
#
# ## How long is the gradient?
#
# We compute the norm of the gradient for all test images, for each of the two networks.

# %% [markdown] question="explanations.norm"
# **Predict.** No gradient of the 1-Lipschitz network is longer than 1. How long is the *shortest* one, over all test
# images?

# %%
norms = [measure.input_gradient_norms(model, x_test) for model in (lipschitz, ordinary)]
picture = plots.picture(
    plots.plot_gradient_norms(norms, constant=1.0),
    plots.alt_text(norms[0]) + " " + plots.alt_text(norms[1]),
    caption="One histogram for each network. The dashed line is the Lipschitz constant that is proved for one of them.",
)
rows = [
    f"{one.name:12s} norms from {one.norms.min():8.5f} to {one.norms.max():8.5f}, median {one.median:.5f}"
    for one in norms
]
course.predict("explanations.norm", truth=norms[0].norms.min(), reveal=["\n".join(rows), picture])

# %%
assert norms[0].norms.max() <= 1 + 1e-6  # never above the Lipschitz constant ...
assert norms[0].norms.min() > 0.99  # ... and here, never below it either
assert norms[1].norms.max() > 2 * norms[1].norms.min()

# %% [markdown]
# Why is it 1 everywhere? Computed backwards, the gradient is multiplied by matrices whose singular values are all 1 and
# which do not reduce its dimension. The sorts only change the order of its entries. None of these steps makes it
# shorter. (The exercises try what a ReLU does.)
#
# So the gradients of this network differ only in their **direction**. The loss decides about this direction. For the
# best possible Kantorovich-Rubinstein score, the gradient at $x$ points along the straight line on which optimal
# transport would move $x$ to the other class (Serrurier et al. 2023).
#
# ## Where does it point?
#
# Take three images of each class that both networks classify correctly. The map shows the gradient of the **margin**,
# the lead of the class that the network chooses. With one score it is $|f|$. In orange-red places, brighter pixels
# would make the margin larger. In blue places, they would make it smaller.

# %%
right = certain["1-Lipschitz"].correct & certain["ordinary"].correct
shown = np.concatenate([np.flatnonzero(right & (y_test == label))[:3] for label in (0, 1)])
maps = {model.name: measure.saliency(model, x_test) for model in (lipschitz, ordinary)}
ordinary_maps = measure.saliency(ordinary, x_test[shown], class_names=names)
plots.picture(
    plots.plot_saliency(ordinary_maps, title="Ordinary network: where the margin comes from"),
    "The ordinary network. " + plots.alt_text(ordinary_maps),
    caption="The ordinary network. Do the maps show what it was trained on?",
)

# %%
lipschitz_maps = measure.saliency(lipschitz, x_test[shown], class_names=names)
plots.picture(
    plots.plot_saliency(lipschitz_maps, title="1-Lipschitz network: where the margin comes from"),
    "The 1-Lipschitz network. " + plots.alt_text(lipschitz_maps),
    caption="The 1-Lipschitz network, same images: the maps show the shaft above the heel, and the sole below.",
)

# %% [markdown]
# The shaft and the sole are what one would draw with a pencil. But a convincing picture is not a measurement. How can
# we measure whether a direction is good? To move all sneakers to the boots, each has to move, on average, by the
# **difference of the two mean images**. The cosine between a gradient and this difference is 1 if they point in the
# same direction, and 0 if they are orthogonal.

# %%
between = (x_train[y_train == 1].mean(axis=0) - x_train[y_train == 0].mean(axis=0)).ravel()
between /= np.linalg.norm(between)
agreement = {}
for name, look in maps.items():
    towards_1 = np.where(look.classes == 1, 1.0, -1.0)[:, None] * look.maps.reshape(len(look), -1)
    agreement[name] = np.median(towards_1 @ between / look.norms)
    print(f"{name:12s} median cosine with the way from {names[0]} to {names[1]}: {agreement[name]:.2f}")
assert agreement["1-Lipschitz"] > 0.7
assert agreement["1-Lipschitz"] > agreement["ordinary"] + 0.05

# %% [markdown]
# ## Is a stable map a better map?
#
# Perhaps the map of the ordinary network looks like noise because it *is* noise, and a small change of the image would
# give a different map. Let us test that.

# %% [markdown] question="explanations.noise"
# **Predict.** We add random noise of length 0.5 to every image. How similar, as a cosine, is the new map of the
# *ordinary* network to its old one? (1 means the same direction, 0 means nothing in common.)

# %%
rows, stability = [], {}
noise = np.random.default_rng(0).standard_normal(x_test.shape)
noise *= 0.5 / np.linalg.norm(noise.reshape(len(noise), -1), axis=1)[:, None, None, None]
for model in (lipschitz, ordinary):
    old, new = maps[model.name], measure.saliency(model, x_test + noise)
    products = np.sum(old.maps.reshape(len(old), -1) * new.maps.reshape(len(new), -1), axis=1)
    similar = np.where(old.classes == new.classes, 1, -1) * products / (old.norms * new.norms)
    found = f"median {np.median(similar):.4f}, for 95 % of the images above {np.quantile(similar, 0.05):.2f}"
    rows.append(f"{model.name:12s} cosine of the maps: {found}")
    stability[model.name] = np.median(similar)
course.predict("explanations.noise", truth=stability["ordinary"], reveal="\n".join(rows))

# %%
assert min(stability.values()) > 0.9

# %% [markdown]
# A stable map need not be a meaningful one: it shows how the network decides, and this network decides by scattered
# pixels.
#
# ## Follow it, one step
#
# How far is the boundary, where $f = 0$? The score is 1-Lipschitz, so an image has to move by at least $|f(x)|$ before
# its score is 0. That is the image's **certificate**: no shorter change can alter the decision. If the gradient has
# norm 1 and is constant along the way, then
#
# $$x' = x - f(x)\,\nabla f(x)$$
#
# lies on the boundary, after a step of exactly that length. Try the same formula on both networks. (`saliency` gives
# the gradient of the margin $|f|$, so $|f|\,\nabla |f|$ is the same step, whichever the sign.)

# %%
for model in (lipschitz, ordinary):
    look, before = maps[model.name], certain[model.name]
    step = before.margins[:, None, None, None] * look.maps
    after = certification.certified_radius(model, x_test - step)
    changed = after.predicted != before.predicted
    length = np.linalg.norm(step.reshape(len(step), -1), axis=1)
    print(f"{model.name:12s} step of median length {np.median(length):6.2f}: {changed.mean():4.0%} decisions changed,")
    print(f"{'':12s} |f| is now {np.median(after.margins / before.margins):.3f} of what it was")
    if model is lipschitz:
        assert not changed.any()  # the certificate: a step of this length cannot cross
        assert np.median(after.margins / before.margins) < 0.1  # and it nearly reaches the boundary

# %% [markdown]
# For the 1-Lipschitz network the steps end at the boundary or just before it. None of them crosses it, as the
# certificate says. For the ordinary network the score is not a distance. The same formula moves the image far beyond
# the boundary, to a point that is no longer an image: the images themselves are vectors of length about 9.

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="explanations.beyond"
# Predict: a 1-Lipschitz network has the score f(x) = 0.7, and its gradient has norm 1 and the same direction all the
# way. You walk 3 times as far as the certificate: x' = x - 3 f(x) ∇f(x). What is the score f(x')?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("explanations.beyond", answer)

# %% [markdown]
# ## Follow it, all the way
#
# For a fair comparison, divide by the squared norm of the gradient, as in Newton's method, and repeat the step a few
# times: $x \leftarrow x - (f(x) - g)\,\nabla f(x) / \|\nabla f(x)\|^2$, where $g$ is the score that we want. With
# $g = 0$ this is the attack DeepFool in four lines: it looks for the nearest point of the boundary.
#
# Such a walk ends close to the boundary, but seldom exactly on it. The remaining distance to the boundary is at least
# the certified radius of the *last* point. So the cell checks this: the length of the walk plus the certified radius of
# its last point is at least the certified radius of the first point. (Near the boundary the score is a small difference
# of large numbers, and in float32 most of it would be rounding. So we compute in float64. The remaining rounding is
# about 1e-13, and 1e-9 allows for it.)

# %%
exact = {model.name: operators.float64_copy(model) for model in (lipschitz, ordinary)}
reached = {}
for model in (lipschitz, ordinary):
    x = x_test[right].astype("float64")
    for _ in range(STEPS):
        score, look = np.asarray(exact[model.name](x, training=False))[:, 0], measure.saliency(model, x, output=0)
        x = x - (score / look.norms**2)[:, None, None, None] * look.maps
    distance = np.linalg.norm((x - x_test[right]).reshape(len(x), -1), axis=1)
    certified, left = certain[model.name].radii[right], certification.certified_radius(model, x).radii
    reached[model.name] = distance / certified
    print(f"{model.name:12s} boundary found at a distance of {np.median(distance):.2f} (median),")
    print(f"{'':12s} that is {np.median(reached[model.name]):.2f} times what is certified")
    assert (distance + left > certified - 1e-9).all()  # nobody gets nearer than the certificate

assert np.median(reached["1-Lipschitz"]) < 1.1  # and the gradient nearly gets there
assert np.median(reached["ordinary"]) > 1.5

# %% [markdown]
# For the 1-Lipschitz network, the certificate (the boundary is at least this far) and the walk (the boundary is at most
# this far) agree within a few percent. Together they say how far the boundary *is*. The ordinary network has a
# certificate as well, from the singular values of its layers, but it is loose: the true distance lies somewhere in the
# gap between the certificate and the walk.

# %% [markdown]
# ### Exercise 2: predict

# %% [markdown] question="explanations.distance"
# An ordinary network has the score f(x) = 6 at an image. Around it, to beyond the boundary, the score is affine (a
# plane), with a gradient of norm 4. What is the l2 norm of the shortest change of the image that brings the score to 0?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("explanations.distance", answer)

# %% [markdown]
# ## A counterfactual
#
# Now do not stop at the boundary. Continue until the score has the same size for the other class: $g = -f(x)$. The
# result answers the question: "what would have to be different, so that the network decides the opposite?" The first
# row shows the images, the second row the changed images, and the third row the change. The numbers below are the
# certified radius and the length of the change.

# %% [markdown] question="explanations.drawing"
# **Predict.** For which of the two networks does the change look like a drawing?

# %%
pairs = {}
for model in (ordinary, lipschitz):
    x = x_test[shown].astype("float64")
    goal = -np.asarray(exact[model.name](x, training=False))[:, 0]
    for _ in range(STEPS):
        score, look = np.asarray(exact[model.name](x, training=False))[:, 0], measure.saliency(model, x, output=0)
        x = x - ((score - goal) / look.norms**2)[:, None, None, None] * look.maps
    after = certification.certified_radius(model, x).predicted
    pairs[model.name] = measure.AdversarialPairs(
        indices=shown,
        inputs=x_test[shown].astype("float64"),
        attacked=x,
        before=y_test[shown],
        after=after,
        success=after != y_test[shown],
        distances=np.linalg.norm((x - x_test[shown]).reshape(len(x), -1), axis=1),
        radii=certain[model.name].radii[shown],
        class_names=names,
    )

scattered = plots.picture(
    plots.plot_adversarial_pairs(pairs["ordinary"], title="Ordinary network, attacked"),
    "The ordinary network. " + plots.alt_text(pairs["ordinary"]),
    caption="The ordinary network gives the second row the opposite class, with a score of the same size.",
)
drawn = plots.picture(
    plots.plot_adversarial_pairs(pairs["1-Lipschitz"], title="1-Lipschitz network, attacked"),
    "The 1-Lipschitz network. " + plots.alt_text(pairs["1-Lipschitz"]),
    caption="The 1-Lipschitz network, with the same images and the same rule.",
)
course.predict("explanations.drawing", reveal=[scattered, drawn])

# %%
assert all(pair.success.all() for pair in pairs.values())
way, certified = pairs["1-Lipschitz"].distances, 2 * pairs["1-Lipschitz"].radii  # to the boundary, and as far again
print("way to the mirrored score, over twice the certificate:", np.round(way / certified, 3))
# The last point misses the wanted score by a little; to reach it would take at least this distance:
missing = np.abs(np.asarray(exact["1-Lipschitz"](x, training=False))[:, 0] - goal) / certain["1-Lipschitz"].bounds[0, 0]
assert (way + missing > certified - 1e-9).all()
assert (way / certified).max() < 1.5

# %% [markdown]
# **Surprise**: the same algorithm, an *adversarial attack*, has made both pictures. On the ordinary network it gives a
# typical adversarial example: people would still see the old class. On the 1-Lipschitz network it draws. Nobody has
# told this network what a shaft is. But its score cannot change by more than the image does. So a change should
# increase the score as much as its length allows, and to change a sneaker into a boot, that is a change of the shaft.
#
# This is a statement about directions, not a proof of understanding: where the network is wrong, its map explains the
# mistake.

# %% [markdown]
# ## Look at any image
#
# Look at the test images of your network. Class 0 and class 1 are the two kinds of shoes. The left panel shows the
# image and the gradient of the margin. The middle panel shows the certified distance to each other class. The right
# panel shows the certified accuracy for each distance. Order the images by radius and look at the first ones: would you
# have known their class? (The button *Start* attacks the image.)

# %%
explorer = CertificateExplorer(lipschitz, x_test, y_test, class_names=names)
explorer

# %%
explorer.state = {"image": 0, "order": "radius", "epsilon": 0.5}
course.say(explorer.statement(explorer.data))
explorer.state = {"image": len(x_test) - 1}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.is_certified
explorer.reset()

# %% [markdown]
# ## More exercises
#
# ### Exercise 3: change

# %% [markdown] question="explanations.relu"
# Change the lesson: in the 1-Lipschitz network put `keras.layers.ReLU()` in the place of every `GroupSort2()`, train it
# as before, and print the norms of its gradients on the test images with `measure.input_gradient_norms(model, x_test)`.
# What has become of them?
#
# Expected: one of "a" (all of them are still within 0.001 of 1), "b" (none is above 1, and more than half are below
# 0.995), "c" (some are above 1), "d" (all of them are 0).

# %%
from lipviz import course

answer = ...

course.check("explanations.relu", answer)

# %% [markdown]
# ### Exercise 4: build

# %% [markdown] question="explanations.walk"
# Write `walk(x, score, gradient, goal)`, one step of the walk of this lesson. `x` and `gradient` are arrays of the same
# shape (n, …), `score` has shape (n,), `goal` is a number. Move each sample along its own gradient, to where its score
# would be `goal` if the score were affine. A sample whose gradient is zero stays where it is. Return a new array of the
# shape of `x`, exact to 1e-8.
#
# Expected: a function that is called as `walk(x, score, gradient, goal)`.

# %%
import numpy as np

from lipviz import course


def walk(x, score, gradient, goal):
    return ...


course.check("explanations.walk", walk)

# %% [markdown]
# ## What you have seen
#
# * No gradient of a 1-Lipschitz network is longer than 1. With orthogonal layers and sorts, none is shorter either.
# * So its score is nearly a distance: a step of length $|f(x)|$ along the gradient ends at the boundary, where the
#   certificate says that it may end at the earliest.
# * Its gradients point to the other class. The change of a counterfactual is a shape that people recognize.
# * A map that looks like noise need not be noise: that of the ordinary network is stable as well. It shows truly how
#   that network decides.

# %% [markdown]
# ## Where to go next
#
# * Lesson 06 is about the Wasserstein distance, whose best potential has such gradients. Lesson 07 is about the price
#   in accuracy, lesson 08 about certificates.
#
# ## References
#
# * M. Serrurier, F. Mamalet, T. Fel, L. Béthune, T. Boissin: *On the explainable properties of 1-Lipschitz neural
#   networks: an optimal transport perspective*, NeurIPS 2023.
# * L. Béthune et al.: *Pay attention to your loss: understanding misconceptions about 1-Lipschitz neural networks*,
#   NeurIPS 2022.
# * K. Simonyan, A. Vedaldi, A. Zisserman: *Deep inside convolutional networks: visualising image classification models
#   and saliency maps*, ICLR workshop 2014.
# * S.-M. Moosavi-Dezfooli, A. Fawzi, P. Frossard: *DeepFool: a simple and accurate method to fool deep neural
#   networks*, CVPR 2016.

# %% [markdown] tags=["way"]
# ← [08 Certify Fashion-MNIST](08_certify_fashion.py) · [All lessons](index.py) · [10 Export and
# serve](10_export_and_serve.py) →
