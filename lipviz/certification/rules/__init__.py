"""How much each kind of layer can stretch a difference of inputs: one rule per class, in the l1, l2 and l∞ norms.

`lipviz.certify` follows a model's graph and asks here for every layer. A class that has no rule is unbounded, until
`register_bound` gives it one.
"""

from lipviz.certification.rules import linear, merging, pointwise, rearranging
from lipviz.certification.rules.registry import Bound, register_bound

__all__ = ["Bound", "linear", "merging", "pointwise", "rearranging", "register_bound"]
