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
#     needs: a little Keras; 00 helps
#     title: 'Estimate a distance: how far apart are two clouds?'
# ---

# %% [markdown]
# # Estimate a distance: how far apart are two clouds?
#
# **You will learn** what the Wasserstein distance between two sets of points is, how a 1-Lipschitz network estimates
# it, and why its estimate is never too large, however badly the network was trained.
#
# **You need** a little Keras, and the idea of a mean. A network is **1-Lipschitz** when its output never changes by
# more than its input does: $|f(x) - f(y)| \le \|x - y\|$ for all $x$ and $y$. Lesson 00 builds one.
#
# **It takes** about a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** The lessons before built 1-Lipschitz networks: this one uses them as a measuring tool.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F06_estimate_a_distance.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/06_estimate_a_distance.ipynb
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
# ← [05 Keep the gradient](05_keep_the_gradient.py) · [All lessons](index.py) · [07 Separate with
# margins](07_separate_with_margins.py) →

# %%
import keras
import numpy as np

from lipviz import Sequential, course, data, measure, plots, toys
from lipviz.explorers import WassersteinExplorer
from lipviz.layers import GroupSort2, SpectralDense
from lipviz.losses import HKR

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 5, "STEPS": 100, "EXPLORED": 50}}
EPOCHS = 10
STEPS = 300
EXPLORED = 80

# %% [markdown]
# ## How much does it cost to move heaps of sand?
#
# There are ten heaps of sand and ten holes, all of the same size. Every heap has to be moved into a hole of its own.
# The cost is the mean distance that the sand travels, and it depends on which heap goes into which hole. The cheapest
# choice is the **optimal transport**. Its cost is the **Wasserstein-1 distance**, $W_1$ for short.
#
# For a few hundred points it can be computed exactly: to match heaps with holes is a classic problem, the *assignment
# problem*, and there are fast methods for it. Below, $x$ stands for heaps and has squares in all pictures, $y$ stands
# for holes and has circles.

# %%
rng = np.random.default_rng(1)
heaps = rng.normal([0, 0], 0.5, (10, 2))
holes = rng.normal([2, 0.5], 0.7, (10, 2))
exact = measure.wasserstein_distance(heaps, holes)
print(f"a match at random: {np.linalg.norm(heaps - holes, axis=1).mean():.3f}")
print(f"the best match, W1: {exact.distance:.3f}")

# %% jupyter={"source_hidden": true} tags=["hide-input"]
figure = plots.new_figure()
ax = plots.style.prepared(
    figure.axes[0], title="Heaps and their holes", xlabel="x₀ (units of the input)", ylabel="x₁ (units of the input)"
)
for i, j in exact.pairs:
    ax.annotate("", holes[j], heaps[i], arrowprops={"arrowstyle": "->", "color": "0.4", "shrinkA": 4, "shrinkB": 4})
ax.plot(*heaps.T, "s", color=plots.PALETTE[1], label="heaps, x")  # the look of x in all plots of this lesson
ax.plot(*holes.T, "o", color=plots.PALETTE[0], label="holes, y")
ax.legend(frameon=False, fontsize=8)
plots.picture(
    figure,
    "Ten heaps, x, on the left and ten holes, y, on the right. An arrow leads from each heap to a hole. No two cross.",
    caption="The best match. No two arrows cross: if two did, swapping their ends would make their sum shorter.",
)

# %% [markdown]
# ## Can we know it without finding the match?
#
# There is a second way to compute the same number. Take any 1-Lipschitz function $f$, and compare its mean on the heaps
# with its mean on the holes. Write $x_i$ for the places of the heaps, and $y_i$ for those of their holes. Whatever the
# match is, take the difference of the means pair by pair:
#
# $$\operatorname{mean} f(x) - \operatorname{mean} f(y) \;=\; \operatorname{mean}\,\bigl(f(x_i) - f(y_i)\bigr)
# \;\le\; \operatorname{mean}\,\|x_i - y_i\|.$$
#
# The right side is the cost of the match. This holds for the best match as well, so **every 1-Lipschitz function
# gives a number that is at most** $W_1$. Kantorovich and Rubinstein proved that the best of these functions reaches
# it:
#
# $$W_1 \;=\; \max_{f\ \text{1-Lipschitz}} \; \operatorname{mean} f(x) - \operatorname{mean} f(y).$$
#
# A 1-Lipschitz function $f$ that is used in this way is called a **potential**, as in physics: think of the height of a
# hill, down which the sand slides from $x$ to $y$. Plots below use this name, and so does `measure.potential_field`.

