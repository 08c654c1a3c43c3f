"""The tests. What stands here holds for all of them, and for the kernels of the notebooks that pytest runs."""

import os
import sys

# Before Keras is imported. A GPU would only make small tests slower and their numbers vary.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# nbformat imports jsonschema, which would compile 38 grammars of addresses, for 1.5 s. Notebooks have none.
sys.modules.setdefault("rfc3987_syntax", None)
