"""How far two computers may differ: where the tolerance of every pin comes from.

Two processors, or two libraries, add up the same products in another order and with other instructions. Each rounding
has a relative error of at most the unit roundoff u of the dtype (2⁻²⁴ in float32, 2⁻⁵³ in float64, 2⁻¹¹ in float16, 2⁻⁸
in bfloat16), and a sum of n such errors, whose signs vary, grows like √n (Higham and Mary 2019). So

    one product of matrices       moves its result by √n · u, relative to its norm; n is the length of its sums
    a chain of p products         by p · √n · u: errors add up, and each later step passes them on
    a step that stretches by A    passes errors on A times as large

A layer of lipviz that is k-Lipschitz passes errors on k times as large at the most: k is known, and needs no guess.
Björck's iteration with β stretches small singular values by 1 + β a step, but no direction by more than what brings the
smallest one, σ_n, up to the largest: A = min((1 + β)^steps, σ1/σ_n).

Two numbers that are printed may differ by one unit of the last place, because a small error can tip the rounding of the
text, and beyond that by the tolerance of the value. Words and counts must be equal.

What is rounded to half precision on the way moves by a whole spacing, 2u, where an error in float32 tips that rounding.
"""

import dataclasses
import math

_UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a value may move: relative · its size + absolute.

    Attributes:
        relative: Of a number its magnitude counts, of an array the largest one.
        absolute: For what is 0 but for rounding.
    """

    relative: float = 0.0
    absolute: float = 0.0

    def __add__(self, other):
        return Tolerance(self.relative + other.relative, self.absolute + other.absolute)


EXACT = Tolerance()


def unit(dtype):
    """Unit roundoff: half the spacing of numbers at 1.

    Args:
        dtype: "float64", "float32", "float16" or "bfloat16".
    """
    return _UNITS[dtype]


def of_products(dtype, count, length, amplification=1.0, size=0.0):
    """Tolerance of what a chain of matrix products computes.

    Args:
        dtype: In which they are computed.
        count: Number of products.
        length: Length of their sums.
        amplification: How much errors grow on the way.
        size: Of the terms, where the result may be far smaller than they are; 0 where it is not.
    """
    relative = count * math.sqrt(length) * unit(dtype) * amplification
    return Tolerance(relative, relative * size)


def of_halves(dtype):
    """Tolerance of what is rounded to half precision once: one spacing; none for other dtypes."""
    return Tolerance(2 * unit(dtype)) if dtype in ("float16", "bfloat16") else EXACT


def bjorck_amplification(steps, beta, condition=math.inf):
    """The factor A of Björck's iteration.

    Args:
        steps: Largest number of iterations.
        beta: Its step size; None makes no step.
        condition: σ1/σ_n of the kernel.
    """
    return 1.0 if beta is None else min((1 + beta) ** steps, condition)
