"""The tests. What stands here holds for all of them, and for the kernels of the notebooks that pytest runs."""

import os

# Before Keras is imported. A GPU would only make small tests slower and their numbers vary.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