# %% [markdown] question="wasserstein.potential"
# **Predict.** Which of these three 1-Lipschitz functions comes closest to W₁?

# %%
rows, found = [], []
guesses = {
    "f = distance from the origin": lambda p: np.linalg.norm(p, axis=1),
    "f = minus the second coordinate": lambda p: -p[:, 1],
    "f = minus the first coordinate": lambda p: -p[:, 0],
}
for name, f in guesses.items():
    found.append(f(heaps).mean() - f(holes).mean())
    rows.append(f"{name:32s} {found[-1]:6.3f} of {exact.distance:.3f}")
course.predict("wasserstein.potential", reveal="\n".join(rows))

# %%
assert max(found) <= exact.distance

# %% [markdown]
# Where a guess gives a negative number, that is a useless bound, and it shows that $-f$ is a better guess.
#
# ## Let a network search
#
# In high dimension it is hard to guess $f$. A 1-Lipschitz network can search for it: train it so that the difference of
# the means becomes large. `HKR(alpha=0)` is the negative of this difference, since training makes a loss small. (KR
# stands for Kantorovich and Rubinstein. H stands for a hinge, which lesson 07 adds. `alpha` is its weight.)
#
# First we use images for which the distance is known. They have 64 × 64 pixels. One class is all black, the other is
# black with a white square of side 35.

# %% [markdown] question="wasserstein.distance"
# **Predict.** How far apart are the two classes, in Euclidean distance between images? A white square has 35 · 35
# pixels of the value 1, where a black image has the value 0.

# %%
(x_train, y_train), (x_test, y_test) = data.squares()
print(f"{len(x_train)} images of {x_train.shape[1:]}, from {x_train.min():.0f} to {x_train.max():.0f}")
apart = float(np.linalg.norm(x_test[y_test == 1][0] - x_test[y_test == 0][0]))
course.predict("wasserstein.distance", truth=apart, reveal=f"from a black one to a white square: {apart:.4f}")

# %%
from tqdm.keras import TqdmCallback

model = Sequential(
    [keras.Input((64, 64, 1)), keras.layers.Flatten(), SpectralDense(64), GroupSort2(), SpectralDense(1)],
    name="squares",
)
model.compile(keras.optimizers.Adam(0.01), loss=HKR(alpha=0))
model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[TqdmCallback(verbose=0)])
outputs = np.asarray(model(x_test, training=False))[:, 0]
estimate = outputs[y_test == 1].mean() - outputs[y_test == 0].mean()
print(f"estimate of the network: {estimate:.3f}, truth: 35")
assert abs(estimate - 35) <= 0.005 * 35  # within half a percent
assert estimate <= 35 * (1 + 1e-5)  # and not above, but for the rounding of float32

# %% [markdown]
# The network has 262,000 weights, and knows nothing of squares before the training. It has found the one direction in
# 4096 dimensions along which the two classes differ, and it grows along this direction with slope 1.

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="wasserstein.squares"
# Predict: half of the images are black, 64 × 64 pixels of value 0. The others show one square of 20 × 20 pixels of
# value 0.5 on black. What is the Wasserstein-1 distance between the two classes, for the Euclidean distance between
# images?
#
# Expected: a number, exact to ±0.01.

# %%
from lipviz import course

answer = ...

course.check("wasserstein.squares", answer)

# %% [markdown]
# ## What does it learn?
#
# In the plane we can look at $f$. Take a cloud of points, and the same cloud moved by a distance of 2. For every cloud,
# it costs exactly $\|v\|$ to move all of it by $v$: here 2.
#
# The explorer trains a network on two clouds while you watch. Choose "a cloud, and the same moved", and press Start.
# Then choose the picture "motion": it moves the sand, and compares what that costs with what $f$ says.

