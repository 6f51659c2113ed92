"""From a source to a fragment and back to a clip; and the check that a file is the one that was planned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.cluster.failures import FailureKind, classify
from flows.workers.fragments import (
    SourceChanged,
    clip_address,
    need_planned,
    original_speech,
    read_clip,
    write_fragment,
)
from shards.commit import Ledger, Receipt
from shards.fingerprint import file_sha256
from shards.schema import Rejection
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import claim
from tests.support.fakes import MemorySource

NO_FACE = Rejection(code="no_face", detail="nobody is seen")


def test_clips_go_into_the_tar_and_reasons_beside_it(tmp_path: Path) -> None:
    parts = [make_clip(1), NO_FACE, make_clip(2)]
    fragment, rejections = write_fragment(iter(parts), tmp_path / "fragment.tar", jpeg_quality=95)
    assert fragment is not None
    assert [entry.key for entry in fragment.entries] == [make_clip(1).key, make_clip(2).key]
    assert rejections == [NO_FACE]


def test_without_a_clip_there_is_no_tar(tmp_path: Path) -> None:
    assert write_fragment(iter([NO_FACE]), tmp_path / "fragment.tar", jpeg_quality=95) == (None, [NO_FACE])
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_breaks_while_it_is_cut_leaves_no_tar(tmp_path: Path) -> None:
    def parts() -> object:
        yield make_clip(1)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write_fragment(parts(), tmp_path / "fragment.tar", jpeg_quality=95)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_address_leads_back_to_the_clip(tmp_path: Path) -> None:
    ledger = Ledger(open_store(tmp_path / "store"))
    fragment, _ = write_fragment([make_clip(1), make_clip(2)], tmp_path / "fragment.tar", jpeg_quality=95)
    assert fragment is not None
    ref = ledger.put_object(claim(ledger, "unit"), fragment.path, ".tar")
    receipt = Receipt(unit_id="unit", stage="extract", objects=(ref,), samples=fragment.entries)
    clip = read_clip(ledger.store, clip_address(receipt, fragment.entries[1]))
    assert clip.key == make_clip(2).key
    np.testing.assert_array_equal(clip.landmarks.points, make_clip(2).landmarks.points)


def test_a_source_without_a_sound_track_has_no_speech() -> None:
    source = MemorySource([np.zeros((4, 4, 3), dtype=np.uint8)])
    assert original_speech(Path("memory.mkv"), source.info, source, 16_000) is None


def test_the_planned_file_passes_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"as planned")
    planned = file_sha256(path)
    need_planned(path, planned)
    path.write_bytes(b"as changed")
    with pytest.raises(SourceChanged, match="changed after it was planned"):
        need_planned(path, planned)
    path.unlink()
    with pytest.raises(SourceChanged, match="is not there any more"):
        need_planned(path, planned)


def test_a_file_that_is_gone_is_not_held_against_its_content() -> None:
    assert classify(SourceChanged("gone")) is FailureKind.POISON
