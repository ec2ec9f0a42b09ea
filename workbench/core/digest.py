"""Digests that tell whether two runs are equal to the last bit.

A chain of SHA-256 can be continued from its last 32 bytes, so a digest of everything that a run produced survives a
restart. The links matter: ``a`` then ``b`` is another chain than ``ab`` at once, so both sides must link alike.
"""

import hashlib


def chain(previous: bytes, *data: bytes | bytearray | memoryview) -> bytes:
    """The chain ``previous`` with one more link: ``sha256(previous + data)``, 32 bytes.

    Raises:
        ValueError: ``previous`` is not 32 bytes long.
    """
    if len(previous) != 32:
        raise ValueError(f"previous is {len(previous)} bytes long; a chain is 32 bytes, and begins with zeros")
    return hashlib.sha256(b"".join((previous, *data))).digest()
