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
#     minutes: 2
#     needs: 08; 07 and 11 help
#     title: 'Bring your own data: from a file to a report'
# ---

# %% [markdown]
# # Bring your own data: from a file to a report
#
# **You will learn** how to get from a file of your own to a classifier with certificates, in which units its radii are,
# why the scaling of the data belongs to the model, and how to write and to read a report.
#
# **You need** lesson 08: certified radius, certified accuracy and attack. A data set of your own is welcome: a table
# with a column of classes, a folder of images, or time series.
#
# **It takes** about two minutes of computing on two CPU cores, and an hour of your time.
#
# **Where you are.** The lessons before certified networks on data that were prepared for you; this one starts from a
# file.

# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: https://mybinder.org/v2/gh/lipviz/lipviz/HEAD?labpath=notebooks%2F14_bring_your_own_data.py
# [Colab]: https://colab.research.google.com/github/lipviz/lipviz/blob/gh-pages/notebooks/14_bring_your_own_data.ipynb
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
# ← [13 Choose a layer](13_choose_a_layer.py) · [All lessons](index.py)

# %%
import tempfile
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_wine

from lipviz import certification, course, data, plots, recipes, reports
from lipviz.explorers import TradeoffExplorer

keras.utils.set_random_seed(0)

# %% nbmake={"mock": {"EPOCHS": 12, "SERIES": 90, "SERIES_EPOCHS": 1, "COMPARED": 6}}
EPOCHS = 40  # of the training on the table
SERIES = 600  # number of time series
SERIES_EPOCHS = 5
COMPARED = 36  # samples that are attacked: all of the test

# %% [markdown]
# ## A file
#
# The table of this lesson: 13 measurements of each of 178 wines, grown from three grapes in the same region of Italy.
# It comes with scikit-learn. We write it into a file first, as you would have it. **Put the path of your own file
# here**, and the rest of the lesson is yours: a `.csv` file, a folder with one subfolder of images for each class, or
# an `.npz` file.

# %%
folder = Path(tempfile.mkdtemp())
path = folder / "wine.csv"
wines = load_wine()
grapes = np.array(["Barolo", "Grignolino", "Barbera"])[wines.target]
rows = [",".join(map(str, (*row, grape))) for row, grape in zip(wines.data.tolist(), grapes, strict=True)]
path.write_text("\n".join([",".join([*wines.feature_names, "grape"]), *rows]))
wine = data.load(path, label="grape")
course.say(str(wine))

# %% [markdown]
# `load` refuses what would silently go wrong: missing values, text in a column of numbers, a column that numbers the
# rows (in a file that is sorted by class, it gives the class away), measurements in the place of classes, a class with
# a single sample. The message says what to do. Try it: leave out `label`, and add a line to the file.
#
# Every feature now has the mean 0 and the standard deviation 1 **on the training samples**. The test samples had no
# part in that.

# %%
(x_train, y_train), (x_test, y_test) = wine
assert np.allclose(x_train.mean(axis=0), 0, atol=1e-5)
assert np.allclose(x_train.std(axis=0), 1, atol=1e-4)
assert not np.allclose(x_test.mean(axis=0), 0, atol=1e-5)
assert set(y_train) == set(y_test) == {0, 1, 2}

# %% [markdown]
# ## A classifier
#
# A recipe chooses the network, the loss and the length of the training, and says why. We ask for decisions that
# withstand changes of length 0.5: half a standard deviation.

# %%
model, training = recipes.train_classifier(
    x_train, y_train, (x_test, y_test), epochs=EPOCHS, radius=0.5, seed=0, verbose=0
)
course.say(str(training.recipe))
course.say(str(training))

# %%
assert training.accuracy > 0.85
assert training.certified_at([0.5])[0] <= training.accuracy

# %% [markdown]
# ## In which units is a radius?
#
# The network has never seen a milligram. Its radii are lengths of *scaled* numbers. For a single feature, that is
# easily translated.
#
# ### Exercise 1: translate

# %% [markdown] question="own.alone"
# Predict: all features were standardized. A sample has the certified radius 0.5. The standard deviation of proline is
# 310 mg/l. By how many mg/l may proline change, if nothing else changes, before the decision can change?
#
# Expected: a number, exact to ±0.1.

# %%
from lipviz import course

answer = ...

course.check("own.alone", answer)

# %% [markdown]
# For the sample in the middle, whose radius is the median, each feature *alone* may move by this much:

