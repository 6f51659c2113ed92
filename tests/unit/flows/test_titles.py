"""Unit ids: they change with what a result depends on, and with nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.records import Records
from flows.titles import MAX_REFERENCE_CLIPS, MAX_UNIT_FRAMES, Title, Voice, analysis_config, analysis_unit, spread
from preprocessing.landmarks.mediapipe_mesh import MediapipeMesh
from shards.commit import Unit
from tests.support.clips import make_clip
from tests.support.titles import VOICE, changed, commit_analysis, commit_renders, make_records, make_title

Renders = Callable[..., list[Unit]]


@pytest.fixture
def title(tmp_path: Path) -> Title:
    return make_title(tmp_path / "in")


@pytest.fixture
def records(tmp_path: Path, title: Title) -> Records:
    """A picture that is analysed, with two stretches of one face."""
    records = make_records(tmp_path / "out")
    commit_analysis(records, title)
    return records


def ids(units: list[Unit]) -> list[str]:
    return [unit.unit_id for unit in units]


def master_id(records: Records, title: Title) -> str:
    unit = records.master(title)
    assert unit is not None
    return unit.unit_id


def voice(**other: Any) -> Voice:
    return dataclasses.replace(VOICE, **other)


# -- analysis ----------------------------------------------------------------------------------------------------------


def test_a_second_language_reuses_the_analysis(title: Title, tmp_path: Path) -> None:
    other = make_title(tmp_path / "in", audio=b"son", language="fr", output="one.fr.mp4")
    config = analysis_config(VOICE)
    assert analysis_unit(title, config) == analysis_unit(other, config)


def test_the_same_picture_under_another_name_is_the_same_analysis(title: Title, tmp_path: Path) -> None:
    moved = make_title(tmp_path / "elsewhere", title_id="copy")
    config = analysis_config(VOICE)
    assert analysis_unit(title, config).unit_id == analysis_unit(moved, config).unit_id


@pytest.mark.parametrize("other", [voice(crop_px=128), voice(window="whole_face"), voice(topology="ibug68")])
def test_a_voice_that_sees_faces_otherwise_needs_its_own_analysis(title: Title, other: Voice) -> None:
    here, there = (analysis_unit(title, analysis_config(v)).unit_id for v in (VOICE, other))
    assert here != there


def test_a_voice_with_other_weights_reuses_the_analysis(title: Title) -> None:
    config = analysis_config(voice(digest="e" * 64, checkpoint="/other"))
    assert analysis_unit(title, config) == analysis_unit(title, analysis_config(VOICE))


def test_another_version_of_the_landmark_backend_needs_another_analysis(
    title: Title, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = analysis_unit(title, analysis_config(VOICE)).unit_id
    monkeypatch.setattr(MediapipeMesh, "version", "another")
    assert analysis_unit(title, analysis_config(VOICE)).unit_id != before


def test_landmarks_are_found_by_the_backend_that_the_checkpoint_was_trained_on() -> None:
    assert analysis_config(VOICE).faces.backend == "mediapipe"
    assert analysis_config(voice(topology="ibug68")).faces.backend == "face-alignment"


# -- stretches ---------------------------------------------------------------------------------------------------------


def test_there_is_a_unit_for_each_stretch_of_the_face(records: Records, title: Title) -> None:
    units = records.renders(title)
    assert [unit.payload["clip"]["key"] for unit in units] == [make_clip(n).key for n in (1, 2)]
    assert all(len(unit.payload["reference_clips"]) == 2 for unit in units)


def test_another_language_over_the_same_sound_renders_nothing_and_is_mastered_apart(
    records: Records, title: Title
) -> None:
    other = changed(title, language="fr", output="one.fr.mp4")
    assert ids(records.renders(title)) == ids(records.renders(other))
    commit_renders(records, title)
    assert master_id(records, title) != master_id(records, other)


@pytest.mark.parametrize("columns", [{"seed": 1}, {"quality": "draft"}])
def test_another_seed_or_quality_is_rendered_anew(records: Records, title: Title, columns: dict[str, Any]) -> None:
    assert not set(ids(records.renders(title))) & set(ids(records.renders(changed(title, **columns))))


def test_another_speech_or_voice_is_rendered_anew(records: Records, title: Title, tmp_path: Path) -> None:
    before = set(ids(records.renders(title)))
    assert not before & set(ids(records.renders(make_title(tmp_path / "in", audio=b"other"))))
    assert not before & set(ids(dataclasses.replace(records, voice=voice(digest="e" * 64)).renders(title)))


def test_names_and_notes_change_nothing_that_is_rendered(records: Records, title: Title) -> None:
    other = changed(title, title_id="renamed", output="sub/renamed.mp4", meta={"client": "A"})
    assert records.renders(title) == records.renders(other)


def test_only_a_persons_own_stretches_are_looked_through_for_references(tmp_path: Path, title: Title) -> None:
    records = make_records(tmp_path / "two faces")
    clips = [make_clip(n, frames=4, identity=name) for n, name in ((1, "Ann"), (2, "Bob"), (3, "Ann"))]
    commit_analysis(records, title, clips)
    keys = [[clip["key"] for clip in unit.payload["reference_clips"]] for unit in records.renders(title)]
    ann, bob = [clips[0].key, clips[2].key], [clips[1].key]
    assert keys == [ann, bob, ann]


@pytest.mark.parametrize("count", [0, 1, MAX_REFERENCE_CLIPS, MAX_REFERENCE_CLIPS + 1, 700])
def test_references_are_few_distinct_and_reach_over_the_whole_title(count: int) -> None:
    clips = [{"number": n} for n in range(count)]
    found = [clip["number"] for clip in spread(clips)]
    assert len(found) == min(count, MAX_REFERENCE_CLIPS)
    assert found == sorted(set(found))
    if count:
        assert (found[0], found[-1]) == (0, count - 1)


def test_a_picture_without_a_face_has_nothing_to_render(tmp_path: Path, title: Title) -> None:
    records = make_records(tmp_path / "faceless")
    commit_analysis(records, title, [])
    assert records.renders(title) == []
    assert records.master(title) is not None


# -- the finished file -------------------------------------------------------------------------------------------------


def test_a_stretch_that_was_rendered_otherwise_is_mastered_anew(records: Records, title: Title) -> None:
    before = master_id(records, title)
    commit_renders(records, title)
    assert master_id(records, title) != before


@pytest.mark.parametrize("columns", [{"language": "fr"}, {"output": "other.mp4"}])
def test_language_and_name_belong_to_the_file(records: Records, title: Title, columns: dict[str, Any]) -> None:
    assert master_id(records, title) != master_id(records, changed(title, **columns))


def test_payloads_are_plain_and_lead_to_the_files_from_any_folder(records: Records, title: Title) -> None:
    commit_renders(records, title)
    master = records.master(title)
    assert master is not None
    for unit in [records.analysis(title), *records.renders(title), master]:
        assert json.loads(json.dumps(unit.payload)) == json.loads(json.dumps(dict(unit.payload)))
        for column in ("video", "audio"):
            if column in unit.payload:
                assert Path(unit.payload[column]).is_absolute()


def test_the_least_number_of_units_counts_the_file_and_full_stretches(title: Title) -> None:
    assert title.least_units == 2
    video = dataclasses.replace(title.info.video, num_frames=MAX_UNIT_FRAMES + 1)  # type: ignore[type-var]
    longer = dataclasses.replace(title, info=dataclasses.replace(title.info, video=video))
    assert longer.least_units == 3
