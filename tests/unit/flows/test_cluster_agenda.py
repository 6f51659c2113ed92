"""The order in which a lane's items are handed out."""

from __future__ import annotations

from collections.abc import Sequence

from flows.cluster.agenda import LOOK_AHEAD, Agenda, Batch
from flows.cluster.feed import Feed


def agenda(items: Sequence[str], batch: int = 1, *, is_near: bool = False) -> Agenda[str]:
    """Items such as `x1`, which needs the file `x`."""
    return Agenda(Feed(items), str, (lambda item: item[0]) if is_near else None, batch)


def first(near: Sequence[str | None]) -> int:
    return 0


def names(batch: Batch[str]) -> list[str]:
    return [entry.item for entry in batch]


def test_what_waited_comes_again_in_its_order_and_no_sooner() -> None:
    work = agenda("abc")
    a, b = work.next_new(1, first), work.next_new(1, first)
    work.again(a, delay_s=1000)
    assert work.next_due() == ()
    work.again(b)
    assert work.next_due() == b
    assert (work.num_waiting, work.num_left) == (1, 2)
    assert work.due_in_s is not None
    assert 0 < work.due_in_s <= 1000


def test_a_batch_larger_than_is_allowed_by_now_comes_in_parts() -> None:
    work = agenda("abcde", batch=5)
    work.again(work.next_new(5, first))
    work.batch = 2
    assert [names(work.next_due()) for _ in range(4)] == [["a", "b"], ["c", "d"], ["e"], []]
    assert work.is_over


def test_the_items_of_one_file_go_together() -> None:
    work = agenda(["x1", "y1", "x2", "y2", "x3"], batch=3, is_near=True)
    assert names(work.next_new(3, first)) == ["x1", "x2", "x3"]
    assert names(work.next_new(3, first)) == ["y1", "y2"]


def test_an_item_is_passed_over_for_nearer_ones_only_so_often() -> None:
    work = agenda(["far", *["near"] * 100], is_near=True)
    order = [names(work.next_new(1, lambda near: len(near) - 1))[0] for _ in range(LOOK_AHEAD + 1)]
    assert order.index("far") == LOOK_AHEAD


def test_without_big_files_no_item_is_taken_before_its_time() -> None:
    items = iter("abc")
    work = Agenda(Feed(items), str, None, 1)
    work.next_new(1, first)
    assert next(items) == "b"
