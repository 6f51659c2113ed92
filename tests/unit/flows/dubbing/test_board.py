"""What an operator reads while titles are dubbed."""

from __future__ import annotations

import io
from pathlib import Path

from flows.dubbing.board import Board
from shards.commit import ObjectRef, Receipt, Unit
from tests.support.titles import make_title


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def unit(name: str) -> Unit:
    return Unit(unit_id=name, stage="render", payload={})


def rendered(name: str, frames: int) -> Receipt:
    made = ObjectRef(path="objects/ab/c.tar", sha256="c" * 64, size_bytes=1)
    return Receipt(unit_id=name, stage="render", objects=(made,), details={"rows": [[0, frames]]})


def test_a_log_says_how_far_the_titles_are_and_how_long_it_takes(tmp_path: Path) -> None:
    clock, stream = Clock(), io.StringIO()
    one, two = (make_title(tmp_path, title_id=n, output=f"{n}.mp4") for n in ("one", "two"))
    with Board([one, two], stream=stream, clock=clock) as board:
        for title in (one, two):
            board.entered(title, "analyse", [unit(title.row.title_id)], lambda _: True)
        board.begin()
        board.entered(one, "render", [unit("a"), unit("b")], lambda _: False)
        clock.now = 10.0
        board.settled(unit("a"), rendered("a", 120))
        assert board.line() == (
            "0/2 outputs, 30%, 120 frames drawn, 12.0 frames/s, 47 s left; "
            "one.mp4: rendering 1/2; two.mp4: analysing 1/1"
        )
        for title in (one, two):
            board.over(title)
    assert stream.getvalue().splitlines()[-1].startswith("2/2 outputs, 100%, 120 frames drawn")


def test_a_terminal_shows_a_bar_for_every_title_that_is_under_way(tmp_path: Path) -> None:
    stream, title = Terminal(), make_title(tmp_path)
    with Board([title], stream=stream, clock=Clock()) as board:
        board.begin()
        board.entered(title, "render", [unit("a"), unit("b")], lambda u: u.unit_id == "a")
    assert "one.es.mp4: rendering 1/2" in stream.getvalue()
    assert "█" in stream.getvalue()