# %%
median = training.radii.median_radius
for name, alone in zip(wine.feature_names, wine.scaling.alone(median), strict=True):
    print(f"{name:30s} ± {alone:8.3g}")

# %% [markdown]
# What if several features change at once? Then their scaled changes are the sides of a box, and the change is its
# diagonal.
#
# ### Exercise 2: build the test of a change

# %% [markdown] question="own.length"
# Build the test of a change: write a function `length(change, scale)`. `change` has the shape (n, features) and holds
# raw changes. `scale` has the shape (features,) and holds the standard deviations. The function returns the length of
# each change as the network sees it, of shape (n,). If it is below the certified radius, the decision stays.
#
# Expected: a function that is called as `length(change, scale)`.

# %%
import numpy as np

from lipviz import course


def length(change, scale):
    return ...


course.check("own.length", length)

# %% [markdown]
# We test the promise with raw numbers: random changes in all features, each a little shorter than the radius of its
# sample. No decision may change.

# %%
rng = np.random.default_rng(0)
radii = training.radii.radii
directions = rng.normal(size=x_test.shape)
directions *= radii[:, None] / np.linalg.norm(directions, axis=1, keepdims=True)
raw = wine.scaling.raw(x_test)
changed = wine.scaling.scaled(raw + 0.999 * directions * wine.scaling.scale)
before, after = (model.predict(each.astype("float32"), verbose=0).argmax(axis=1) for each in (x_test, changed))
assert np.array_equal(before[radii > 0], after[radii > 0])
print(f"{(radii > 0).sum()} samples, and no decision has changed")

# %% [markdown]
# ## The scaling belongs to the model

# %% [markdown] question="own.alien"
# **Predict.** The network is right for nearly all test wines. A colleague measures new wines, all of the class Barolo,
# and standardizes them with *their own* means and standard deviations, as `load` would do with a new file. Which share
# of them does the network classify correctly?

# %%
barolo = wine.class_names.index("Barolo")
new = wine.scaling.raw(wine.part("all")[0][wine.part("all")[1] == barolo])
own = (new - new.mean(axis=0)) / new.std(axis=0)
right, wrong = (
    100 * np.mean(model.predict(x.astype("float32"), verbose=0).argmax(axis=1) == barolo)
    for x in (wine.scaling.scaled(new), own)
)
words = f"With the scaling of the training {right:.0f} % are right, with their own scaling {wrong:.0f} %."
course.predict("own.alien", truth=wrong, reveal=words)

# %%
assert right > wrong

# %% [markdown]
# So we make the scaling the first layer of the model, and save both as one. This model takes raw numbers, as they are
# in the file.

# %%
whole = recipes.with_scaling(model, wine.scaling)
whole.save(folder / "wine.keras")
raw_test = raw.astype("float32")
assert np.array_equal(whole.predict(raw_test, verbose=0).argmax(axis=1), before)

# %% [markdown] question="own.raw"
# **Predict.** The constant of the network is about 1.4. The model that takes raw numbers begins with the division by
# the standard deviations, and decides in the same way. One of its features has a standard deviation of about 0.13. How
# large is the constant that is proved for the whole model?

# %%
inner, outer = (certification.certify(each, search=False).upper_bound for each in (model, whole))
smallest = wine.scaling.scale.min()
words = f"behind the scaling {inner:.4g}, for raw numbers {outer:.4g}; the smallest scale is {smallest:.3g}"
course.predict("own.raw", truth=outer, reveal=words)

# %%
assert outer > 2 * inner
assert outer <= 1.01 * inner / smallest

# %% [markdown]
# ## A report
#
# `recipes.evaluate` measures the whole model with raw numbers, sets its first layer apart, and proves and attacks what
# is behind it. In a terminal, `lipviz report wine.keras wine.csv --part test --output report.html` does the same.

# %%
report = recipes.evaluate(
    whole,
    raw_test,
    y_test,
    compared=COMPARED,
    class_names=wine.class_names,
    feature_names=wine.feature_names,
    source=wine.source,
)
course.say(str(report))

# %%
curve = report.first(report.compared).accuracy_at(np.linspace(0, 3, 31)).beside(report.attacks[0])
plots.picture(
    plots.plot_certified_accuracy(curve),
    plots.alt_text(curve),
    caption="What is proved, and what DeepFool left, for changes of every length. The truth lies between the lines.",
)

# %% [markdown]
# A proof and an attack can never contradict each other. And the figures are those of the training, up to what the
# rounding of float32 may change: the report proves its radii for the arithmetic in which the model will run.

