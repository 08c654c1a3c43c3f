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
#     needs: 00; singular values
#     title: 'Orthogonalize a kernel: how a layer gets its singular values'
# ---

# %% [markdown]
# # Orthogonalize a kernel: how a layer gets its singular values
#
# **You will learn** how a layer brings the largest singular value of its kernel to 1 and all others up to 1, how fast
# that converges, when it does not converge, and which of these statements are guarantees.
#
# **You need** lesson 00, matrices and their singular value decomposition.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** Lesson 01 built a network of layers whose singular values are all 1: this lesson makes such a
# layer.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F02_orthogonalize_a_kernel.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/02_orthogonalize_a_kernel.ipynb
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
# ← [01 Bound a network](01_bound_a_network.py) · [All lessons](index.py) · [03 Sort instead of
# cut](03_sort_instead_of_cut.py) →

# %%
import keras
import numpy as np

from lipviz import course, measure, operators, plots
from lipviz import normalizers as nm
from lipviz.explorers import BjorckExplorer
from lipviz.layers import SpectralDense

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Step 1: divide by the largest singular value
#
# The **kernel** $W$ of a dense layer is its matrix. Its largest singular value $\sigma_1$, the **spectral norm**, is
# the most that it stretches, so $W/\sigma_1$ is 1-Lipschitz. But a singular value decomposition at every training step
# is slow. The classic method is the **power iteration**: multiply a vector by $W^\top W$ again and again, and it turns
# towards the direction that is stretched most. `spectral_normalization` is exactly this method.

# %% [markdown] question="bjorck.estimate"
# **Predict.** Ten steps of the power iteration estimate σ₁ of a random 64 × 64 kernel, and the kernel is divided by the
# estimate. What is the largest singular value of the result?

# %%
rows = []
kernel = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
start = np.random.default_rng(1).standard_normal((1, 64)).astype("float32")
for steps in (1, 3, 10, 100):
    normalized, _, sigma = nm.spectral_normalization(kernel, start, maxiter=steps)
    largest = measure.singular_values(np.asarray(normalized)).largest
    true = np.linalg.norm(kernel, 2)
    rows.append(f"{steps:3d} steps: estimate {float(sigma[0, 0]):6.3f} of {true:.3f}, result {largest:.4f}")
course.predict("bjorck.estimate", reveal="\n".join(rows))

# %% [markdown]
# A layer cannot do a hundred steps at every training step. Its norm must be at most 1 after any number of steps, even
# after none. Otherwise, the network is not proved to be 1-Lipschitz, and certificates that assume it can be false.
#
# So lipviz does not divide by the estimate, but by a bound that is never too small. Split the space into the direction
# $v$ that the iteration has found, and all directions orthogonal to it. Let $B$ be $W^\top W$ restricted to the latter.
# Along $v$ the stretch is known. On the rest, the square of the largest stretch is the largest eigenvalue of $B$,
# $\lambda_1(B)$. Repeated squaring bounds it: $\lambda_1(B)^q \le \|B^q\|_F$, where the **Frobenius norm**
# $\|\cdot\|_F$ is the root of the sum of the squares of all entries. Both together give an upper bound of $\sigma_1$
# for every $v$. The bound equals $\sigma_1$ once the iteration has converged.

# %%
for steps in (0, 1, 10, 100):
    layer = SpectralDense(64, kernel_initializer=lambda shape, dtype: kernel, eps_bjorck=None, maxiter_spectral=steps)
    layer.build((None, 64))
    largest = measure.singular_values(layer).largest
    print(f"{steps:3d} steps: largest singular value {largest:.6f}")
    assert 0.95 < largest <= 1

