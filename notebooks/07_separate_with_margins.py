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
#     needs: a little Keras; 00 and 06 help
#     title: 'Separate with margins: a classifier that keeps its distance'
# ---

# %% [markdown]
# # Separate with margins: a classifier that keeps its distance
#
# **You will learn** how to train a classifier whose output is a certified *distance* to the other class for each single
# point, which two goals the loss HKR balances, and what each of them does alone.
#
# **You need** a little Keras. A network is **1-Lipschitz** when its output never changes by more than its input does:
# $|f(x) - f(y)| \le \|x - y\|$ for all $x$ and $y$. Lesson 00 builds one, lesson 06 estimates a distance with one.
#
# **It takes** about a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** The lessons before this one built 1-Lipschitz networks and measured with them; from now on these
# networks decide.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F07_separate_with_margins.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/07_separate_with_margins.ipynb
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
# ← [06 Estimate a distance](06_estimate_a_distance.py) · [All lessons](index.py) · [08 Certify
# Fashion-MNIST](08_certify_fashion.py) →

# %%
import logging
import math

import keras
import numpy as np

import lipviz
from lipviz import course, data, measure, plots, toys
from lipviz.explorers import WassersteinExplorer
from lipviz.losses import HKR

keras.utils.set_random_seed(0)
logging.getLogger("tensorflow").setLevel("ERROR")  # it warns of many small models, which are what we are here for

# %% nbmake={"mock": {"STEPS": 120}}
STEPS = 600
EXPLORED = 80

# %% [markdown]
# ## What is a margin?
#
# There are two classes and one output $f$. The sign of $f(x)$ decides. If $f$ is 1-Lipschitz, then $|f(x)|$ is more
# than a score. A change of class needs an output that reaches 0. For that the *input* has to move by at least $|f(x)|$.
# So $|f(x)|$ is a **certified radius**: no change of $x$ that is shorter alters the decision.
#
# The loss **HKR** asks for two things at once. With labels $\pm 1$:
#
# $$\text{HKR} \;=\; -\underbrace{\bigl(\operatorname{mean}_{+} f - \operatorname{mean}_{-} f\bigr)}_{\text{KR}}
# \;+\; \alpha\,\underbrace{\operatorname{mean}\,\max\bigl(0,\; \tfrac{m}{2} \mp f\bigr)}_{\text{hinge}}$$
#
# * **KR** (for Kantorovich and Rubinstein) is the difference of the mean outputs of the two classes. It moves the
#   classes apart, on average.
# * The **hinge** adds a penalty for each point whose output is not at least $m/2$ on the correct side of 0. $m$ is the
#   margin that we ask for, `min_margin`.
#
# $\alpha$ is the weight of the hinge. HKR stands for hinge-regularized Kantorovich-Rubinstein.
#
# The data are two moons with a thousand points. A quarter of them are kept for testing.

# %%
(x, y), (x_test, y_test) = data.two_moons(1000, test_fraction=0.25, seed=0)

settings = {"width": 64, "depth": 3, "steps": STEPS, "learning_rate": 0.03}
model = toys.toy_classifier(x, y, loss=HKR(alpha=10, min_margin=0.29), **settings)
accuracy = np.mean((np.asarray(model(x_test))[:, 0] > 0) == (y_test == 1))
print(f"test accuracy: {accuracy:.3f}")
assert accuracy >= 0.93

# %% [markdown]
# (The accuracy depends on the points that are drawn. With ten draws it was .969 on average, and .952 at least. A share
# of .969 among 250 points has a standard deviation of .011, so the cell allows for three of these below the mean.)
#
# ## See the margins
#
# `certify` proves an upper bound of the network's **Lipschitz constant**, the largest factor by which it stretches a
# distance. With it, `decision_field` certifies a disc around each of fifty test points. Look at the black line, where
# $f = 0$. Does any disc cross it?

# %%
certificate = lipviz.certify(model, search=False)
few, few_classes = x_test[:50], y_test[:50]
bound = certificate.upper_bound
field = measure.decision_field(model, x=few, y=few_classes, constant=bound, name="HKR, α = 10")
print(f"proved Lipschitz constant: at most {bound:.6f}")
plots.picture(
    plots.plot_decision_field(field),
    plots.alt_text(field),
    caption="The colour is the output f. The level lines are evenly spaced, as on a map of distances to the boundary.",
)

# %% [markdown]
# In the picture no disc crosses it. A picture shows only what can be seen, so test it with numbers: move each of these
# points in 500 random directions, by 99.9 % of its radius.

# %% [markdown] question="margins.moves"
# **Predict.** Now 500 moves in random directions, each just shorter than the certified radius, try to change the
# decision of each point. How many of these thousands of moves succeed, in per cent?

