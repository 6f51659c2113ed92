"""A fragment is an ordinary WebDataset tar with the same bytes every time, and is read back before it is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shards.codec import decode_clip, encode_clip
from shards.errors import ObjectDamaged
from shards.fingerprint import file_sha256
from shards.schema import ClipSample
from shards.tar import END, run_members, sample_run
from shards.writer import Fragment, FragmentWriter, check_fragment
from tests.support.clips import make_clip
from tests.support.stock import stock_samples


def write(path: Path, clips: list[ClipSample]) -> Fragment:
    with FragmentWriter(path) as writer:
        for clip in clips:
            writer.add(clip)
        return writer.seal()


def some_clips(num: int = 3) -> list[ClipSample]:
    return [make_clip(n, frames=n + 2) for n in range(num)]


def test_the_same_clips_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.tar", some_clips()), write(tmp_path / "b.tar", some_clips())
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256 == file_sha256(tmp_path / "a.tar")
    assert first.size_bytes == first.path.stat().st_size


def test_each_entry_tells_where_its_clip_lies(tmp_path: Path) -> None:
    clips = some_clips()
    fragment = write(tmp_path / "a.tar", clips)
    data = fragment.path.read_bytes()
    for entry, clip in zip(fragment.entries, clips, strict=True):
        run = data[entry.offset : entry.offset + entry.size_bytes]
        assert decode_clip(entry.key, run_members(entry.key, run)).key == clip.key
        assert (entry.identity, entry.language, entry.num_frames) == (clip.identity, "en", len(clip.times))
        assert entry.scores == clip.scores
        assert entry.duration_s == pytest.approx(len(clip.times) / 25)


def test_the_stock_library_reads_every_key_and_every_member(tmp_path: Path) -> None:
    clips = some_clips()
    fragment = write(tmp_path / "a.tar", clips)
    assert stock_samples(fragment.path) == [(clip.key, encode_clip(clip)) for clip in clips]


def test_a_clip_twice_is_refused(tmp_path: Path) -> None:
    with FragmentWriter(tmp_path / "a.tar") as writer:
        writer.add(make_clip(1))
        with pytest.raises(ValueError, match="already in"):
            writer.add(make_clip(1))


def test_a_tar_of_nothing_is_refused(tmp_path: Path) -> None:
    with FragmentWriter(tmp_path / "a.tar") as writer, pytest.raises(ValueError, match="no clips"):
        writer.seal()


def test_what_is_not_sealed_is_removed(tmp_path: Path) -> None:
    with FragmentWriter(tmp_path / "a.tar") as writer:
        writer.add(make_clip(1))
    assert list(tmp_path.iterdir()) == []


def test_a_clip_of_one_frame_lasts_as_long_as_its_sound(tmp_path: Path) -> None:
    clip = make_clip(1, frames=1)
    assert write(tmp_path / "a.tar", [clip]).entries[0].duration_s == clip.speech.duration_s


class TestReadingBack:
    def test_a_tar_cut_at_a_member_boundary_is_found(self, tmp_path: Path) -> None:
        """The stock reader gives fewer samples from such a file, and no error."""
        fragment = write(tmp_path / "a.tar", some_clips())
        data = fragment.path.read_bytes()
        fragment.path.write_bytes(data[: fragment.entries[2].offset] + END)
        with pytest.raises(ObjectDamaged, match="not, side by side, those of the 3 clips"):
            check_fragment(fragment.path, fragment.entries)

    def test_a_flipped_bit_is_found_with_its_clip_and_member(self, tmp_path: Path) -> None:
        fragment = write(tmp_path / "a.tar", some_clips())
        data = bytearray(fragment.path.read_bytes())
        data[data.index(b"fLaC", fragment.entries[1].offset) + 100] ^= 4
        fragment.path.write_bytes(data)
        with pytest.raises(ObjectDamaged, match=rf"{fragment.entries[1].key}: member `speech\.flac` is damaged"):
            check_fragment(fragment.path, fragment.entries)

    def test_members_of_a_key_that_are_not_side_by_side_are_found(self, tmp_path: Path) -> None:
        a, b = make_clip(1), make_clip(2)
        first, second = encode_clip(a), encode_clip(b)
        json_of_a = {"json": first.pop("json")}
        path = tmp_path / "a.tar"
        path.write_bytes(sample_run(a.key, first) + sample_run(b.key, second) + sample_run(a.key, json_of_a) + END)
        entries = write(tmp_path / "good.tar", [a, b]).entries
        with pytest.raises(ObjectDamaged, match="side by side"):
            check_fragment(path, entries)

    def test_a_missing_required_member_is_found(self, tmp_path: Path) -> None:
        clip = make_clip(1)
        members = encode_clip(clip)
        del members["frames.mjpeg"]
        run = sample_run(clip.key, members)
        (tmp_path / "a.tar").write_bytes(run + END)
        entry = replace(write(tmp_path / "good.tar", [clip]).entries[0], size_bytes=len(run))
        with pytest.raises(ObjectDamaged, match=r"missing `frames\.mjpeg`"):
            check_fragment(tmp_path / "a.tar", (entry,))

    def test_a_file_that_is_no_tar_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").write_bytes(b"x" * 2000)
        with pytest.raises(ObjectDamaged, match="no tar"):
            check_fragment(tmp_path / "a.tar", ())
