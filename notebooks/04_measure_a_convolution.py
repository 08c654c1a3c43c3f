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
#     needs: Conv2D; singular values
#     title: 'Measure a convolution: why the usual factor is not a bound'
# ---

# %% [markdown]
# # Measure a convolution: why the usual factor is not a bound
#
# **You will learn** what the norm of a convolution is, why it is not the norm of its kernel, why the usual correction
# factor is too small, and three ways to compute a bound that holds.
#
# **You need** matrices, their singular values, and `Conv2D` of Keras. The **norm** of a linear map is the most that it
# stretches any input: its largest singular value. A layer is 1-Lipschitz if its norm is at most 1.
#
# **It takes** less than a minute of computing on two CPU cores, and half an hour of your time.
#
# **Where you are.** So far each layer was a small matrix: this lesson finds the matrix of a convolution, and its norm.

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
        "tensorflow>=2.21 keras>=3.15 numpy>=1.26 scipy>=1.13 threadpoolctl>=3.5 "
        "adversarial-robustness-toolbox>=1.20 scikit-learn>=1.5 matplotlib>=3.11.1 ipywidgets>=8.1.5 "
        "anywidget>=0.9 rich>=13 voila>=0.5 tqdm>=4.66 pyyaml>=6.0.2"
    )
    subprocess.run([*install, *packages.split()], check=True)

# %% [markdown] tags=["way"]
# ← [03 Sort instead of cut](03_sort_instead_of_cut.py) · [All lessons](index.py) · [05 Keep the
# gradient](05_keep_the_gradient.py) →

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
# A **convolution** moves a small window, a **patch**, over the image, and multiplies its pixels by the numbers of the
# **kernel**. Its matrix is large, and contains few different numbers. Take images of 5 × 5 pixels and a kernel of
# 3 × 3, with zeros around the border (`padding="same"`). `explicit_matrix` computes the matrix that maps input pixels
# to output pixels:

# %%
kernel = measure.sample_kernel("all ones", size=3)  # nine equal numbers, with a norm of 1 as a vector
convolution = operators.Convolution(kernel, (5, 5), padding="same")
matrix = operators.explicit_matrix(convolution)
print(f"kernel: {kernel.shape}, as a matrix of norm {np.linalg.norm(kernel.reshape(9, 1), 2):.3f}")
print(f"convolution: a matrix {matrix.shape}, with {np.count_nonzero(matrix)} entries that are not 0")

# %% [markdown]
# **The kernel's matrix** is the kernel, reshaped to 9 rows and as many columns as there are output channels.

# %% [markdown] question="convolutions.whole"
# **Predict.** The kernel of nine equal numbers has the norm 1 as a matrix: it does not stretch a *patch*. What is the
# norm of the whole convolution?

# %%
singular_values = np.linalg.svd(matrix, compute_uv=False)
course.predict("convolutions.whole", reveal=f"norm of the convolution: {singular_values[0]:.4f}")

# %% [markdown]
# ## How often is a pixel read?
#
# Patches overlap. *Every* patch that contains a pixel reads it, so a change of the pixel counts once for each of them.
# How many patches contain which pixel? The **adjoint** of a convolution, the transpose of its matrix, counts them, if
# the kernel consists of ones:

# %%
assert singular_values[0] > 2
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

# %% [markdown]
# ### Exercise 1: predict
#
# Replace the `...` and run the cell. After a wrong answer you get a hint, and can try again.

# %% [markdown] question="convolutions.patches"
# Predict: a kernel of 7 × 7, moved over a large image with a stride of 3 along both axes. The kernel's matrix has the
# norm 1. By which factor do you have to multiply the kernel, so that the count of patches proves the convolution to be
# 1-Lipschitz?
#
# Expected: a number, exact to ±0.003.

# %%
from lipviz import course

answer = ...

course.check("convolutions.patches", answer)

# %% [markdown]
# ## The usual factor
#
# deel-lip, the reference library for such layers, divides by the root of the *average* number instead, because pixels
# at the border are in fewer patches. lipviz can do that too, for comparison.

