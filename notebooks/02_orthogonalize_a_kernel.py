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
#     title: 'Orthogonalize a kernel: how a layer gets its singular values'
# ---

# %% [markdown]
# # Orthogonalize a kernel: how a layer gets its singular values
#
# **You will learn** how a kernel is brought to a largest singular value of 1, and all others up to it; how fast that
# converges, when it does not, and which of these statements are guarantees.
#
# **You need** lesson 00, matrices and their singular value decomposition.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of yours.

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
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 adversarial-robustness-toolbox>=1.20 "
        "scikit-learn>=1.5 threadpoolctl>=3.1 matplotlib>=3.11 ipywidgets>=8.1 rich>=13 voila>=0.5 tqdm>=4.66"
        " pyyaml>=6"
    )
    subprocess.run([*install, *packages.split()], check=True)

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
# A kernel $W$ stretches by at most $\sigma_1$, so $W/\sigma_1$ is 1-Lipschitz. But a decomposition at every training
# step is slow. The classic answer is a **power iteration**: multiply a vector by $W^\top W$ again and again, and it
# turns towards the direction that is stretched most. `spectral_normalization` is that recipe, to the letter:

# %%
kernel = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
start = np.random.default_rng(1).standard_normal((1, 64)).astype("float32")
for steps in (1, 3, 10, 100):
    normalized, _, sigma = nm.spectral_normalization(kernel, start, maxiter=steps)
    largest = measure.singular_values(np.asarray(normalized)).largest
    true = np.linalg.norm(kernel, 2)
    print(f"{steps:3d} steps: estimate {float(sigma[0, 0]):6.3f} of {true:.3f}, result {largest:.4f}")

# %% [markdown]
# **Surprise**: the result is *above* 1. A power iteration comes from below, so that dividing by its estimate always
# leaves a little too much. A network of ten such layers is not 1-Lipschitz, and its certificates are not true.
#
# lipviz divides by a bound from *above* instead. Split the space into the direction $v$ that the iteration has found,
# and the rest. Along $v$ the stretch is known; over the rest it is bounded by repeated squaring,
# $\lambda_1(B)^q \le \|B^q\|_F$. Both together bound $\sigma_1$ whatever $v$ is, and meet it once $v$ has arrived.

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
# One singular value of 1 and sixty-three small ones: such a layer forgets most of its input, and most of the gradient.
# Björck's step mends that without any decomposition:
#
# $$W \leftarrow (1+\beta)\,W - \beta\,W W^\top W.$$
#
# It leaves the singular vectors alone, and sends every singular value $\sigma$ to
# $(1+\beta)\,\sigma - \beta\,\sigma^3$. So the whole matrix iteration can be seen on one curve: the value after a step
# against the value before.

# %%
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
# Between 0 and 1 the curve lies above the diagonal: every value climbs. At 1 it meets the diagonal, and for
# $\beta = 0.5$ it is flat there, which makes the convergence quadratic. And, what the guarantee rests on: for
# $\beta \le 0.5$ the interval $[0, 1]$ is mapped into itself. **Starting below 1, no step ever goes above it.**

# %%
for beta in (0.05, 0.25, 0.5):
    after = (1 + beta) * before - beta * before**3
    assert after[before <= 1].max() <= 1 + 1e-12

# %% [markdown]
# ## Watch it converge

# %%
moderate = measure.bjorck_convergence(operators.random_kernel(64, 64, smallest=0.1))
plots.picture(
    plots.plot_bjorck_convergence(moderate),
    plots.alt_text(moderate),
    caption="The distance to an orthogonal matrix falls slowly at first, then at a stroke: quadratic convergence.",
)

# %%
lowest, highest = moderate.constrained.min(), moderate.constrained.max()
print(f"{moderate.iterations} iterations; singular values {lowest:.6f} to {highest:.6f}")
assert moderate.converged
assert highest <= 1
assert lowest > 1 - 1e-3

# %% [markdown]
# That is what lipviz promises at the default settings: kernels whose smallest singular value is at least a tenth of
# the largest come out orthogonal, to a thousandth.
#
# ## What eps does not promise
#
# The iteration stops when a step is shorter than `eps_bjorck`. Now take a kernel that has one tiny singular value:

# %%
stubborn = measure.bjorck_convergence(np.diag([1.0, 0.0005]), eps_bjorck=1e-3)
print(f"stopped after {stubborn.iterations} iterations, converged: {stubborn.converged}")
print(f"‖I − WᵀW‖ = {stubborn.orthogonality_error:.3f}")
assert stubborn.converged
assert stubborn.orthogonality_error > 0.9

# %% [markdown]
# **Surprise**: it stopped because it was *slow*, not because it had arrived. A value of 0.0005 grows by half at every
# step, and half of almost nothing is below eps. The bound holds all the same, since no value is above 1; what is
# missing is orthogonality, and with a singular value of exactly 0 it never comes:

# %%
rank_one = measure.bjorck_convergence(np.ones((8, 8)), eps_bjorck=1e-6, maxiter_bjorck=50)
print(np.round(rank_one.constrained, 6))
assert rank_one.constrained.max() <= 1
assert rank_one.constrained[1:].max() < 1e-3

# %% [markdown]
# ## Turn the screws yourself
#
# Some things to try: how many iterations does a smallest σ of 0.0001 need? What does β = 0.05 cost? Where do the
# kernels of a network that was trained on digits lie?

# %%
explorer = BjorckExplorer()
explorer

# %%
explorer.state = {"smallest": 1e-3, "maxiter_bjorck": 30}
print(explorer.statement(explorer.data))
assert explorer.error is None
assert explorer.data.converged

# %% [markdown]
# ## Exercises
#
# Replace the `...`. A wrong answer costs nothing and brings a hint.
#
# ### Exercise 1: predict

# %%
course.exercise("bjorck.step")

# %%
answer = ...

course.check("bjorck.step", answer)

# %% [markdown]
# ### Exercise 2: predict

# %%
course.exercise("bjorck.iterations")

# %%
answer = ...

course.check("bjorck.iterations", answer)

# %% [markdown]
# ### Exercise 3: find the edge

# %%
course.exercise("bjorck.diverge")

# %%
answer = ...

course.check("bjorck.diverge", answer)

# %% [markdown]
# ### Exercise 4: build

# %%
course.exercise("bjorck.write")


# %%
def bjorck(w, beta, iterations):
    return ...


course.check("bjorck.write", bjorck)

# %% [markdown]
# ## References
#
# * Å. Björck, C. Bowie: *An iterative algorithm for computing the best estimate of an orthogonal matrix*, SIAM Journal
#   on Numerical Analysis, 1971.
# * C. Anil, J. Lucas, R. Grosse: *Sorting out Lipschitz function approximation*, ICML 2019.
# * T. Miyato et al.: *Spectral normalization for generative adversarial networks*, ICLR 2018.
# * B. Delattre et al.: *Efficient bound of Lipschitz constant for convolutional layers by Gram iteration*, ICML 2023:
#   the bound by repeated squaring.
