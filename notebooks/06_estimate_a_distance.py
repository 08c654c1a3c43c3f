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
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 threadpoolctl>=3.1 "
        "adversarial-robustness-toolbox>=1.20 scikit-learn>=1.5 matplotlib>=3.11 ipywidgets>=8.1 "
        "anywidget>=0.9 rich>=13 voila>=0.5 tqdm>=4.66 pyyaml>=6"
    )
    subprocess.run([*install, *packages.split()], check=True)

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
# For a few hundred points it can be computed exactly: to match heaps with holes is a classic problem, which a linear
# program solves.

# %%
rng = np.random.default_rng(1)
heaps = rng.normal([0, 0], 0.5, (10, 2))
holes = rng.normal([2, 0.5], 0.7, (10, 2))
exact = measure.wasserstein_distance(heaps, holes)
print(f"a match at random: {np.linalg.norm(heaps - holes, axis=1).mean():.3f}")
print(f"the best match, W1: {exact.distance:.3f}")

# %%
figure = plots.new_figure()
ax = plots.style.prepared(
    figure.axes[0], title="Heaps and their holes", xlabel="x₀ (units of the input)", ylabel="x₁ (units of the input)"
)
for i, j in exact.pairs:
    ax.plot(*np.array([heaps[i], holes[j]]).T, color="0.6", linewidth=1)
ax.plot(*heaps.T, "o", color=plots.PALETTE[0], label="heaps")
ax.plot(*holes.T, "s", color=plots.PALETTE[1], label="holes")
ax.legend(frameon=False, fontsize=8)
plots.picture(
    figure,
    "Ten heaps on the left and ten holes on the right, joined in pairs by lines. No two lines cross.",
    caption="The best match. No two lines cross: if two did, swapping their ends would make their sum shorter.",
)

# %% [markdown]
# ## Can we know it without finding the match?
#
# There is a second way to compute the same number. Take any 1-Lipschitz function $f$, and compare its mean on the heaps
# with its mean on the holes. Whatever the match is, write the difference of the means pair by pair:
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
# A 1-Lipschitz function $f$ that is used in this way is called a **potential**. Plots below use this name, and so does
# `measure.potential_field`.
#
# Predict, before you run the cell: which of these three potentials comes closest to $W_1$?

# %%
guesses = {
    "f = distance from the origin": lambda p: np.linalg.norm(p, axis=1),
    "f = minus the second coordinate": lambda p: -p[:, 1],
    "f = minus the first coordinate": lambda p: -p[:, 0],
}
for name, f in guesses.items():
    estimate = f(heaps).mean() - f(holes).mean()
    print(f"{name:32s} {estimate:6.3f} of {exact.distance:.3f}")
    assert estimate <= exact.distance

# %% [markdown]
# The sand has to move to the right, so a function that decreases to the right is a good guess. The first guess gives a
# negative number. That is a useless bound, and it shows that $-f$ is a better guess.
#
# ## Let a network search
#
# In high dimension it is hard to guess $f$. A 1-Lipschitz network can search for it: train it so that the difference of
# the means becomes large. `HKR(alpha=0)` is the negative of this difference, since training makes a loss small. (KR
# stands for Kantorovich and Rubinstein. H stands for a hinge, which lesson 07 adds. `alpha` is its weight.)
#
# First we use images for which the distance is known. They have 64 × 64 pixels. One class is all black, the other is
# black with a white square of side 35.
#
# Predict: how far apart are the two classes, in Euclidean distance between images? (There are 35 · 35 white pixels.)

# %%
(x_train, y_train), (x_test, y_test) = data.squares()
print(f"{len(x_train)} images of {x_train.shape[1:]}, from {x_train.min():.0f} to {x_train.max():.0f}")
print(f"from a black one to a white square: {np.linalg.norm(x_test[y_test == 1][0] - x_test[y_test == 0][0]):.4f}")

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
#
# ## What does it learn?
#
# In the plane we can look at $f$. Take a cloud of points, and the same cloud moved by a distance of 2. For every cloud,
# it costs exactly $\|v\|$ to move all of it by $v$: here 2.
#
# The explorer trains a network on two clouds while you watch. Choose "a cloud, and the same moved", and press Start.

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
print(explorer.statement(explorer.data))
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
# ## Try to push it too high
#
# When a training goes wrong, its result is usually wrong too. Let us train *badly*, at a learning rate of 3, which is
# three hundred times the usual rate of Adam. Then let us train the same network without its constraint, at a sensible
# rate.
#
# Predict: which of the two estimates ends above the exact distance?

# %%
reckless = toys.kr_training(upper, lower, steps=100, learning_rate=3.0, exact=moons.exact)
free = toys.toy_network(width=32, depth=2, constrained=False)
unconstrained = toys.kr_training(upper, lower, free, steps=100, exact=moons.exact)
print(f"exact distance:                {moons.exact:.3f}")
print(f"reckless, but 1-Lipschitz:     {reckless.estimates[-1]:.3f}, at no step above {reckless.estimates.max():.3f}")
print(f"sensible, but unconstrained:   {unconstrained.estimates[-1]:.0f}")
assert reckless.estimates.max() <= moons.exact * (1 + 1e-5)
assert unconstrained.estimates[-1] > 10 * moons.exact

# %% [markdown]
# **Surprise**: no training, however bad, brings the estimate of the 1-Lipschitz network above the exact distance. The
# inequality above prevents it, and that holds at every step, for all weights. The unconstrained network can become
# steeper and steeper. Its "estimate" grows as long as you train, and measures nothing.
#
# So each estimate of a 1-Lipschitz network is a guaranteed **lower bound**. Of two estimates the larger one is always
# better, and you may stop the training at any time.
#
# ## Exercises
#
# Replace the `...`. After a wrong answer you get a hint, and can try again.
#
# ### Exercise 1: predict

# %%
course.exercise("wasserstein.squares")

# %%
answer = ...

course.check("wasserstein.squares", answer)

# %% [markdown]
# ### Exercise 2: change

# %%
course.exercise("wasserstein.steep")

# %%
answer = ...

course.check("wasserstein.steep", answer)

# %% [markdown]
# ### Exercise 3: change

# %%
course.exercise("wasserstein.relu")

# %%
answer = ...

course.check("wasserstein.relu", answer)

# %% [markdown]
# ### Exercise 4: find out

# %%
course.exercise("wasserstein.sample")

# %%
answer = ...

course.check("wasserstein.sample", answer)

# %% [markdown]
# ### Exercise 5: build

# %%
course.exercise("wasserstein.line")


# %%
def distance_on_a_line(x, y):
    return ...


course.check("wasserstein.line", distance_on_a_line)

# %% [markdown]
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