# %%
rng = np.random.default_rng(0)
angles = rng.uniform(0, 2 * np.pi, (500, 1))
directions = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
pushed = few[:, None] + 0.999 * field.radii[:, None, None] * directions
signs = np.asarray(model(pushed.reshape(-1, 2)))[:, 0].reshape(len(few), -1) > 0
certified = field.radii > 1e-6
altered = signs[certified] != (few_classes[certified] == 1)[:, None]
found = f"{certified.sum()} of {len(few)} points have a disc; median radius {np.median(field.radii):.3f}"
course.predict("margins.moves", truth=100 * altered.mean(), reveal=found)

# %%
assert not altered.any()  # no move inside of a disc changes the decision

# %% [markdown]
# (A point that is classified wrongly has no disc, because there is nothing to certify about a wrong answer.)
#
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="margins.radius"
# Predict: a classifier with one output, whose sign decides, is 4-Lipschitz. For one point its output is -1.2, which is
# the right sign. Within which radius is the decision certain not to change?
#
# Expected: a number, exact to ±0.005.

# %%
from lipviz import course

answer = ...

course.check("margins.radius", answer)

# %% [markdown]
# ## Which part of the loss does the work?
#
# Try the two extremes. KR alone ($\alpha = 0$) makes the difference of the mean outputs as large as a 1-Lipschitz
# function can. The other extreme is the hinge alone ($\alpha = \infty$).

# %% [markdown] question="margins.extremes"
# **Predict.** Which network classifies better: the one that only makes the *distance* between the classes large (KR
# alone), or the one that does not use this distance at all (the hinge alone)?

# %%
accuracies, distances, medians, fields, rows = [], [], [], [], []
for name, alpha in {"KR alone": 0.0, "HKR, α = 10": 10.0, "hinge alone": math.inf}.items():
    trained = model
    if alpha != 10:
        loss = HKR(alpha=alpha, min_margin=0.29)
        trained = toys.toy_classifier(x, y, loss=loss, **settings)
    outputs = np.asarray(trained(x_test))[:, 0]
    right = (outputs > 0) == (y_test == 1)
    accuracies.append(right.mean())
    distances.append(outputs[y_test == 1].mean() - outputs[y_test == 0].mean())
    medians.append(np.median(np.abs(outputs) * right))  # a wrong decision has the radius 0
    rows.append(f"{name:11s} accuracy {accuracies[-1]:.3f}   KR {distances[-1]:.3f}   median radius {medians[-1]:.3f}")
    bound = lipviz.certify(trained, search=False).upper_bound
    fields.append(measure.decision_field(trained, x=few, y=few_classes, constant=bound, name=name))
    if alpha == 0:
        best = max(np.mean((outputs > threshold) == (y_test == 1)) for threshold in outputs)

picture = plots.picture(
    plots.plot_decision_fields(fields),
    " ".join(map(plots.alt_text, fields)),
    caption="From left to right, the boundary bends more and more. The hinge alone leaves small discs.",
)
rows.append(f"KR alone, with the best threshold: {best:.3f}")
course.predict("margins.extremes", reveal=["\n".join(rows), picture])

# %%
assert accuracies[0] < best + 1e-9 < 0.92
assert accuracies[0] < accuracies[1] <= accuracies[2] + 0.01
assert distances[0] > distances[1] > distances[2]
assert medians[1] > max(medians[0], medians[2])

# %% [markdown]
# Why? KR is a mean. Suppose that an output far on the correct side moves further by 0.1. This counts as much as an
# output on the wrong side that moves back by 0.1. And the slope is limited: $f$ may not be steeper than 1. So KR makes
# $f$ steep where most points gain from it, along the straight line from one moon to the other. The tips of the moons
# lie on the wrong side of any straight boundary, and KR accepts that. (KR also ignores constants: $f + 5$ has the same
# KR as $f$. So nothing puts the boundary at 0.)
#
# The hinge alone has the opposite fault. It has no penalty for an output beyond $m/2$, so the training does not make
# the discs any larger. HKR has nearly the accuracy of the hinge, and the largest median radius of the three. (KR alone
# has larger discs, but only where it is right.) With $\alpha$ you choose between the two: the larger $\alpha$, the more
# the points at the tips count.

# %% [markdown]
# ### Exercise 2: predict

# %% [markdown] question="margins.loss"
# Predict: a network has the outputs 0.4 and -0.1 on two positive points, and -0.3 and 0.05 on two negative ones. What
# is its loss HKR with α = 10 and min_margin = 0.3?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("margins.loss", answer)

# %% [markdown]
# ### Exercise 3: change

