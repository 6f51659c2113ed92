"""A sample's run of tar bytes: whole, its own, and cut nowhere."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import ObjectDamaged
from shards.tar import END, run_members, sample_run

KEY = "0" * 31 + "a"
MEMBERS = {"json": b"{}", "mel.npy": b"x" * 700, "speech.flac": b"y" * 512}

extensions = st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8})?", fullmatch=True)


@given(st.dictionaries(extensions, st.binary(max_size=2000), min_size=1, max_size=5))
def test_members_come_back_whatever_their_order(members: dict[str, bytes]) -> None:
    run = sample_run(KEY, members)
    assert run == sample_run(KEY, dict(reversed(members.items())))
    assert run_members(KEY, run) == members


def test_runs_in_a_row_and_an_end_are_a_tar() -> None:
    other = KEY.replace("a", "b")
    data = sample_run(KEY, MEMBERS) + sample_run(other, MEMBERS) + END
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == [f"{key}.{ext}" for key in (KEY, other) for ext in sorted(MEMBERS)]
        assert {(i.mtime, i.uid, i.gid, i.mode, i.uname, i.gname) for i in tar} == {(0, 0, 0, 0o644, "", "")}


@pytest.mark.parametrize("cut", [1, 100, 512, 600])
def test_a_run_cut_short_is_refused(cut: int) -> None:
    run = sample_run(KEY, {"speech.flac": b"y" * 700, "transform.npy": b"z" * 700})
    with pytest.raises(ObjectDamaged, match=KEY):
        run_members(KEY, run[:-cut])


def test_a_run_of_another_key_or_of_two_is_refused() -> None:
    run = sample_run(KEY, MEMBERS)
    with pytest.raises(ObjectDamaged, match="foreign member"):
        run_members("f" * 32, run)
    with pytest.raises(ObjectDamaged, match="foreign member"):
        run_members(KEY, run + run)


def test_bytes_that_start_elsewhere_are_refused() -> None:
    with pytest.raises(ObjectDamaged, match="no tar members"):
        run_members(KEY, b"x" * 512 + sample_run(KEY, MEMBERS))


def test_zeros_after_the_members_are_refused() -> None:
    with pytest.raises(ObjectDamaged, match="end at byte"):
        run_members(KEY, sample_run(KEY, MEMBERS) + bytes(512))
