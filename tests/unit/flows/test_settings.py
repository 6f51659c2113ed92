"""Settings: what the file says over what is the default, and every wrong line named."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.preprocess import PreprocessJob
from flows.settings import settings
from shards.errors import RequestError


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_without_a_file_there_are_the_defaults() -> None:
    assert settings(PreprocessJob, None) == PreprocessJob()


def test_the_file_goes_over_the_defaults_level_by_level_and_the_command_line_over_both(tmp_path: Path) -> None:
    path = write(tmp_path, "clips: {crop: {size_px: 64}}\nlimit: 3\n")
    base = PreprocessJob().model_dump()
    base["clips"]["crop"]["window"] = "whole_face"
    job = settings(PreprocessJob, path, base=base, limit=5)
    assert (job.clips.crop.size_px, job.clips.crop.window, job.limit) == (64, "whole_face", 5)
    assert settings(PreprocessJob, path, limit=None).limit == 3


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert settings(PreprocessJob, write(tmp_path, "# nothing yet\n")) == PreprocessJob()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limt: 3", "`limt`: no such setting; did you mean `limit`? Valid: clips, pack, engine, staging, limit"),
        ("clips: {crop: {sizepx: 64}}", "`clips.crop.sizepx`: no such setting; did you mean `size_px`? Valid: size_px"),
        ("zzz: 1", "`zzz`: no such setting. Valid: clips, pack, engine, staging, limit"),
        ("clips: {crop: {size_px: 63}}", "`clips.crop.size_px`: Input should be a multiple of 8 (got 63)"),
        ("limit: many", "`limit`: Input should be a valid integer"),
        ("clips: 3", "`clips`: Input should be a valid dictionary"),
        ("[1, 2]", "`name: value` lines are needed, not a list"),
        ("just words", "`name: value` lines are needed, not a str"),
        ("clips: {", "not YAML: "),
        (b"limit: \xff\xfe", "not YAML: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RequestError) as caught:
        settings(PreprocessJob, path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        settings(PreprocessJob, write(tmp_path, "limt: 3\nlimit: many\nclips: {audio: {features: []}}\n"))
    assert len(str(caught.value).splitlines()) == 4


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(RequestError, match="`--config`: no such file"):
            settings(PreprocessJob, path)