# %%
explorer = WassersteinExplorer()
explorer

# %% [markdown]
# The next cell does the same by code. In its left panel, look at the level lines of $f$, and at the arrows of the
# exact optimal transport. At which angle do they meet? And how far apart are two neighbouring lines?

# %%
explorer.state = {"clouds": "shifted", "distance": 2.0, "steps": EXPLORED}
explorer.start()
explorer.wait(300)
explorer.stop()
course.say(explorer.statement(explorer.data))
assert explorer.error is None
explorer.static()

# %%
learned = explorer.data.training
assert abs(learned.exact - 2) < 1e-9
assert 0.9 * learned.exact < learned.estimates[-1] <= learned.exact * (1 + 1e-5)

# %% [markdown]
# They meet at right angles, and the distance between two lines equals the difference of their values: $f$ decreases
# along the arrows with slope 1. There is a reason. The estimate equals $W_1$ only if $f(x_i) - f(y_i) = \|x_i - y_i\|$
# for *every* pair of the transport. So the best $f$ must have the largest slope that it may have, 1, along the whole
# line from $x_i$ to $y_i$.
#
# ## Two moons
#
# For two moons there is no simple formula. There are 400 points, 200 on each moon. The best match of 200 points with
# 200 points gives the exact distance.

# %%
(x, y), _ = data.two_moons(500)
upper, lower = x[y == 0], x[y == 1]
moons_network = toys.toy_network(width=32, depth=2)
moons = toys.kr_training(upper, lower, moons_network, steps=STEPS, learning_rate=0.02, name="network")
transport = measure.wasserstein_distance(upper, lower)
potential = measure.potential_field(moons_network, upper, lower, name="two moons")
plots.picture(
    plots.plot_potential(potential, transport=transport),
    plots.alt_text(potential),
    caption="The level lines are nearly straight, and cross both moons.",
)

# %%
plots.picture(
    plots.plot_wasserstein_training(moons),
    plots.alt_text(moons),
    caption="The estimate grows towards the exact distance, quickly at first, and never exceeds it.",
)

# %%
print(f"exact: {moons.exact:.4f}, estimate: {moons.estimates[-1]:.4f}, or {moons.reached:.1%} of it")
assert len(upper) == len(lower) == 200
assert moons.estimates[-1] >= 0.95 * moons.exact
assert moons.estimates[-1] <= moons.exact * (1 + 1e-6)

# %% [markdown]
# ### Exercise 2: change

# %% [markdown] question="wasserstein.steep"
# Change the experiment with the moons: allow the network a slope of 5/2, by another `k` in the second line of the cell.
# By which factor does that make its last estimate larger? Predict it before you run it, then answer with the quotient
# that you get.
#
# Expected: a number, exact to ±0.15.

# %%
from lipviz import data, toys

(x, y), _ = data.two_moons(500)
flat = toys.kr_training(x[y == 0], x[y == 1], k=1, steps=100, learning_rate=0.02)
steep = toys.kr_training(x[y == 0], x[y == 1], k=1, steps=100, learning_rate=0.02)  # change k here
print(f"the second estimate divided by the first: {steep.estimates[-1] / flat.estimates[-1]:.3f}")

# %%
from lipviz import course

answer = ...

course.check("wasserstein.steep", answer)

# %% [markdown]
# ## Try to push it too high
#
# When a training goes wrong, its result is usually wrong too. Let us train *badly*, at a learning rate of 3, which is
# three hundred times the usual rate of Adam. Then let us train the same network without its constraint, at a sensible
# rate.

# %% [markdown] question="wasserstein.reckless"
# **Predict.** Which of the two estimates ends above the exact distance?

