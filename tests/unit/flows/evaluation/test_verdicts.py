from __future__ import annotations

from pathlib import Path

from flows.evaluation.verdicts import Verdicts
from flows.workers.evaluate import ClipVerdict

VERDICT = ClipVerdict(key="k", frames=30, figures={"made.lips": 0.1}, strip=b"plain", strip_with_landmarks=b"drawn")


def test_what_was_written_is_known_again(tmp_path: Path) -> None:
    verdicts = Verdicts(folder=tmp_path / "clips", made_by="a")
    assert verdicts.read("k") is None
    verdicts.write(VERDICT)
    assert verdicts.read("k") == VERDICT
    assert not list(verdicts.folder.glob("*.part"))


def test_the_verdict_of_another_model_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    Verdicts(folder=tmp_path, made_by="a").write(VERDICT)
    assert Verdicts(folder=tmp_path, made_by="b").read("k") is None


def test_half_a_verdict_is_none(tmp_path: Path) -> None:
    verdicts = Verdicts(folder=tmp_path, made_by="a")
    verdicts.write(VERDICT)
    whole = (tmp_path / "k.json").read_text()
    (tmp_path / "k.json").write_text(whole[: len(whole) // 2])
    assert verdicts.read("k") is None
    verdicts.write(VERDICT)
    (tmp_path / "k.landmarks.jpg").unlink()
    assert verdicts.read("k") is None