# %% [markdown]
# ## Step 2: bring the others up
#
# After the division one singular value is 1, and the other sixty-three are smaller. Such a layer loses a large part of
# its input and of the gradient. A kernel whose singular values are all 1 loses nothing: it is **orthogonal**. A step of
# **Björck's iteration** makes the singular values larger, without any decomposition:
#
# $$W \leftarrow (1+\beta)\,W - \beta\,W W^\top W.$$
#
# It does not change the singular vectors. It maps every singular value $\sigma$ to
# $(1+\beta)\,\sigma - \beta\,\sigma^3$. So one curve shows the whole iteration: the value after a step against the
# value before it.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
figure = plots.new_figure()
ax = plots.style.prepared(
    figure.axes[0],
    title="One step of Björck",
    xlabel="singular value before the step (gain, no unit)",
    ylabel="after it (gain, no unit)",
)
before = np.linspace(0, 2.3, 400)
for beta, color, dashes in zip((0.5, 0.25, 0.05), plots.PALETTE, ("-", "--", ":"), strict=False):
    ax.plot(before, (1 + beta) * before - beta * before**3, dashes, color=color, label=f"β = {beta}")
ax.plot(before, before, color="0.6", linewidth=1, label="no change")
ax.set_ylim(-0.5, 2.3)
ax.legend(frameon=False, fontsize=8)
plots.picture(
    figure,
    "Singular value after a Björck step against the value before, for three β. All curves pass through 0 and 1, and "
    "lie above the diagonal in between. For β = 0.5 the curve is flat at 1, falls to 0 at 1.73 and below it after.",
    caption="Where a curve lies above the grey line, a step makes the singular value larger.",
)

# %% [markdown]
# Between 0 and 1 the curve lies above the diagonal, so every value grows. At 1 the curve meets the diagonal. For
# $\beta = 0.5$ it is flat there, which makes the convergence quadratic. The guarantee rests on another fact: for
# $\beta \le 0.5$ the interval $[0, 1]$ is mapped into itself. **A value that starts in $[0, 1]$ is never above 1 after
# any step.**

# %%
for beta in (0.05, 0.25, 0.5):
    after = (1 + beta) * before - beta * before**3
    assert after[before <= 1].max() <= 1 + 1e-12

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="bjorck.step"
# Predict: a matrix W has a singular value of 0.5. One Björck step with β = 0.5 replaces W by 1.5 W - 0.5 W Wᵀ W. What
# becomes of that singular value?
#
# Expected: a number, exact to ±0.001.

# %%
from lipviz import course

answer = ...

course.check("bjorck.step", answer)

# %% [markdown]
# ## Watch it converge
#
# Here is the whole iteration for a random kernel. It stops when a step is shorter than `eps_bjorck`, or after
# `maxiter_bjorck` steps: these are the two dash-dotted lines.

# %%
moderate = measure.bjorck_convergence(operators.random_kernel(64, 64, smallest=0.1))
plots.picture(
    plots.plot_bjorck_convergence(moderate),
    plots.alt_text(moderate),
    caption="The distance to an orthogonal matrix falls slowly at first, then very fast: the convergence is quadratic.",
)

# %%
lowest, highest = moderate.constrained.min(), moderate.constrained.max()
print(f"{moderate.iterations} iterations; singular values {lowest:.6f} to {highest:.6f}")
assert moderate.converged
assert highest <= 1
assert lowest > 1 - 1e-3

# %% [markdown]
# lipviz promises this at the default settings: if the smallest singular value of a raw kernel is at least a tenth of
# the largest, then all singular values of the result are within a thousandth of 1.

# %% [markdown]
# ### Exercise 2: predict

# %% [markdown] question="bjorck.iterations"
# How many Björck steps with β = 0.5 take a singular value of 0.1 to less than 0.001 from 1?
#
# Expected: a whole number.

# %%
from lipviz import course

answer = ...

course.check("bjorck.iterations", answer)

# %% [markdown]
# ## What eps does not promise
#
# A short step suggests that the iteration has arrived. Does it prove that?

# %% [markdown] question="bjorck.short"
# **Predict.** The iteration stops when a step is shorter than `eps_bjorck` = 0.001. Take the diagonal matrix with the
# singular values 1 and 0.0005. How far from orthogonal is the result? Guess the distance ‖I − WᵀW‖, which is 0 for an
# orthogonal matrix.