# %%
reckless = toys.kr_training(upper, lower, steps=100, learning_rate=3.0, exact=moons.exact)
free = toys.toy_network(width=32, depth=2, constrained=False)
unconstrained = toys.kr_training(upper, lower, free, steps=100, exact=moons.exact)
rows = [
    f"exact distance:                {moons.exact:.3f}",
    f"reckless, but 1-Lipschitz:     {reckless.estimates[-1]:.3f}, at no step above {reckless.estimates.max():.3f}",
    f"sensible, but unconstrained:   {unconstrained.estimates[-1]:.0f}",
]
course.predict("wasserstein.reckless", reveal="\n".join(rows))

# %%
assert reckless.estimates.max() <= moons.exact * (1 + 1e-5)
assert unconstrained.estimates[-1] > 10 * moons.exact

# %% [markdown]
# Each estimate of a 1-Lipschitz network is a guaranteed **lower bound**. Of two estimates the larger one is always
# better, and you may stop the training at any time. But how close it comes depends on the network:

# %% [markdown]
# ### Exercise 3: change

# %% [markdown] question="wasserstein.relu"
# Change the clouds and the network: two circles, the outer one high and the inner one low, and ReLU in place of
# GroupSort2. `(x, y), _ = data.circles(400)`, then `toys.kr_training(x[y == 0], x[y == 1], activation="relu",
# steps=300).reached`, and the same with `activation="groupsort2"`. Which share of the exact distance does the network
# with ReLU reach?
#
# Expected: one of "a" (95 % or more, as GroupSort2 does), "b" (about half), "c" (almost nothing), "d" (more than 100
# %).

# %%
from lipviz import course, data, toys

answer = ...

course.check("wasserstein.relu", answer)

# %% [markdown]
# ## More exercises
#
# ### Exercise 4: find out

# %% [markdown] question="wasserstein.sample"
# Find out: draw two clouds of n points from the *same* distribution, `rng.standard_normal((n, 2))` twice with `rng =
# np.random.default_rng(0)`, and compute their exact distance, `measure.wasserstein_distance(first, second).distance`,
# for n = 50, 200 and 800. What do you find?
#
# Expected: one of "a" (0, but for rounding: both clouds have the same distribution), "b" (a positive number that
# becomes smaller with n), "c" (about the same positive number for each n), "d" (a positive number that grows with n).

# %%
import numpy as np

from lipviz import course, measure

answer = ...

course.check("wasserstein.sample", answer)

# %% [markdown]
# ### Exercise 5: build

# %% [markdown] question="wasserstein.line"
# Write a function `distance_on_a_line(x, y)` in NumPy that returns the Wasserstein-1 distance between two clouds on a
# line: float64 arrays x and y of the same length n, all points of equal weight, in no particular order. Do not change
# them in place. It is checked to 1e-9.
#
# Expected: a function that is called as `distance_on_a_line(x, y)`.

# %%
import numpy as np

from lipviz import course


def distance_on_a_line(x, y):
    return ...


course.check("wasserstein.line", distance_on_a_line)

# %% [markdown]
# ## What you have seen
#
# * The Wasserstein distance $W_1$ is the cost of the cheapest way to move one cloud of points to the other.
# * Each 1-Lipschitz function gives a lower bound of it, and the best one reaches it: that is a theorem.
# * A 1-Lipschitz network searches for the best function. Its estimate is never too large, however badly it is trained.
# * Without the constraint, the estimate grows without limit, and measures nothing.
#
# ## Where to go next
#
# * Lesson 07 uses such an $f$ as a classifier, and shows that the distance alone makes a poor one.
# * C. Villani: *Optimal Transport: Old and New*, Springer, 2009: the theory, with the duality as theorem 5.10.
# * G. Peyré, M. Cuturi: *Computational Optimal Transport*, Foundations and Trends in Machine Learning, 2019: how to
#   compute it.
# * M. Arjovsky, S. Chintala, L. Bottou: *Wasserstein generative adversarial networks*, ICML 2017: the estimate as a
#   critic of generated images.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019: why ReLU falls short, and
#   estimates of distances with GroupSort.

# %% [markdown] tags=["way"]
# ← [05 Keep the gradient](05_keep_the_gradient.py) · [All lessons](index.py) · [07 Separate with
# margins](07_separate_with_margins.py) →
