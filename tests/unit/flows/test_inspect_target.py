"""What is this? Each kind of thing that can be asked about, and what is said to a target that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.explain.target import Outputs, inspect
from shards.errors import RequestError
from shards.index import DatasetInfo
from shards.store import Store, open_store
from tests.support.datasets import make_dataset
from tests.support.lavfi import sine, video


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def info(store: Store, tmp_path: Path) -> DatasetInfo:
    return make_dataset(store, tmp_path)


def test_a_video_is_told_with_its_picture_and_sound(tmp_path: Path) -> None:
    found = inspect(str(video(tmp_path / "film.mp4", seconds=0.4, sound=True)))
    assert (found["kind"], found["video"]["num_frames"], len(found["audio"])) == ("video", 10, 1)


def test_sound_alone_is_told_as_sound(tmp_path: Path) -> None:
    assert inspect(str(sine(tmp_path / "tone.wav", seconds=0.1)))["kind"] == "sound"


def test_a_file_that_is_neither_is_told_as_unusable_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a film")
    found = inspect(str(tmp_path / "notes.txt"))
    assert (found["kind"], found["code"]) == ("unusable", "not_media")


@pytest.mark.parametrize("name", ["take#2.wav", "take@2.wav", "take@abc.wav"])
def test_a_file_whose_name_holds_a_sign_of_ours_is_a_file(tmp_path: Path, name: str) -> None:
    assert inspect(str(sine(tmp_path / name, seconds=0.1)))["kind"] == "sound"


def test_a_store_tells_of_its_newest_dataset_and_where_to_look_next(store: Store, info: DatasetInfo) -> None:
    found = inspect(store.uri)
    assert (found["kind"], found["dataset"]["hash"], len(found["clips"])) == ("store", info.hash, 5)
    assert inspect(found["clips"][0])["kind"] == "clip"
    assert inspect(found["dataset"]["shards"][0])["kind"] == "shard"


def test_a_store_whose_name_holds_an_at_sign_is_a_store(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data@2f")
    assert inspect(store.uri)["kind"] == "store"


def test_an_empty_store_is_told_as_one_and_has_no_page(store: Store, tmp_path: Path) -> None:
    found = inspect(store.uri)
    assert (found["kind"], found["current"], "clips" in found) == ("store", None, False)
    with pytest.raises(RequestError, match="no dataset has been published"):
        inspect(store.uri, Outputs(page=tmp_path / "page.html"))


def test_a_dataset_is_named_by_the_first_letters_of_its_hash(store: Store, info: DatasetInfo) -> None:
    found = inspect(f"{store.uri}@{info.hash[:6]}")
    assert (found["kind"], found["hash"], found["clips_in_all"]) == ("dataset", info.hash, 12)


@pytest.mark.parametrize("name", ["abcdef0", "00", "f"])
def test_a_hash_of_no_dataset_or_too_short_is_refused_with_those_there_are(
    store: Store, info: DatasetInfo, name: str
) -> None:
    with pytest.raises(RequestError, match=rf"no such dataset; .*{info.hash}"):
        inspect(f"{store.uri}@{name}")


def test_too_few_letters_of_a_hash_are_refused_also_where_they_would_fit(store: Store, info: DatasetInfo) -> None:
    with pytest.raises(RequestError, match="at least 6"):
        inspect(f"{store.uri}@{info.hash[:5]}")


def test_a_clip_of_a_named_dataset_is_found(store: Store, info: DatasetInfo) -> None:
    key = inspect(store.uri)["clips"][0].partition("#")[2]
    assert inspect(f"{store.uri}@{info.hash[:8]}#{key}")["key"] == key


def test_a_checkpoint_is_told_with_its_sizes(checkpoint: Path) -> None:
    found = inspect(str(checkpoint))
    assert (found["kind"], found["preset"], found["trained"]) == ("checkpoint", "nano", {})
    sizes = found["parameters"]
    assert sizes["all"] == sum(n for name, n in sizes.items() if name != "all")
    weights = found["weights_mb"]
    assert weights["float32"]["all"] == pytest.approx(sizes["all"] * 4 / 1e6, abs=1e-3)
    assert weights["bfloat16"]["denoiser"] == pytest.approx(sizes["denoiser"] * 2 / 1e6, abs=1e-3)
    assert found["peak_mb at 8 frames, float32"]["decode"] > 0


def test_a_preset_is_told_with_the_size_it_would_have() -> None:
    found = inspect("tiny")
    assert (found["kind"], found["preset"], found["condition"]["crop_px"]) == ("preset", "tiny", 64)
    assert found["gflop_a_frame"]["denoiser"] > 0
    with pytest.raises(RequestError, match="a preset has none"):
        inspect("tiny", Outputs(picture=Path("tiny.png")))


@pytest.mark.parametrize("target", ["absent.mp4", ".", "absent#key", "#key", "absent@abcdef", "absent.tar#key"])
def test_what_is_nothing_of_ours_is_refused_with_what_could_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"Valid: FILE, .*STORE#KEY"):
        inspect(target)
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_no_clip_is_refused_with_where_to_find_one(store: Store, info: DatasetInfo) -> None:
    with pytest.raises(RequestError, match=r"no such clip; `dubwright inspect .* names some"):
        inspect(f"{store.uri}#{'f' * 32}")


def test_what_is_neither_key_nor_unit_is_refused(store: Store, info: DatasetInfo) -> None:
    with pytest.raises(RequestError, match="neither a clip's key"):
        inspect(f"{store.uri}#unit-99")


def test_outputs_that_a_thing_does_not_have_are_refused_before_anything_is_written(
    store: Store, info: DatasetInfo, tmp_path: Path, checkpoint: Path
) -> None:
    out = tmp_path / "out"
    clip = inspect(store.uri)["clips"][0]
    sound = str(sine(tmp_path / "tone.wav", seconds=0.1))
    for target in (store.uri, f"{store.uri}@{info.hash}", str(checkpoint), sound, f"{store.uri}#unit-0"):
        for outputs in (Outputs(picture=out), Outputs(video=out)):
            with pytest.raises(RequestError, match=r"name a clip \(STORE#KEY\)"):
                inspect(target, outputs)
    for target in (clip, str(checkpoint), sound):
        with pytest.raises(RequestError, match="name a dataset"):
            inspect(target, Outputs(page=out))
    assert not out.exists()
