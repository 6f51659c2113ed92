"""The programs are found or named, and no file makes ffmpeg open another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.errors import MediaToolError, ToolMissing
from preprocessing.media.runner import run_media
from preprocessing.media.tools import encoders, ffmpeg, ffmpeg_command, ffprobe, file_url, input_args
from tests.support import lavfi


def test_a_missing_ffmpeg_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUBWRIGHT_FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(ToolMissing, match=r"DUBWRIGHT_FFMPEG.*install ffmpeg"):
        ffmpeg()


def test_an_empty_path_names_ffprobe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DUBWRIGHT_FFPROBE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="ffprobe is not here"):
        ffprobe()


def test_the_encoders_we_rely_on_are_listed_by_name() -> None:
    assert {"libx264", "libx265", "prores_ks", "aac"} <= encoders()


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {other}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
def test_a_play_list_named_like_a_video_opens_nothing(tmp_path: Path, text: str) -> None:
    other = lavfi.video(tmp_path / "secret.mp4", seconds=0.2)
    bait = tmp_path / "bait.mp4"
    bait.write_text(text.format(other=other))
    with pytest.raises(MediaToolError):
        run_media(ffmpeg_command(*input_args(bait), "-f", "null", "-"), deadline_s=20)


def test_a_name_that_looks_like_an_address_stays_a_file_name(tmp_path: Path) -> None:
    assert file_url(tmp_path / "http:x.mp4") == f"file:{tmp_path}/http:x.mp4"
