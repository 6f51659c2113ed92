"""A look at a watched place: one catalogue that cannot be used is told, and stops no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows import watch as watching
from flows.dubbing.drop import Dropped
from shards.errors import RequestError


@pytest.fixture
def dubbed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Stands in for the dubbing flow: (catalogue, folder) of every run; one named `bad` is refused."""
    seen: list[tuple[str, str]] = []

    def dub(manifest: str, out: str, *_: Any) -> dict[str, Any]:
        seen.append((manifest, out))
        if Path(manifest).stem == "bad":
            raise RequestError("row 2, `video`: no such file")
        return {"titles": {"succeeded": 1}, "report": f"{out}/report.html"}

    monkeypatch.setattr(watching, "dub", dub)
    return seen


def told(dropped: Dropped, local: Path, out: str) -> dict[str, Any]:
    return watching._dubbed(dropped, local, out, None, None, "none")


def test_each_catalogue_is_dubbed_into_a_folder_of_its_own(tmp_path: Path, dubbed: list[tuple[str, str]]) -> None:
    one = told(Dropped("spring/catalogue", tmp_path / "good.csv"), tmp_path, str(tmp_path))
    assert dubbed == [(str(tmp_path / "good.csv"), str(tmp_path / "spring" / "catalogue"))]
    assert one == {"titles": {"succeeded": 1}, "report": f"{tmp_path}/spring/catalogue/report.html"}


def test_a_catalogue_that_cannot_be_used_is_told_in_its_folder_until_it_can(
    tmp_path: Path, dubbed: list[tuple[str, str]]
) -> None:
    found = told(Dropped("drop", tmp_path / "bad.csv"), tmp_path, str(tmp_path))
    assert "no such file" in found["refused"]
    refused = tmp_path / "drop" / watching.REFUSED
    assert json.loads(refused.read_text())["catalogue"] == "bad.csv"
    told(Dropped("drop", tmp_path / "mended.csv"), tmp_path, str(tmp_path))
    assert not refused.exists()


def test_what_is_finished_is_delivered_to_a_bucket(
    tmp_path: Path, dubbed: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered: list[tuple[Path, str]] = []
    monkeypatch.setattr(watching, "deliver", lambda folder, to: delivered.append((folder, to)) or ["s3://b/out/a.mp4"])
    found = told(Dropped("drop", tmp_path / "good.csv"), tmp_path, "s3://b/out/")
    assert delivered == [(tmp_path / "finished" / "drop", "s3://b/out/drop")]
    assert found["delivered"] == ["s3://b/out/a.mp4"]


def test_a_bucket_to_deliver_to_needs_a_folder_to_work_in() -> None:
    with pytest.raises(RequestError, match="a local folder that lasts"):
        watching.watch.fn("/nowhere", "s3://b/out")