# %%
assert report.contradictions == 0
assert abs(report.accuracy - training.accuracy) <= 1 / len(y_test)
assert np.all(report.radii.radii <= training.radii.radii + 1e-3)
reports.write(report, folder / "report.html")
reports.write(report, folder / "report.json")
print([file.name for file in sorted(folder.iterdir())])

# %% [markdown]
# Open `report.html` in a browser. The JSON file has the same figures for programs, not rounded.
#
# ### Exercise 3: read a report

# %% [markdown] question="own.claim"
# A report says: 40 test samples, accuracy 100 %, certified accuracy 90 % at ε = 0.5, accuracy under attack 97.5 % at ε
# = 0.5, features standardized, radii hold in float32. Which claim does it prove?
#
# Expected: one of "a" (9 of 10 future samples keep their decision under changes of half a standard deviation), "b" (36
# of these samples stay correct under every change of a scaled length up to 0.5), "c" (39 of these samples stay correct
# under every change of a scaled length up to 0.5), "d" (for 36 of these samples, each feature may change by half a
# standard deviation at the same time).

# %%
from lipviz import course

answer = ...

course.check("own.claim", answer)

# %% [markdown]
# ## Other data: time series
#
# The way is the same for images and for series. These series come from a formula (Saito, 1994): a plateau, a rise or a
# fall somewhere in noise. The recipe takes `SpectralConv1D` for them.

# %% [markdown] question="own.series"
# **Predict.** The classes are a plateau, a rise and a fall, hidden in noise. What does the network need most in order
# to keep its decision under a change of length ε, wherever in the series it is made?

# %%
series = data.load(data.cylinder_bell_funnel(SERIES))
waves, about_waves = recipes.train_classifier(*series.train, series.test, epochs=SERIES_EPOCHS, seed=0, verbose=0)
sizes = (0.2, 0.4, 0.8)
lines = [f"accuracy {about_waves.accuracy:.3f}"]
lines += [
    f"certified at {size}: {share:.3f}" for size, share in zip(sizes, about_waves.certified_at(sizes), strict=True)
]
course.predict("own.series", reveal="\n".join(lines))

# %%
assert "SpectralConv1D" in str(about_waves.recipe)
assert np.all(np.diff(about_waves.certified_at(sizes)) <= 0)
assert about_waves.certified_at([0.0])[0] <= about_waves.accuracy

# %% [markdown]
# ## Accuracy against robustness, with your data
#
# The explorer trains networks on *your* samples: choose a loss and press *Start*. Each point is a network. Which τ
# would you choose for your report?

# %%
explorer = TradeoffExplorer(wine.train, wine.test)
explorer

# %%
explorer.state = {"tau": 3.0, "by_radius": False, "epsilon": 0.5}
assert explorer.error is None

# %% [markdown]
# ## Your project
#
# Hold your own report against this table. A good project reaches the middle column everywhere.
#
# | | not yet | good | excellent |
# |:---|:---|:---|:---|
# | **data** | test samples unknown | split first, with a seed; classes counted | a second test set, from elsewhere |
# | **scaling** | not saved | in the model, from training samples only | why units can be compared |
# | **accuracy** | a number alone | beside that of a plain network | per class, with the number of samples |
# | **certificates** | one ε | a curve, and an ε with a meaning in the field | the smallest radii were looked at |
# | **attacks** | called a proof | beside the certified accuracy | why the two differ |
# | **units** | "radius 0.5" | norm, units and arithmetic are said | what it means for one feature |
# | **claims** | "robust" | what is proved, for which samples and changes | and what is not |
# | **repeatable** | a notebook | seeds, versions, hashes of the report | others get the same by one command |
#
# ## What you have seen
#
# * `data.load` reads, checks, splits and scales, and remembers how.
# * A certified radius is a length of what the network sees. `scaling.alone` translates it for a single feature.
# * `with_scaling` keeps model and scaling together. Without it, a new file is scaled in another way.
# * A report says what is proved, what was tried, and what is assumed.
#
# ## Where to go next
#
# * The guide of the documentation, section "Bring your own data"; `lipviz report --help`.
# * D. Dua, C. Graff: *UCI machine learning repository*, 2019: the wines, measured by M. Forina.
# * N. Saito: *Local feature extraction and its applications using a library of bases*, 1994: the series.
# * Y. Tsuzuku, I. Sato, M. Sugiyama: *Lipschitz-margin training*, NeurIPS 2018: radii from margins.

# %% [markdown] tags=["way"]
# ← [13 Choose a layer](13_choose_a_layer.py) · [All lessons](index.py)
