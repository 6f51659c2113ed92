"""Weight files: named when missing, refused when damaged, never fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from preprocessing.errors import ToolMissing
from preprocessing.landmarks.fan import FaceAlignmentNet
from preprocessing.landmarks.weights import staged_weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_missing_weights_are_named_with_the_place_they_belong_to(folder: Path) -> None:
    with pytest.raises(ToolMissing) as refused:
        FaceAlignmentNet(1).setup()
    assert "2DFAN4-11f355bf06.pth.tar" in str(refused.value)
    assert str(folder) in str(refused.value)
    assert not folder.exists()


def test_weights_are_checked_against_the_hash_in_their_name(folder: Path) -> None:
    folder.mkdir(parents=True)
    good = f"net-{hashlib.sha256(b'weights').hexdigest()[:10]}.pth.tar"
    for name, content in ((good, b"weights"), ("net-0123456789.pth", b"half")):
        (folder / name).write_bytes(content)
    assert staged_weights(good) == folder / good
    with pytest.raises(ToolMissing, match="damaged"):
        staged_weights("net-0123456789.pth")


def test_weights_without_a_hash_in_their_name_need_one_beside_them(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "face-mobile.pth").write_bytes(b"weights")
    with pytest.raises(ToolMissing, match=r"face-mobile\.pth\.sha256"):
        staged_weights("face-mobile.pth")
    beside = folder / "face-mobile.pth.sha256"
    beside.write_text(f"{hashlib.sha256(b'weights').hexdigest().upper()}  face-mobile.pth\n")
    assert staged_weights("face-mobile.pth") == folder / "face-mobile.pth"
    beside.write_text(f"{'0' * 64}  face-mobile.pth\n")
    with pytest.raises(ToolMissing, match="damaged"):
        staged_weights("face-mobile.pth")
