"""Which backend `auto` means, and that it says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from preprocessing.errors import ToolMissing
from preprocessing.landmarks import choice
from preprocessing.landmarks.choice import choose_backend

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    def make(*, gpu: bool, lacks: str | None, mediapipe: bool = True) -> None:
        monkeypatch.setattr(choice, "_has_gpu", lambda: gpu)
        monkeypatch.setattr(choice, "_face_alignment_lacks", lambda detector: lacks)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if mediapipe else None)

    return make


@pytest.mark.parametrize(
    ("gpu", "lacks", "mediapipe", "backend", "why"),
    [
        (True, None, True, "face-alignment", "there is a GPU"),
        (False, None, True, "mediapipe", "no GPU"),
        (True, "no weights", True, "mediapipe", "no weights"),
        (False, "no weights", True, "mediapipe", "no GPU"),
        (False, None, False, "face-alignment", "mediapipe is not installed"),
    ],
)
def test_the_machine_decides(
    machine: Machine, gpu: bool, lacks: str | None, mediapipe: bool, backend: str, why: str
) -> None:
    machine(gpu=gpu, lacks=lacks, mediapipe=mediapipe)
    found = choose_backend()
    assert found.backend == backend
    assert why in found.why


def test_a_detector_of_face_alignment_asks_for_face_alignment(machine: Machine) -> None:
    machine(gpu=False, lacks=None)
    assert choose_backend("sfd").backend == "face-alignment"


def test_where_nothing_can_run_both_ways_out_are_named(machine: Machine) -> None:
    machine(gpu=True, lacks="its weights are not here", mediapipe=False)
    with pytest.raises(ToolMissing, match=r"its weights are not here.*install `mediapipe`"):
        choose_backend()


def test_this_machine_has_an_answer_for_what_lacks() -> None:
    lacks = choice._face_alignment_lacks("sfd")
    assert lacks is None or "weights" in lacks
