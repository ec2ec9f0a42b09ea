"""Digests of arrays: equal for arrays that are equal to the last bit."""

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.digest import chain

# What a chain starts from.
START = bytes(32)


def array_digest(*arrays: npt.NDArray[Any]) -> str:
    """Hexadecimal digest of a chain of arrays: of dtype, shape and bytes in C order, whatever the memory layout.

    Raises:
        TypeError: an array holds Python objects, whose bytes are addresses.
    """
    digest = START
    for array in arrays:
        if array.dtype.hasobject:
            raise TypeError(f"the array's dtype is {array.dtype}; only plain numbers have a digest")
        about = f"{np.lib.format.dtype_to_descr(array.dtype)} {array.shape}\n".encode()
        digest = chain(digest, about, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hex()
