# ---
# jupyter:
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
#     title: The map of the course
# ---

# %% [markdown]
# # The map of the course
#
# Click on a lesson to open it. Then press Shift+Enter to run a cell and to go to the next one. Begin with lesson 00:
# its first picture comes within seconds. The minutes are those that your computer needs on two CPU cores. Plan half an
# hour or more for yourself.

# %% [markdown] tags=["map"]
# | lesson | minutes | needs | exercises |
# |:---|:---|:---|:---|
# | [00 A tour: train a network that keeps a promise](00_take_the_tour.py) | 1 | a little Keras | 3 |
# | [01 Bound a network: what a Lipschitz constant is](01_bound_a_network.py) | 2 | a little Keras; 00 helps | 4 |
# | [02 Orthogonalize a kernel: how a layer gets its singular values](02_orthogonalize_a_kernel.py) | 1 | 00; singular values | 4 |
# | [03 Sort instead of cut: why ReLU is not enough](03_sort_instead_of_cut.py) | 2 | a little Keras; 01 helps | 4 |
# | [04 Measure a convolution: why the usual factor is not a bound](04_measure_a_convolution.py) | 1 | Conv2D; singular values | 3 |
# | [05 Keep the gradient: through fifty layers, and through a pooling](05_keep_the_gradient.py) | 1 | a little Keras; 03 helps | 4 |
# | [06 Estimate a distance: how far apart are two clouds?](06_estimate_a_distance.py) | 1 | a little Keras; 00 helps | 5 |
# | [07 Separate with margins: a classifier that keeps its distance](07_separate_with_margins.py) | 1 | a little Keras; 00 and 06 help | 4 |
# | [08 Certify Fashion-MNIST: accuracy that no attack can take away](08_certify_fashion.py) | 3 | Keras; 00 or 01 | 4 |
# | [09 Explain with gradients: what would have to change?](09_explain_with_gradients.py) | 1 | 00; gradients | 4 |
# | [10 Export and serve: take the promise along](10_export_and_serve.py) | 1 | lesson 00 | 4 |
# | [11 Train for real: monitor, schedules, half precision, several devices](11_train_for_real.py) | 1 | 00; 06 and 07 help | 4 |
# | [12 Come from deel-lip: change one import, and check what was promised](12_come_from_deel_lip.py) | 1 | 00, or experience with deel-lip | 4 |
# | [13 Choose a layer: what constraints make of one kernel](13_choose_a_layer.py) | 2 | 02 and 08; 04 helps | 4 |
# | [14 Bring your own data: from a file to a report](14_bring_your_own_data.py) | 2 | 08; 07 and 11 help | 3 |

# %% [markdown]
# ## What you have done
#
# Your answers, hints and guesses are kept in this folder, in `.lipviz/progress.json`. They are there again after a
# restart. Run the next cell to see the map with your ticks: ✓ is a solved exercise, ○ an open one.

# %%
from lipviz import course

course.home()

# %% [markdown]
# * `course.reset()` forgets everything, `course.reset("tour.compose")` a single exercise.
# * `course.save_progress("mine.json")` writes all that you have done to a file.
