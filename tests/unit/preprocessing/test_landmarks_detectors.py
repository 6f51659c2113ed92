"""Every detector the library offers, through one function. Weights are untrained files of the library's own shape."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import face_alignment
import numpy as np
import pytest

from preprocessing.errors import ToolMissing
from preprocessing.landmarks import detectors, fan
from preprocessing.landmarks.detectors import DETECTORS, load_detector
from preprocessing.landmarks.fan import FaceAlignmentNet
from shards.errors import RequestError


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(detectors, "staged_weights", lambda name: tmp_path / name)
    monkeypatch.setattr(fan, "staged_weights", lambda name: tmp_path / name)
    return tmp_path


def write_untrained(folder: Path) -> None:
    import torch
    from face_alignment.detection.blazeface.net_blazeface import BlazeFace
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    nets = {
        "s3fd-619a316812.pth": s3fd(),
        "blazeface.pth": BlazeFace(),
        "blazefaceback.pth": BlazeFace(back_model=True),
        "2DFAN4-11f355bf06.pth.tar": FAN(4),
    }
    for name, net in nets.items():
        for layer, parameter in net.named_parameters():
            # BlazeFace's own suppression never ends over the boxes of an untrained net: let it see nobody.
            if layer.startswith("classifier") and layer.endswith("bias"):
                torch.nn.init.constant_(parameter, -100.0)
        torch.save(net.state_dict(), folder / name)
    for name in ("anchors.npy", "anchorsback.npy"):
        np.save(folder / name, np.random.default_rng(0).uniform(0, 1, (896, 4)).astype(np.float32))


def test_the_table_names_every_detector_of_the_library_but_the_one_for_files() -> None:
    folder = Path(face_alignment.__file__).parent / "detection"
    theirs = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert {row.module for row in DETECTORS.values()} == theirs - {"folder"}


def test_an_unknown_detector_is_refused_with_the_choices() -> None:
    with pytest.raises(RequestError, match="retinaface"):
        FaceAlignmentNet(1, detector="retina")


@pytest.mark.parametrize("name", ["sfd", "blazeface", "blazeface-back"])
def test_a_detector_takes_pictures_and_gives_boxes_with_scores(name: str, staged: Path) -> None:
    import torch

    write_untrained(staged)
    benchmark = torch.backends.cudnn.benchmark
    detect, reference_scale = load_detector(name, "cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
    found = detect(pictures)
    assert [boxes.shape[1] for boxes in found] == [5, 5]
    assert reference_scale in (165, 195)
    assert torch.backends.cudnn.benchmark == benchmark


@pytest.mark.parametrize("name", sorted(n for n, row in DETECTORS.items() if row.needs))
def test_a_missing_package_is_named(name: str, staged: Path) -> None:
    needs = DETECTORS[name].needs
    if needs is None or importlib.util.find_spec(needs) is not None:
        pytest.skip(f"{needs} is installed")
    with pytest.raises(ToolMissing, match=needs):
        load_detector(name, "cpu")


def test_boxes_without_a_score_count_in_full() -> None:
    assert detectors._boxes([[1, 2, 3, 4]]).tolist() == [[1, 2, 3, 4, 1]]
    assert detectors._boxes([[]]).shape == detectors._boxes([]).shape == (0, 5)


def test_both_networks_load_together(staged: Path) -> None:
    write_untrained(staged)
    made = fan.load_networks("blazeface")
    assert made.reference_scale == 195
    assert made.detect(np.zeros((1, 64, 64, 3), dtype=np.uint8))[0].shape[1] == 5
