"""How much each kind of layer can stretch a difference of inputs: one rule per class, in the l1, l2 and l∞ norms.

Here are the rules that read a layer's arguments and a few of its weights, and what all rules are made of. Those that
need a matrix are in `lipviz.certification.matrices`, those of several inputs in `lipviz.certification.merging`. A class
that has no rule is unbounded, until `register_bound` gives it one.
"""

from lipviz.rules import pointwise, rearranging  # noqa: F401 - enter their rules
from lipviz.rules.bound import Bound
from lipviz.rules.registry import register_bound

__all__ = ["Bound", "register_bound"]
