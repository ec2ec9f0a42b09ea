"""Digests that tell whether two runs are equal to the last bit.

A chain of SHA-256 can be continued from its last 32 bytes, so a digest of everything that a run produced survives a
restart. The links matter: ``a`` then ``b`` is another chain than ``ab`` at once, so both sides must link alike (one
link per epoch, or per update).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

# What a chain starts from.
START = bytes(32)


def chain(previous: bytes, *data: bytes | bytearray | memoryview) -> bytes:
    """The chain ``previous`` with one more link: ``sha256(previous + data)``, 32 bytes.

    Raises:
        ValueError: ``previous`` is not 32 bytes long.
    """
    if len(previous) != 32:
        raise ValueError(f"previous is {len(previous)} bytes long; a chain is 32 bytes, and begins with START")
    link = hashlib.sha256(previous)
    for part in data:
        link.update(part)
    return link.digest()


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
