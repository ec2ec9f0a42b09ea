"""Moving averages of long, noisy series, at as many points as a chart can show."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Points of a drawn curve. A chart is a few hundred pixels wide; more points cost time and show nothing.
MAX_POINTS = 600

# x (n,) and y (n,), float64.
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def moving_average(x: ArrayLike, y: ArrayLike, window: int, limit: int = MAX_POINTS) -> Points:
    """Centred means over ``window`` points, at ``limit`` evenly spread points at most.

    At both ends the window is cut off. Values that are not finite are left out; a window without any gives nan.

    Args:
        x: (n,).
        y: (n,).
        window: points under the mean, rounded up to an odd number.
        limit: at least 1.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centre = np.linspace(0, len(y) - 1, min(len(y), limit)).round().astype(np.intp)
    start = np.maximum(centre - window // 2, 0)
    end = np.minimum(centre + window // 2 + 1, len(y))
    finite = np.isfinite(y)
    # each window is added up by itself: a spike spoils no other window; reduceat wants every end to be an index
    padded = np.pad([finite, np.where(finite, y, 0.0)], ((0, 0), (0, 1)))
    count, total = np.add.reduceat(padded, np.column_stack([start, end]).ravel(), axis=1)[:, ::2]
    return x[centre], np.divide(total, count, out=np.full(len(centre), np.nan), where=count > 0)
