"""The operations that the numerics are written in: `keras.ops`, or NumPy's for measurements."""

import contextlib
import types
from contextlib import AbstractContextManager

import keras
import numpy as np

from lipviz.normalizers.settings import present, within


class _Operations:
    """`keras.ops`; within `in_numpy`, NumPy's functions under the same names."""

    def __getattr__(self, name):
        return getattr(_NUMPY if present().in_numpy else keras.ops, name)


ops = _Operations()


def in_numpy() -> AbstractContextManager[None]:
    """Within this context, iterations and bounds take NumPy arrays and return such.

    It makes single small matrices fast: a backend that runs eagerly takes a tenth of a millisecond for each operation,
    twenty times as long as NumPy. Nothing can be differentiated, and only the functions below are available.
    """
    return _in_numpy()


@contextlib.contextmanager
def _in_numpy():
    with within(in_numpy=True), np.errstate(all="ignore"):  # like the backends, no warnings about NaN
        yield


def _same(x):
    return x


_NUMPY = types.SimpleNamespace(
    abs=np.abs,
    any=np.any,
    argmax=np.argmax,
    cast=lambda x, dtype: np.asarray(x, dtype),
    concatenate=np.concatenate,
    cond=lambda is_true, first, second: first() if is_true else second(),
    convert_to_numpy=np.asarray,
    convert_to_tensor=np.asarray,
    cumprod=np.cumprod,
    custom_gradient=lambda function: lambda x: function(x)[0],
    diagonal=np.diagonal,
    eigh=np.linalg.eigh,
    exp=np.exp,
    expand_dims=np.expand_dims,
    eye=np.eye,
    isfinite=np.isfinite,
    log=np.log,
    matmul=np.matmul,
    max=np.max,
    maximum=np.maximum,
    minimum=np.minimum,
    one_hot=lambda index, count, dtype: np.eye(count, dtype=dtype)[index],
    ones_like=np.ones_like,
    prod=np.prod,
    reshape=np.reshape,
    rsqrt=lambda x: 1 / np.sqrt(x),
    shape=np.shape,
    sqrt=np.sqrt,
    square=np.square,
    stack=np.stack,
    stop_gradient=_same,
    sum=np.sum,
    swapaxes=np.swapaxes,
    take=np.take,
    take_along_axis=np.take_along_axis,
    transpose=np.transpose,
    where=np.where,
    zeros_like=np.zeros_like,
)
