"""What travels where, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.media.probe import probe_with_times
from preprocessing.media.tracks import CONTAINERS, container_for, iso639, refuse_unfinishable
from shards.errors import RequestError
from tests.support import lavfi


def test_an_ending_we_cannot_finish_in_is_refused_with_the_choices() -> None:
    with pytest.raises(RequestError, match=r"title\.mp5.*\.mp4, \.m4v, \.mov, \.mkv"):
        container_for(Path("title.mp5"))


def test_frame_times_that_matroska_would_round_are_refused_before_any_work(tmp_path: Path) -> None:
    info, times = probe_with_times(lavfi.video(tmp_path / "a.mp4", fps="30", seconds=0.4))
    assert times is not None
    with pytest.raises(RequestError, match="whole milliseconds"):
        refuse_unfinishable(Path("t.mkv"), info, times)
    assert refuse_unfinishable(Path("t.MP4"), info, times) is CONTAINERS[".mp4"]


@pytest.mark.parametrize(
    ("tag", "code"),
    [("de", "ger"), ("pt-BR", "por"), ("es-419", "spa"), ("zh_Hant", "chi"), ("ara", "ara"), ("x1", None)],
)
def test_languages_become_the_three_letters_that_survive(tag: str, code: str | None) -> None:
    assert iso639(tag) == code
