"""What the records say of a row: every status, and a finished file that is not there any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.records import Records
from flows.title import Title
from tests.support.titles import (
    A_STRIP,
    changed,
    commit_analysis,
    commit_master,
    commit_pictures,
    commit_renders,
    give_up,
    make_records,
    make_title,
    nobody,
    reject,
    rendered,
)


@pytest.fixture
def title(tmp_path: Path) -> Title:
    return make_title(tmp_path / "in", meta={"client": "A"})


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return make_records(tmp_path / "out")


def done(records: Records, title: Title) -> None:
    commit_analysis(records, title)
    commit_renders(records, title)
    commit_master(records, title)


def told(records: Records, title: Title, *, up_to_date: bool = False) -> tuple[str, str | None]:
    row = records.row(title, up_to_date=up_to_date)
    return row["status"], row["reason"]


def test_nothing_is_known_of_a_row_before_its_picture_is_analysed(records: Records, title: Title) -> None:
    assert records.renders(title) == []
    assert records.master(title) is None
    assert records.finished(title) is None
    assert records.strip(title) is None
    assert not records.is_current(title)
    assert told(records, title) == ("failed_system", "it was not finished; run the same command again")


def test_a_finished_row_says_what_was_done(records: Records, title: Title) -> None:
    done(records, title)
    row = records.row(title, up_to_date=False)
    told = {name: row[name] for name in ("title_id", "language", "output", "status", "reason", "frames", "meta")}
    assert told == {
        "title_id": "one",
        "language": "es",
        "output": "one.es.mp4",
        "status": "succeeded",
        "reason": None,
        "frames": 20,
        "meta": {"client": "A"},
    }
    assert (row["rendered_frames"], row["coverage"]) == (20, 1.0)
    assert [(shot["decision"], shot["dubbed_frames"]) for shot in row["shots"]] == [("dubbed", 10), ("dubbed", 10)]
    assert records.strip(title) == A_STRIP


def test_a_row_finished_by_an_earlier_run_is_up_to_date(records: Records, title: Title) -> None:
    done(records, title)
    assert records.is_current(title)
    assert told(records, title, up_to_date=True) == ("up_to_date", None)


# -- the file ---------------------------------------------------------------------------------------------------------


def test_an_output_that_was_deleted_is_the_work_of_a_new_unit(records: Records, title: Title) -> None:
    done(records, title)
    first = records.master(title)
    (records.out / title.row.output).unlink()
    again = records.master(title)
    assert first is not None
    assert again is not None
    assert again.unit_id != first.unit_id
    assert again.payload == first.payload
    assert not records.is_current(title)
    assert records.ledger.receipt(first.unit_id) is not None
    assert told(records, title)[0] == "failed_system"


def test_an_output_of_another_size_is_made_again_and_holds_from_then_on(records: Records, title: Title) -> None:
    done(records, title)
    (records.out / title.row.output).write_bytes(b"somebody's cut")
    assert not records.is_current(title)
    for number in range(3):
        commit_master(records, title, content=b"x" * (number + 50))
        assert records.is_current(title)
        assert told(records, title) == ("succeeded", None)
        (records.out / title.row.output).unlink()


def test_what_is_to_do_does_not_depend_on_who_asks_or_how_often(records: Records, title: Title) -> None:
    done(records, title)
    (records.out / title.row.output).unlink()
    assert records.master(title) == records.master(title)
    commit_master(records, title)
    assert records.master(title) == records.master(title)


def test_a_row_that_went_back_to_an_older_request_is_finished_again(records: Records, title: Title) -> None:
    done(records, title)
    other = changed(title, seed=9)
    commit_renders(records, other)
    commit_master(records, other, content=b"another film of another size")
    assert records.is_current(other)
    assert not records.is_current(title)


def test_a_row_without_its_note_is_looked_up_among_the_commits(records: Records, title: Title) -> None:
    done(records, title)
    for path in list(records.ledger.store.list("requests/")):
        records.ledger.store.delete(path)
    assert not records.is_current(title)
    master = records.master(title)
    assert master is not None
    assert records.ledger.receipt(master.unit_id) is not None
    assert records.is_current(title)


def test_a_chunk_that_is_not_encoded_leaves_nothing_to_finish(records: Records, title: Title) -> None:
    commit_analysis(records, title)
    commit_renders(records, title)
    assert len(records.pictures(title)) == 1
    assert records.master(title) is None


@pytest.mark.parametrize("columns", [{"priority": 7}, {"meta": {"client": "B"}}])
def test_what_changes_nothing_of_the_file_leaves_it_current(
    records: Records, title: Title, columns: dict[str, object]
) -> None:
    done(records, title)
    assert records.is_current(changed(title, **columns))
    assert not records.is_current(changed(title, keep_audio=False))


# -- what went wrong ---------------------------------------------------------------------------------------------------


def test_a_shot_that_could_not_be_rendered_needs_a_person(records: Records, title: Title) -> None:
    commit_analysis(records, title)
    first, second = records.renders(title)
    give_up(records.ledger, first)
    rendered(records.ledger, second)
    commit_master(records, title)
    row = records.row(title, up_to_date=True)
    assert row["status"] == "needs_review"
    assert [flag["severity"] for flag in row["flags"]][:1] == ["Blocker"]
    assert "the encoder crashed" in str(row["flags"][0]["detail"])
    assert records.is_current(title)


def test_what_was_given_up_and_is_tried_again_makes_the_file_old(records: Records, title: Title) -> None:
    commit_analysis(records, title)
    first, _ = records.renders(title)
    give_up(records.ledger, first)
    commit_master(records, title)
    assert records.is_current(title)
    records.ledger.void(first.unit_id, "retry", "asked for by hand")
    assert not records.is_current(title)
    commit_renders(records, title)
    commit_master(records, title)
    assert told(records, title) == ("succeeded", None)


def test_a_title_without_a_face_is_flagged(records: Records, title: Title) -> None:
    commit_analysis(records, title, nobody())
    commit_master(records, title)
    row = records.row(title, up_to_date=False)
    assert (row["status"], row["rendered_frames"]) == ("succeeded_with_flags", 0)
    assert {flag["code"] for flag in row["flags"]} >= {"nothing_changed", "no_face"}


def test_a_master_that_was_given_up_failed_by_the_system(records: Records, title: Title) -> None:
    commit_analysis(records, title)
    commit_renders(records, title)
    commit_pictures(records, title)
    master = records.master(title)
    assert master is not None
    give_up(records.ledger, master)
    status, reason = told(records, title)
    assert status == "failed_system"
    assert reason == (
        "master: MediaToolError: the encoder crashed; "
        f"once that is mended: dubwright store retry {records.out / '.dubwright'}"
    )


def test_a_master_that_was_refused_failed_by_its_input(records: Records, title: Title) -> None:
    commit_analysis(records, title)
    commit_renders(records, title)
    commit_pictures(records, title)
    master = records.master(title)
    assert master is not None
    reject(records.ledger, master)
    assert told(records, title) == ("failed_input", "master: truncated: the file ends early")
    assert records.master(title) == master


def test_a_picture_that_could_not_be_analysed_is_told_and_leaves_nothing_to_do(records: Records, title: Title) -> None:
    give_up(records.ledger, records.analysis(title))
    assert records.master(title) is None
    status, reason = told(records, title)
    assert (status, str(reason).partition(";")[0]) == ("failed_system", "analyse: MediaToolError: the encoder crashed")


def test_a_picture_that_was_refused_is_told(records: Records, title: Title) -> None:
    reject(records.ledger, records.analysis(title))
    assert (records.master(title), records.renders(title), records.pictures(title)) == (None, [], [])
    assert told(records, title) == ("failed_input", "analyse: truncated: the file ends early")


def test_a_finished_row_whose_new_edition_fails_is_not_told_as_a_success(records: Records, title: Title) -> None:
    done(records, title)
    (records.out / title.row.output).unlink()
    master = records.master(title)
    assert master is not None
    give_up(records.ledger, master)
    assert told(records, title)[0] == "failed_system"
