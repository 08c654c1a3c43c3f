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
#     title: A slider
# ---

# %% [markdown]
# # A slider
#
# A lesson of the tests, with the least that an explorer is made of.

# %%
import io
import sys

import ipywidgets as widgets
from matplotlib.figure import Figure

print(sys.prefix)

# %%
slider = widgets.FloatSlider(min=0, max=1, step=0.1, value=0.5, description="height", continuous_update=False)
picture = widgets.Image(width=300, height=200)
readout = widgets.Label()


def draw(change=None):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, slider.value])
    stream = io.BytesIO()
    figure.savefig(stream)
    picture.value = stream.getvalue()
    readout.value = f"The height is {slider.value:.1f}."


slider.observe(draw, "value")
draw()
widgets.VBox([slider, readout, picture])
