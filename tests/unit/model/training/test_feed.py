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


@pytest.mark.parametrize(
    ("stage", "is_other"),
    [("autoencoder", False), ("completion", True), ("diffusion", False), ("joint", True), ("refine", True)],
)
def test_stages_that_train_completion_see_the_mouth_under_another_head_too(
    stage: str, is_other: bool, train_config: TrainConfig, clip: ClipSample
) -> None:
    own = first_batch(clip, train_config, stage)
    other = first_batch(clip, train_config.model_copy(update={"other_pose": 1.0}), stage)
    for name, tensor in own.tensors().items():
        assert torch.equal(tensor, other.tensors()[name])
    assert (other.turned_BTP2 is not None) == is_other
