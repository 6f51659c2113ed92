"""What each stage is given of a clip."""

from __future__ import annotations

import pytest
import torch

from model.batch import ClipBatch
from model.training.clips import ListedClips
from model.training.config import TrainConfig
from model.training.feed import Feed
from shards.reader import Share
from shards.schema import ClipSample


def first_batch(clip: ClipSample, config: TrainConfig, stage: str) -> ClipBatch:
    feed = Feed(ListedClips([clip]), config, stage, Share(), first=0, source={})
    try:
        return feed.take().parts[0][0]
    finally:
        feed.close()


@pytest.mark.parametrize(("stage", "is_other"), [("completion", True), ("diffusion", False), ("joint", False)])
def test_only_completion_sees_the_mouth_under_another_head(
    stage: str, is_other: bool, train_config: TrainConfig, clip: ClipSample
) -> None:
    own = first_batch(clip, train_config, stage)
    other = first_batch(clip, train_config.model_copy(update={"other_pose": 1.0}), stage)
    assert torch.equal(own.audio_BTWC, other.audio_BTWC)
    assert torch.equal(own.frames_BTCHW, other.frames_BTCHW)
    assert torch.equal(own.landmarks_BTP2, other.landmarks_BTP2) != is_other
