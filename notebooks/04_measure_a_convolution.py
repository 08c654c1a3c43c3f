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
#     title: 'Measure a convolution: why the usual factor is not a bound'
# ---

# %% [markdown]
# # Measure a convolution: why the usual factor is not a bound
#
# **You will learn** what the norm of a convolution is, why it is not that of its kernel, why the factor that is in use
# to correct for that is too small, and three ways to a bound that holds.
#
# **You need** matrices, their singular values, and `Conv2D` of Keras. The **norm** of a linear map is the most that it
# stretches any input: its largest singular value. A layer is 1-Lipschitz if its norm is at most 1.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of yours.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F04_measure_a_convolution.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/04_measure_a_convolution.ipynb
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
from lipviz.explorers import ConvolutionExplorer
from lipviz.layers import SpectralConv2D

keras.utils.set_random_seed(0)

# %% [markdown]
# ## A convolution is a matrix
#
# A large one, with few different numbers in it. Take images of 5 × 5 pixels and a kernel of 3 × 3, with zeros around
# the border (`padding="same"`). `explicit_matrix` writes down what the convolution does to each pixel:

# %%
kernel = measure.sample_kernel("all ones", size=3)  # nine equal numbers, with a norm of 1 as a vector
convolution = operators.Convolution(kernel, (5, 5), padding="same")
matrix = operators.explicit_matrix(convolution)
print(f"kernel: {kernel.shape}, as a matrix of norm {np.linalg.norm(kernel.reshape(9, 1), 2):.3f}")
print(f"convolution: a matrix {matrix.shape}, with {np.count_nonzero(matrix)} entries that are not 0")

# %% [markdown]
# The kernel, reshaped to a matrix of 9 rows and as many columns as there are output channels, has the norm 1: it does
# not stretch a *patch*. So is the convolution 1-Lipschitz?
#
# Predict the norm of the whole matrix: below 1, exactly 1, or above?

# %%
singular_values = np.linalg.svd(matrix, compute_uv=False)
print(f"norm of the convolution: {singular_values[0]:.4f}")
assert singular_values[0] > 2

# %% [markdown]
# ## Why is it so much larger?
#
# Because patches overlap. A pixel is read once by *every* patch that contains it, and what happens to it counts each
# time. How many patches contain which pixel? The adjoint of the convolution with a kernel of ones counts them:

# %%
ones = operators.Convolution(np.ones((3, 3, 1, 1)), (5, 5), padding="same")
patches = (ones.T @ np.ones(25)).reshape(5, 5).astype(int)
print(patches)
print(f"on average {patches.mean():.2f}, at most {patches.max()}")

# %% [markdown]
# Write $W$ for the kernel's matrix. The output at one place is $W^\top$ times the patch there, so
#
# $$\|\text{conv}(x)\|^2 = \sum_{\text{patches}} \|W^\top \text{patch}\|^2
# \le \|W\|^2 \sum_{\text{patches}} \|\text{patch}\|^2 \le \|W\|^2 \, P \, \|x\|^2,$$
#
# where $P$ is the **largest** number of patches that share a pixel. Hence the norm is at most $\sqrt P\,\|W\|$, here 3.
# Dividing the kernel by $\sqrt P$ makes the convolution 1-Lipschitz.
#
# ## The usual factor
#
# The reference library for such layers divides by the root of the *average* number instead: pixels at the border are in
# fewer patches, so why pay for them? lipviz can do that too, for comparison.
#
# Predict: 16 filters of 3 × 3 on one channel, each patch kept at its length. Is the norm below 1, at 1, or above?

# %%
for size in (4, 8, 28):
    layer = SpectralConv2D(16, 3, padding="same", bound="unsound_average")
    layer.build((None, size, size, 1))
    norm = measure.largest_singular_value(operators.linear_operator(layer))
    average = (3 - 2 / size) ** 2
    print(f"{size:2d} × {size:<2d} divided by √{average:.3f}: norm {norm:.4f}    is_sound: {layer.is_sound}")
    assert norm > 1.02
    assert abs(norm - 3 / np.sqrt(average)) < 1e-3

# %% [markdown]
# **Surprise**: above, at every size. On 4 × 4 the layer stretches by 20 %, and on the 28 × 28 of the usual images still
# by 2.44 %. An average is no bound: an input may have all its weight where the patches are many, in the middle.
#
# In a chain of layers such factors multiply, and a certificate that counts on 1 is false.
#
# Which input is stretched? Think of the count above, and predict: what does the layer for 4 × 4 do to an image with a
# single white pixel, in the corner or in the middle?

# %%
layer = SpectralConv2D(16, 3, padding="same", use_bias=False, bound="unsound_average")
layer.build((None, 4, 4, 1))
for name, row, column in (("corner", 0, 0), ("edge", 0, 1), ("middle", 1, 1)):
    image = np.zeros((1, 4, 4, 1), "float32")
    image[0, row, column] = 1
    stretched = np.linalg.norm(layer(image))
    print(f"a white pixel in the {name:6s}: its length 1 becomes {stretched:.4f}")
assert abs(stretched - 1.2) < 1e-3

# %% [markdown]
# No search was needed: a single pixel in the middle is in 9 patches, and $\sqrt{9/6.25} = 1.2$.
#
# ## Bounds that hold
#
# By default lipviz counts the largest number: `bound="coverage"`. That is a bound for every kernel, and costs nothing.
# But is it a good one? With many channels, the directions that one patch stretches are not those of the next:

# %%
for channels in (1, 16):
    for bound in ("unsound_average", "coverage", "tight"):
        layer = SpectralConv2D(16, 3, padding="same", bound=bound)
        layer.build((None, 8, 8, channels))
        norm = measure.largest_singular_value(operators.linear_operator(layer))
        print(f"{channels:2d} → 16 channels, {bound:16s} norm {norm:.4f}")
        if bound != "unsound_average":
            assert norm <= 1 + 1e-9
        if bound == "tight":
            assert norm > 0.97

# %% [markdown]
# From one channel, the count of patches is exact. From sixteen it gives away more than a third of the slope: sound, but
# timid. (And the average happens to hold there. Luck is no bound.) `bound="tight"` divides by a bound of the norm of
# the convolution *itself*, found by a Fourier transform, and comes close to 1 in both cases, at some cost in time.
#
# ## A Fourier transform, but not the obvious one
#
# A convolution with *circular* padding is diagonal in Fourier space: its norm is the largest gain over the frequencies
# of the image, and an FFT gives it in a line. Zero padding looks like a small change. Predict: for a zero-padded image,
# is the largest gain of the FFT too large, right, or too small?

# %%
board = measure.sample_kernel("checkerboard", size=3)
claims = measure.convolution_claims(board, image=5)
plots.picture(
    plots.plot_convolution_claims(claims),
    plots.alt_text(claims),
    caption="What remains of the norm once a kernel is divided by what each method says. Hatched: more than 1.",
)

# %%
plots.picture(
    plots.plot_convolution_gains(claims),
    plots.alt_text(claims),
    caption="The gain is largest at frequency ½, between the frequencies that an FFT of size 5 looks at.",
)

# %%
fft = claims.methods.index("plain FFT")
print(f"FFT: {claims.claims[fft]:.4f}, norm: {claims.norm:.4f}, after dividing: {claims.after[fft]:.4f}")
assert claims.is_below_norm[fft]
assert not claims.is_below_norm[claims.is_proved].any()

# %% [markdown]
# Too small. An FFT of size 5 knows the frequencies 0, ⅕ and ⅖ (and their negatives), and this kernel, a chess board, is
# loudest at ½. A circular image of 5 pixels cannot hold a chess board: black would meet black at the seam. The
# zero-padded image has no seam. lipviz looks at a larger circle, in which nothing wraps around, and the small
# convolution is a block of that large matrix, so its norm is no larger. That is a proof, not a measurement.
#
# ## Strides
#
# With a stride of 2, patches overlap less; with a stride of 3, patches of 3 × 3 do not overlap at all.

# %%
for stride in (1, 2, 3):
    shared = nm.patch_coverage(9, 3, stride, "same")
    operator = operators.Convolution(kernel, (9, 9), (stride, stride), padding="same")
    norm = np.linalg.norm(operators.explicit_matrix(operator), 2)
    print(f"stride {stride}: at most {shared} × {shared} patches share a pixel; norm {norm:.4f} ≤ {shared}")
    assert norm <= shared + 1e-9

# %% [markdown]
# ## Large images
#
# A convolution of 28 × 28 with 16 channels is a matrix of 12,544 columns: too large to take apart. `convolution_bound`
# proves an upper bound all the same, and finds a lower one; `size_free_bound` holds for images of every size.

# %%
filters = measure.sample_kernel("random", size=3, channels=16, filters=16, orthogonal=True)
proved = operators.convolution_bound(operators.Convolution(filters, (28, 28), padding="same"))
free = operators.size_free_bound(filters)
print(f"28 × 28: {proved.lower:.3f} ≤ norm ≤ {proved.upper:.3f}, by a {proved.method}")
print(f"every size: norm ≤ {free:.3f}; by counting patches: norm ≤ 3")
assert proved.lower <= proved.upper < 3
assert proved.gap < 0.03
assert proved.lower <= free

# %% [markdown]
# ## Hold claims against the truth
#
# Choose a kernel and how it moves over an image. Which method can you catch lying? Which one never?

# %%
explorer = ConvolutionExplorer()
explorer

# %%
explorer.state = {"kernel": "random", "image": 4}
print(explorer.statement(explorer.data))
assert explorer.error is None
assert not explorer.data.is_below_norm[explorer.data.is_proved].any()
explorer.reset()

# %% [markdown]
# ## Exercises
#
# Replace the `...`. A wrong answer costs nothing and brings a hint.
#
# ### Exercise 1: predict

# %%
course.exercise("convolutions.patches")

# %%
answer = ...

course.check("convolutions.patches", answer)

# %% [markdown]
# ### Exercise 2: change

# %%
course.exercise("convolutions.average")

# %%
answer = ...

course.check("convolutions.average", answer)

# %% [markdown]
# ### Exercise 3: build

# %%
course.exercise("convolutions.matrix")


# %%
def convolution_matrix(kernel, n):
    return ...


course.check("convolutions.matrix", convolution_matrix)

# %% [markdown]
# ## Where to go next
#
# * Lesson 05 stacks layers, and shows what the gradient has to do with it.
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the layer, with the averaged factor, in its appendix.
# * H. Sedghi, V. Gupta, P. M. Long: *The singular values of convolutional layers*, ICLR 2019: the Fourier transform,
#   for circular padding.
# * B. Delattre et al.: *Efficient bound of Lipschitz constant for convolutional layers by Gram iteration*, ICML 2023.