# %% [markdown] question="convolutions.factor"
# **Predict.** Take 16 filters of 3 × 3 on one channel, such that the kernel's matrix keeps the length of each patch.
# After the division by the root of the *average* number of patches, what is the norm of the convolution?

# %%
rows, norms = [], {}
for size in (4, 8, 28):
    layer = SpectralConv2D(16, 3, padding="same", bound="unsound_average")
    layer.build((None, size, size, 1))
    norm = measure.largest_singular_value(operators.linear_operator(layer))
    average = (3 - 2 / size) ** 2
    rows.append(f"{size:2d} × {size:<2d} divided by √{average:.3f}: norm {norm:.4f}    is_sound: {layer.is_sound}")
    norms[size] = norm, 3 / np.sqrt(average)
course.predict("convolutions.factor", reveal="\n".join(rows))

# %%
for norm, expected in norms.values():
    assert norm > 1.02
    assert abs(norm - expected) < 1e-3

# %% [markdown]
# In a network of many layers such norms multiply. A certificate that assumes the norm 1 is right only if it *is* 1.

# %% [markdown] question="convolutions.pixel"
# **Predict.** An image of 4 × 4 pixels has a single white pixel, so its length is 1. How long is the output of the
# layer if that pixel is in a corner, at an edge, or in the middle? Use the counts above: the kernel keeps the length of
# each patch, and is then divided by √6.25 = 2.5.

# %%
lengths = []
layer = SpectralConv2D(16, 3, padding="same", use_bias=False, bound="unsound_average")
layer.build((None, 4, 4, 1))
for _, row, column in (("corner", 0, 0), ("edge", 0, 1), ("middle", 1, 1)):
    image = np.zeros((1, 4, 4, 1), "float32")
    image[0, row, column] = 1
    lengths.append(float(np.linalg.norm(layer(image))))
course.predict("convolutions.pixel", truth=lengths)

# %%
assert abs(lengths[-1] - 1.2) < 1e-3

# %% [markdown]
# ### Exercise 2: change

# %% [markdown] question="convolutions.average"
# Change the cell below: an image of 16 × 16 pixels in place of 8 × 8. The kernel has 3 × 3 pixels and leads from 1 to
# 16 channels, and its matrix keeps the length of each patch. Which norm is left once the kernel is divided by the root
# of the *average* number of patches? Guess first: is the fault larger or smaller on a larger image? Then run the cell,
# and answer with the number that it prints.
#
# Expected: a number, exact to ±0.002.

# %%
from lipviz.explorers import ConvolutionExplorer

explorer = ConvolutionExplorer()  # change the line below
explorer.state = {"kernel": "random", "channels": 1, "filters": 16, "image": 8}
print(f"norm after the division by the average: {explorer.data.after[-1]:.4f}")

# %%
from lipviz import course

answer = ...

course.check("convolutions.average", answer)

# %% [markdown]
# ## Bounds that hold
#
# By default lipviz uses the largest number of patches: `bound="coverage"`. That is a bound for every kernel, and costs
# no time. But is it tight? With many channels, an input that is stretched most in one patch is usually not stretched
# most in the next patch:

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
# With one input channel, the count of patches gives a norm of exactly 1. With sixteen it gives less than two thirds:
# the bound is sound, but not tight. (The factor from the average happens to give a norm below 1 there. It is still not
# a bound.) `bound="tight"` divides by a bound of the norm of the convolution *itself*, which a Fourier transform gives.
# The norm is close to 1 in both cases, and this takes some more time.
#
# ## A Fourier transform, but not the obvious one
#
# The Fourier transform turns a convolution with *circular* padding into a multiplication at each frequency. Its norm is
# the largest gain over the frequencies of the image, and one line of code with an FFT computes it. Zero padding looks
# like a small change.

# %% [markdown] question="convolutions.fft"
# **Predict.** The kernel is a checkerboard, the image has 5 × 5 pixels with zeros around it. Compared with the norm of
# the convolution, is the largest gain of the FFT of size 5 too large, right, or too small?