# %%
stubborn = measure.bjorck_convergence(np.diag([1.0, 0.0005]), eps_bjorck=1e-3)
found = f"stopped after {stubborn.iterations} iterations, converged: {stubborn.converged}"
course.predict("bjorck.short", truth=stubborn.orthogonality_error, reveal=found)

# %% [markdown]
# So "converged" only says that the last step was short. And a singular value of exactly 0 never grows:

# %%
assert stubborn.converged
assert stubborn.orthogonality_error > 0.9
rank_one = measure.bjorck_convergence(np.ones((8, 8)), eps_bjorck=1e-6, maxiter_bjorck=50)
print(np.round(rank_one.constrained, 6))
assert rank_one.constrained.max() <= 1
assert rank_one.constrained[1:].max() < 1e-3

# %% [markdown]
# ## Try the settings yourself
#
# First choose the picture "motion", and press Play. It shows a circle in the plane of the direction that the kernel
# stretches most and the one that it stretches least. The kernel flattens the circle to an ellipse, whose half-axes are
# these two singular values. Then each step of Björck makes the ellipse rounder, and in the right panel the smallest
# singular value climbs by the curve that you know.
#
# Then go back to the first picture, and try to answer these questions. How many iterations does a smallest singular
# value of 0.0001 need? How many more does β = 0.05 need? The explorer also has kernels of a network that was trained on
# digits: how large are their singular values?

# %%
explorer = BjorckExplorer()
explorer

# %%
explorer.state = {"smallest": 1e-3, "maxiter_bjorck": 30}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.converged

# %% [markdown]
# ### Exercise 3: find the edge

# %% [markdown] question="bjorck.diverge"
# Repeat the step σ → 1.5 σ - 0.5 σ³ (β = 0.5) from a start σ > 0. From small starts the values converge to +1. What is
# the smallest start σ > 0 from which they do not?
#
# Expected: a number, exact to ±0.005.

# %%
from lipviz import course

answer = ...

course.check("bjorck.diverge", answer)

# %% [markdown]
# ## One more exercise
#
# ### Exercise 4: build

# %% [markdown] question="bjorck.write"
# Write a function `bjorck(w, beta, iterations)` in NumPy that applies the step W ← (1 + β) W - β W Wᵀ W to a float64
# matrix `iterations` times, and returns the result. W has a spectral norm of 1 and may be tall or wide; do not change
# it in place. The result is compared to 1e-8 with what the singular value decomposition W = U S Vᵀ predicts: U Vᵀ after
# many steps.
#
# Expected: a function that is called as `bjorck(w, beta, iterations)`.

# %%
import numpy as np

from lipviz import course


def bjorck(w, beta, iterations):
    return ...


course.check("bjorck.write", bjorck)

# %% [markdown]
# ## What you have seen
#
# * A power iteration estimates the largest singular value from below, so a kernel divided by the estimate exceeds 1.
# * lipviz divides by a bound from above. So the norm is at most 1 after any number of steps: that is a guarantee.
# * Björck's iteration brings singular values up to 1, small ones slowly at first. None of them ever exceeds 1.
# * That all of them reach 1 is no guarantee: a short last step does not prove it, and a value of 0 stays 0.
#
# ## Where to go next
#
# Björck's iteration is one of several ways to make a kernel orthogonal. Lesson 13 compares it with others: what they
# make of the same kernel, what they cost, and what networks of them reach.
#
# ## References
#
# * Å. Björck, C. Bowie: *An iterative algorithm for computing the best estimate of an orthogonal matrix*, SIAM Journal
#   on Numerical Analysis, 1971.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019.
# * T. Miyato et al.: *Spectral normalization for generative adversarial networks*, ICLR 2018.
# * B. Delattre et al.: *Efficient bound of Lipschitz constant for convolutional layers by Gram iteration*, ICML 2023:
#   the bound by repeated squaring.

# %% [markdown] tags=["way"]
# ← [01 Bound a network](01_bound_a_network.py) · [All lessons](index.py) · [03 Sort instead of
# cut](03_sort_instead_of_cut.py) →
