"""Lipschitz constants of layers: one rule per layer class, in the l1, l2 and l∞ norms.

This package holds the rules that read only a layer's arguments and a few of its weights, and the code that all rules
share. Rules that need a matrix are in `lipviz.certification.matrices`. Rules of layers with several inputs are in
`lipviz.certification.merging`. A class without a rule is unbounded, until `register_bound` gives it one.
"""

from lipviz.rules import pointwise, rearranging  # noqa: F401 - they register their rules
from lipviz.rules.bound import Bound
from lipviz.rules.registry import register_bound

__all__ = ["Bound", "register_bound"]