# %% jupyter={"source_hidden": true} tags=["hide-input"]
board = measure.sample_kernel("checkerboard", size=3)
claims = measure.convolution_claims(board, image=5)
bars = plots.picture(
    plots.plot_convolution_claims(claims),
    plots.alt_text(claims),
    caption="The norm of the convolution after its kernel is divided by the claim of each method. Hatched: above 1.",
)
gains = plots.picture(
    plots.plot_convolution_gains(claims),
    plots.alt_text(claims),
    caption="The gain is largest at frequency ½, which is not among the frequencies of an FFT of size 5.",
)
fft = claims.methods.index("plain FFT")
found = f"FFT: {claims.claims[fft]:.4f}, norm: {claims.norm:.4f}, after dividing: {claims.after[fft]:.4f}"
assert claims.is_below_norm[fft]
assert not claims.is_below_norm[claims.is_proved].any()
course.predict("convolutions.fft", reveal=[found, bars, gains])

# %% [markdown]
# lipviz uses a larger circular image, so large that no output depends on pixels from the other side. The matrix of the
# zero-padded convolution is a block of the matrix of this circular convolution, which is called a **circulant**. So its
# norm is at most as large. That is a proof, not a measurement.
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
# A convolution on 28 × 28 pixels with 16 channels is a matrix of 12,544 columns, which is too large for a singular
# value decomposition. `convolution_bound` still proves an upper bound, and finds a lower bound. `size_free_bound`
# proves a bound that holds for images of every size.

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
# ## Compare claims with the true norm
#
# Choose a kernel, and the size of the image. Which methods claim less than the true norm? Which methods never do? Then
# choose the picture "motion", and press Play: a search turns an image into the one that the convolution stretches most.

# %%
explorer = ConvolutionExplorer()
explorer

# %%
explorer.state = {"kernel": "random", "image": 4}
course.say(explorer.statement(explorer.data))
assert explorer.error is None
assert not explorer.data.is_below_norm[explorer.data.is_proved].any()
explorer.reset()

# %% [markdown]
# ## One more exercise
#
# ### Exercise 3: build

# %% [markdown] question="convolutions.matrix"
# Write a function `convolution_matrix(kernel, n)` in NumPy that returns the (n, n) matrix of a 1-D convolution with
# zero padding and stride 1, as layers compute it: output i is the sum over j of `kernel[j]` times pixel i + j - r, with
# r = (length - 1)/2, and pixels outside of 0 … n - 1 count as zero. The kernel is a float64 array of odd length,
# possibly longer than the image.
#
# Expected: a function that is called as `convolution_matrix(kernel, n)`.

# %%
import numpy as np

from lipviz import course


def convolution_matrix(kernel, n):
    return ...


course.check("convolutions.matrix", convolution_matrix)

# %% [markdown]
# ## What you have seen
#
# * A convolution is a matrix. Its norm is not that of its kernel, because patches overlap.
# * The norm is at most that of the kernel's matrix, times the root of the *largest* number of patches at a pixel.
# * The *average* number, the usual factor, is no bound: a single white pixel shows that.
# * A plain FFT is no bound either, where zeros surround the image. A larger circular image gives one.
#
# ## Where to go next
#
# * Lesson 05 stacks many layers, and shows what this does to the gradient.
# * Lesson 13 compares kinds of convolutions. One of them is orthogonal as a map from image to image.
# * M. Serrurier et al.: *Achieving robustness in classification using optimal transport with hinge regularization*,
#   CVPR 2021: the layer, with the averaged factor, in its appendix.
# * H. Sedghi, V. Gupta, P. M. Long: *The singular values of convolutional layers*, ICLR 2019: the Fourier transform,
#   for circular padding.
# * B. Delattre et al.: *Efficient bound of Lipschitz constant for convolutional layers by Gram iteration*, ICML 2023.

# %% [markdown] tags=["way"]
# ← [03 Sort instead of cut](03_sort_instead_of_cut.py) · [All lessons](index.py) · [05 Keep the
# gradient](05_keep_the_gradient.py) →