# %% [markdown] question="margins.alpha"
# Change the lesson's experiment: train on the moons with `loss=HKR(alpha=100, min_margin=0.29)` and compare with α =
# 10. What happens to the test accuracy, and to the distance KR between the mean outputs?
#
# Expected: one of "a" (both rise), "b" (the accuracy rises, the distance falls), "c" (the accuracy falls, the distance
# rises), "d" (both fall).

# %%
from lipviz import course

answer = ...

course.check("margins.alpha", answer)

# %% [markdown]
# ## Circles
#
# The explorer below uses a second data set: an inner circle, which should be positive, and an outer circle, which
# should be negative. The gap between them is $0.5$. Press Start, and move α up from 0. Watch the last number below the
# picture, the share of points on the correct side of 0. Then open "More settings", and make the margin wider than the
# gap. What happens?

# %%
(inner_and_outer, ring), _ = data.circles(250)
explorer = WassersteinExplorer(inner_and_outer[ring == 1], inner_and_outer[ring == 0])
explorer

# %% [markdown]
# The next cell does the same by code: HKR with $\alpha = 10$ and a margin of 0.3.

# %%
explorer.state = {"alpha": 10.0, "min_margin": 0.3, "steps": EXPLORED, "arrows": False}
explorer.start()
explorer.wait(300)
explorer.stop()
course.say(explorer.statement(explorer.data))
print(f"points on their side of 0: {explorer.data.accuracy:.1%}")
assert explorer.error is None
assert explorer.data.accuracy >= 0.95
explorer.static()

# %% [markdown]
# The boundary surrounds the inner circle. On circles the best $f$ for KR is a function of the distance to the center,
# so its level lines are circles, and one of them separates the classes. The two goals agree here. A small $\alpha$ is
# enough, which only has to put the boundary at 0. Moons are the harder case.
#
# A margin of 2 asks for too much. All outputs are between ±1 then, so every point has a penalty, and the mean hinge is
# a constant minus half of KR. So the loss is KR alone again, and nothing puts the boundary at 0.
#
# ## Make the smallest disc larger
#
# In the playground, an ordinary and a constrained network learn the same points, and their discs move while they learn.
# It runs in your browser without the internet. In JupyterLab, open a terminal (File, New, Terminal) and type
# `lipviz playground`. On Binder or Colab, open the page "Playground" of the documentation instead.
#
# Choose the challenge "1. Larger discs" and press Play. The loss is a cross-entropy of the output times $\tau$, with
# $\tau = 1$. (Lesson 08 explains this **inverse temperature**.) Soon every point is on the correct side. But the
# smallest disc stays at a radius of about 0.11. Make it at least 0.15 without losing a point. Think before you try:
# which of $\tau$, the Lipschitz constant $k$ and the loss HKR helps, and why?
#
# Then drag a point towards the other class. Its disc shrinks in both networks. In which one is the disc nearly as large
# as the step that the attacker needs?

# %% [markdown]
# ## Write the loss yourself
#
# ### Exercise 4: build

# %% [markdown] question="margins.hkr"
# Write a function `hkr(outputs, labels, alpha, min_margin)` in NumPy that returns the loss HKR as one number: α times
# the hinge, minus KR. `outputs` is a float64 array of shape (n,), `labels` holds 0 and 1, each at least once, in any
# order and not equally often. It is checked to 1e-9. Change nothing in place.
#
# Expected: a function that is called as `hkr(outputs, labels, alpha, min_margin)`.

# %%
import numpy as np

from lipviz import course


def hkr(outputs, labels, alpha, min_margin):
    return ...


course.check("margins.hkr", hkr)

# %% [markdown]
# ## What you have seen
#
# * If $f$ is 1-Lipschitz and its sign decides, then $|f(x)|$ is a certified radius. It speaks of *all* moves, so that
#   no number of attempts can break it.
# * KR moves the classes apart on average. Alone, it gives up the points at the tips of the moons.
# * The hinge puts the points on their side of 0. Alone, it leaves small discs.
# * HKR has both terms, and its weight $\alpha$ chooses between accuracy and radius.

# %% [markdown]
# ## Where to go next
#
# * Lesson 08 certifies networks with many classes. The radius then contains a factor $\sqrt 2$.
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the loss of this lesson.
# * L. Béthune et al.: *Pay attention to your loss: understanding misconceptions about 1-Lipschitz neural networks*,
#   NeurIPS 2022: accuracy against robustness, and why a 1-Lipschitz network can have any decision boundary.
# * Y. Tsuzuku, I. Sato, M. Sugiyama: *Lipschitz-margin training*, NeurIPS 2018: margins as certificates.

# %% [markdown] tags=["way"]
# ← [06 Estimate a distance](06_estimate_a_distance.py) · [All lessons](index.py) · [08 Certify
# Fashion-MNIST](08_certify_fashion.py) →
