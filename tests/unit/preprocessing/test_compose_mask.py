"""The mask is the window's own, soft towards the inside, and alike at every crop size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.compose.mask import paste_mask
from shards.crop import WINDOWS, CropWindow


@pytest.mark.parametrize("window", WINDOWS.values(), ids=lambda w: w.name)
@pytest.mark.parametrize("size_px", [64, 128, 255, 512])
class TestEveryWindow:
    def test_nothing_is_pasted_on_or_beyond_the_masks_border(self, window: CropWindow, size_px: int) -> None:
        generated = window.mask(size_px) > 0.5
        border = generated & ~(cv2.erode(generated.astype(np.uint8), np.ones((3, 3))) > 0)
        weight = paste_mask(window, size_px).weight
        assert not weight[~generated].any()
        assert weight[border].max() == 0

    def test_the_middle_is_wholly_generated(self, window: CropWindow, size_px: int) -> None:
        weight = paste_mask(window, size_px).weight
        assert weight.max() == 1
        assert (weight == 1).mean() > 0.05

    def test_the_ring_touches_the_mask_and_never_overlaps_it(self, window: CropWindow, size_px: int) -> None:
        mask = paste_mask(window, size_px)
        assert mask.ring.sum() > size_px
        assert not (mask.ring * (window.mask(size_px) > 0.5)).any()

    def test_the_edge_of_the_crop_is_in_neither(self, window: CropWindow, size_px: int) -> None:
        mask = paste_mask(window, size_px)
        for part in (mask.weight, mask.ring):
            assert not any(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))


def test_the_soft_edge_is_equally_wide_at_every_size() -> None:
    small, large = (paste_mask(WINDOWS["lower_face"], s).weight for s in (128, 512))
    halved = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(halved - small).max() < 0.25
    assert np.abs(halved - small).mean() < 0.02


def test_a_shared_mask_cannot_be_written_on() -> None:
    with pytest.raises(ValueError, match="read-only"):
        paste_mask(WINDOWS["face"], 64).weight[0, 0] = 1
