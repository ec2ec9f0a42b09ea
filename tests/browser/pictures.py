"""Compares a screenshot with a committed picture, with a tolerance for letters that another machine draws otherwise."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parent / "committed"
RENEW = "WORKBENCH_RENEW_PICTURES"
MEAN = 1.0
"""Largest mean absolute difference, in levels of 0 to 255: for a picture that is off as a whole, as in another tint."""
CLEAR = 8
"""A pixel differs if a channel does by more levels than this. A greyed-out button differs from the paper by 11."""
SHARE = 0.003
"""Largest share of pixels that differ. The smallest button, Stop, is 0.53 % of the panel's picture."""


@dataclass(frozen=True)
class Difference:
    """What two pictures of one size differ by."""

    mean: float
    share: float

    @property
    def small(self) -> bool:
        """Whether both numbers are within what is tolerated."""
        return self.mean <= MEAN and self.share <= SHARE


def difference(actual: Image.Image, expected: Image.Image) -> Difference:
    """Compare two RGB pictures of one size."""
    apart = _apart(actual, expected)
    return Difference(float(apart.mean()), float((apart.max(axis=2) > CLEAR).mean()))


def check(shot: bytes, name: str, folder: Path) -> None:
    """Compare a screenshot with the committed one, or renew that if the environment says so.

    Args:
        shot: the PNG.
        name: of the committed file.
        folder: where the actual picture and the difference are written if they do not match.
    """
    kept, actual = FOLDER / name, folder / f"actual_{name}"
    actual.write_bytes(shot)
    if os.environ.get(RENEW) == "1":
        kept.write_bytes(shot)
        return
    how = f"If that is meant, look at {actual} and run the test once with {RENEW}=1"
    if not kept.exists():
        pytest.fail(f"there is no {kept}. {how}")
    with Image.open(kept) as file:
        expected = file.convert("RGB")
    with Image.open(actual) as file:
        found = file.convert("RGB")
    if found.size != expected.size:
        pytest.fail(f"{name} is {found.size} pixels wide and high, the committed one {expected.size}. {how}")
    apart = difference(found, expected)
    if not apart.small:
        shown = folder / f"difference_{name}"
        Image.fromarray(_apart(found, expected).astype(np.uint8)).save(shown)
        pytest.fail(
            f"{name} differs: {apart.mean:.2f} levels in the mean (at most {MEAN}), {apart.share:.2%} of the pixels "
            f"clearly (at most {SHARE:.2%}); see {shown}. {how}"
        )


def _apart(actual: Image.Image, expected: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(actual, dtype=np.int16) - np.asarray(expected, dtype=np.int16))
