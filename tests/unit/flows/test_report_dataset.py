"""A dataset's card: what it says, that it is one file, and that it comes out the same again."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from flows.report.contact import SHEET_BYTES
from flows.report.dataset import _limits, card_page, card_path, length, write_card
from preprocessing.config import QualityConfig
from preprocessing.quality.duplicates import HASH_SCORES
from preprocessing.quality.gates import judge
from shards.commit import Ledger
from shards.deal import PackConfig
from shards.index import DatasetInfo
from shards.pack import finalize
from shards.schema import ClipSample
from shards.store import Store, open_store
from tests.support.clips import make_clip
from tests.support.datasets import commit_clips, commit_rejection, make_plan

QUALITY = QualityConfig(min_sharpness=30.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def scored(number: int, sharpness: float, identity: str = "person-0", **changed: object) -> ClipSample:
    clip = make_clip(number, frames=4, identity=identity)
    return dataclasses.replace(clip, scores={"sharpness": sharpness, "silence": 0.25}, **changed)


def published(
    store: Store, folder: Path, quality: QualityConfig = QUALITY, licences: tuple[str | None, ...] = ()
) -> DatasetInfo:
    """Two people, four clips kept, two blurred, and a source without a face."""
    ledger, plan = Ledger(store), make_plan(3, licences=licences)
    ledger.write_plan(plan)
    commit_clips(ledger, "unit-0", [scored(1, 40), scored(2, 50), scored(3, 20)], folder)
    clips = [scored(4, 60, "<b>eve</b>"), scored(5, 70, "<b>eve</b>", language=None), scored(6, 10, "<b>eve</b>")]
    commit_clips(ledger, "unit-1", clips, folder)
    commit_rejection(ledger, "unit-2", "no_face")
    return finalize(
        ledger,
        plan,
        PackConfig(val_share=0.0, test_share=0.0),
        accept=lambda entry: judge(entry.scores, quality),
        thresholds=quality.model_dump(),
    )


def test_the_card_stands_beside_the_dataset(store: Store, tmp_path: Path) -> None:
    info = published(store, tmp_path)
    path = write_card(store, info.hash)
    assert path == card_path(info.hash) == f"datasets/{info.hash}/card.html"
    assert store.read(path).decode() == card_page(store, info.hash)


def test_the_card_says_what_is_in_the_dataset(store: Store, tmp_path: Path) -> None:
    info = published(store, tmp_path)
    page = card_page(store, info.hash)
    assert f"<code>{info.hash}</code>" in page
    assert "<dt>Clips</dt><dd>4</dd>" in page
    assert "<dt>Identities</dt><dd>2</dd>" in page
    assert "3 planned = 2 kept + 1 rejected + 0 quarantined" in page
    assert row(page, "train")[:2] == ["train", "4"]
    assert row(page, "en")[:2] == ["en", "3"]
    assert row(page, "unknown")[:2] == ["unknown", "1"]
    assert "<span>min_sharpness</span><span>30.0</span>" in page


def test_the_card_says_how_long_the_clips_of_each_licence_are(store: Store, tmp_path: Path) -> None:
    info = published(store, tmp_path, licences=("CC-BY-4.0", None, "other"))
    page = card_page(store, info.hash)
    assert row(page, "CC-BY-4.0")[2] == row(page[page.index("<h2>Licences") :], "unknown")[2] == "50.0 %"
    assert "other" not in info.hours_by_licence


def test_the_card_of_sources_without_a_licence_has_no_table_of_them(store: Store, tmp_path: Path) -> None:
    assert "Licences" not in card_page(store, published(store, tmp_path).hash)


def test_each_code_is_counted_explained_and_shown_by_an_example(store: Store, tmp_path: Path) -> None:
    page = card_page(store, published(store, tmp_path).hash)
    code, count, meaning, remedy, example = row(page, "<code>blurred</code>")
    assert (code, count) == ("<code>blurred</code>", "2")
    assert meaning.startswith("sharpness is too low: ")
    assert remedy == "clips.quality.min_sharpness; the limit was 30"
    assert re.match(r"unit-\d: sharpness is \d0", example)
    assert row(page, "<code>no_face</code>")[1] == "1"


def row(page: str, first: str) -> list[str]:
    """The cells of the table row that begins so."""
    found = re.search(rf"<tr><td>{re.escape(first)}</td>.*?</tr>", page)
    assert found, f"no row of {first}"
    return re.findall(r"<td[^>]*>(.*?)</td>", found[0])


def test_the_scores_are_drawn_with_the_rejected_and_the_threshold(store: Store, tmp_path: Path) -> None:
    page = card_page(store, published(store, tmp_path).hash)
    sharpness = page[page.index("Histogram of sharpness") : page.index("Histogram of silence")]
    assert "min_sharpness 30" in sharpness
    counted = [(int(n), kind) for n, kind in re.findall(r"<title>(\d+) (kept|rejected)", sharpness)]
    assert sum(n for n, kind in counted if kind == "kept") == 4
    assert sum(n for n, kind in counted if kind == "rejected") == 2


def test_the_hash_that_finds_copies_is_no_score_to_draw(store: Store, tmp_path: Path) -> None:
    hashed = dataclasses.replace(scored(1, 40), scores={"sharpness": 40.0, HASH_SCORES[0]: 5.0})
    ledger, plan = Ledger(store), make_plan(1)
    ledger.write_plan(plan)
    commit_clips(ledger, "unit-0", [hashed], tmp_path)
    page = card_page(store, finalize(ledger, plan, PackConfig(val_share=0.0, test_share=0.0)).hash)
    assert "Histogram of sharpness" in page
    assert f"Histogram of {HASH_SCORES[0]}" not in page


def test_an_offset_has_a_threshold_on_either_side() -> None:
    assert _limits({"max_av_offset_s": 0.1}, "av_offset_s") == {"max_av_offset_s": 0.1, "-max_av_offset_s": -0.1}
    assert _limits({"max_yaw_deg": 40, "min_seen": 0.9}, "yaw") == {"max_yaw_deg": 40.0}


def test_the_sheets_show_clips_that_were_kept_and_that_were_not(store: Store, tmp_path: Path) -> None:
    page = card_page(store, published(store, tmp_path).hash)
    kept, rejected = page[page.index("Clips that were kept") :].split("Clips that were rejected")
    assert [key in kept for key in keys(1, 2, 4, 5)] == [True] * 4
    assert [key in rejected for key in keys(3, 6)] == [True] * 2
    assert (kept.count("data:image/jpeg"), rejected.count("data:image/jpeg")) == (4, 2)


def keys(*numbers: int) -> list[str]:
    return [make_clip(number).key for number in numbers]


def test_nothing_on_the_page_leads_out_of_it_and_no_name_becomes_markup(store: Store, tmp_path: Path) -> None:
    page = card_page(store, published(store, tmp_path).hash)
    addresses = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s]{4,20})", page)
    assert addresses
    assert all(address.startswith("data:image/jpeg") for address in addresses)
    assert "<b>eve</b>" not in page
    assert "&lt;b&gt;eve&lt;/b&gt;" in page


def test_the_page_comes_out_the_same_again(store: Store, tmp_path: Path) -> None:
    name = published(store, tmp_path).hash
    assert card_page(store, name) == card_page(store, name)


def test_a_dataset_that_left_nothing_out_has_one_sheet(store: Store, tmp_path: Path) -> None:
    page = card_page(store, published(store, tmp_path, QualityConfig(min_sharpness=1.0)).hash)
    assert "Clips that were rejected" not in page


def test_a_clip_that_cannot_be_read_is_shown_as_that_and_the_others_are_there(store: Store, tmp_path: Path) -> None:
    info = published(store, tmp_path)
    shard = tmp_path / "store" / info.shards[0].path
    data = bytearray(shard.read_bytes())
    data[2000:2100] = bytes(100)
    shard.write_bytes(data)
    page = card_page(store, info.hash)
    assert page.count('<div class="problem">') == 1
    assert page.count("data:image/jpeg") == 5


def test_two_full_sheets_keep_the_page_within_2_mb() -> None:
    assert 2 * SHEET_BYTES * 4 / 3 < 1.9e6


def test_a_length_is_told_in_minutes_where_hours_would_round_away() -> None:
    assert (length(0.05), length(1234.5)) == ("3.0 min", "1,234.5 h")
