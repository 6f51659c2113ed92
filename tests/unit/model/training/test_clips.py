from __future__ import annotations

from itertools import islice

import pytest

from model.training.clips import ListedClips
from shards.errors import RequestError
from tests.support.clips import make_clip

CLIPS = [make_clip(seed, frames=5) for seed in range(4)]


def test_every_clip_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    keys = [clip.key for clip in islice(ListedClips(CLIPS).train(), 40)]
    epochs = [keys[i : i + 4] for i in range(0, 40, 4)]
    assert all(set(epoch) == {clip.key for clip in CLIPS} for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_restored_source_goes_on_where_it_was() -> None:
    first = ListedClips(CLIPS, seed=3)
    row = [clip.key for clip in islice(first.train(), 20)]
    stopped = ListedClips(CLIPS, seed=3)
    list(islice(stopped.train(), 7))
    again = ListedClips(CLIPS, seed=3)
    again.restore(stopped.state())
    assert [clip.key for clip in islice(again.train(), 13)] == row[7:]


def test_other_clips_or_another_seed_are_refused() -> None:
    state = ListedClips(CLIPS, seed=3).state()
    with pytest.raises(RequestError, match=r"clips\.seed"):
        ListedClips(CLIPS, seed=4).restore(state)
    with pytest.raises(RequestError, match=r"clips\.clips"):
        ListedClips(CLIPS[:2], seed=3).restore(state)


def test_no_clips_are_refused() -> None:
    with pytest.raises(RequestError, match="no clips"):
        ListedClips([])
