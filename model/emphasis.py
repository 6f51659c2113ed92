"""Speaking more clearly: the mouth opens and closes further than completion says, as this person's mouth does it.

Completion's answer is a mean over all that the sound could mean, and its faces are smoother than those a denoiser
learned from. A denoiser that was trained for long obeys all the same; a small one makes less of such a face than it
would of a true one, and the mouth moves half as far as it was told. What it takes away can be given beforehand.

T frames, P points, N reference faces, K content points.
"""

from __future__ import annotations

import numpy as np

from model.landmarks import opening
from shards.schema import F32
from shards.topology import Topology

_LEAST_SPREAD = 0.05
"""Of the mean opening of the references: where they are all open alike, nobody has seen how this mouth opens."""


def emphasised(points_TP2: F32, references_NP2: F32, shape: Topology, by: float) -> F32:
    """The faces with every opening `by` times as far from a mouth at rest; lips and jaw go as in the references.

    At rest is midway between the most closed of them and the mean, and no mouth is closed beyond shut.
    """
    open_N = opening(references_NP2.astype(np.float64), shape)
    spread_N = open_N - open_N.mean()
    if by == 1.0 or len(open_N) < 2 or spread_N.std() < _LEAST_SPREAD * open_N.mean():
        return points_TP2
    content = list(shape.content)
    slope_K2 = np.einsum("n,nkd->kd", spread_N, references_NP2[:, content].astype(np.float64)) / (spread_N**2).sum()
    open_T, rest = opening(points_TP2.astype(np.float64), shape), (open_N.min() + open_N.mean()) / 2
    further_T = np.maximum((by - 1) * (open_T - rest), -open_T)
    out = points_TP2.copy()
    out[:, content] += (further_T[:, None, None] * slope_K2).astype(np.float32)
    return out
