"""Media programs can neither hang us, nor fill a pipe for ever, nor fail unnoticed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocessing.errors import MediaToolError, MediaToolTimeout, ToolMissing
from preprocessing.media.runner import STDERR_KEPT_BYTES, MediaPipe, run_media


def child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_program_prints_comes_back() -> None:
    result = run_media(child("import sys; print('out'); print('err', file=sys.stderr)"), deadline_s=20)
    assert (result.stdout, result.stderr) == (b"out\n", "err\n")


def test_a_hanging_program_is_killed_at_its_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(MediaToolTimeout, match=r"all its 0\.5 s"):
        run_media(child("import time; time.sleep(60)"), deadline_s=0.5)
    assert time.monotonic() - started < 20


def test_a_program_that_stops_making_progress_is_killed_long_before_its_deadline() -> None:
    code = "import time; print('started', flush=True); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(MediaToolTimeout, match=r"for 0\.5 s"):
        run_media(child(code), deadline_s=60, stall_s=0.5)
    assert time.monotonic() - started < 30


def test_what_a_killed_program_started_is_killed_too(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    grandchild = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {grandchild!r}]); time.sleep(60)"
    with pytest.raises(MediaToolTimeout):
        run_media(child(code), deadline_s=2)
    assert note.exists(), "the grandchild never ran, so nothing was proved"
    assert is_gone(int(note.read_text()))


def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]:
            return True
        time.sleep(0.05)
    return False


def test_a_slow_reader_is_not_charged_to_the_program() -> None:
    with MediaPipe(child("import sys; sys.stdout.write('x' * 5_000_000)"), deadline_s=30, stall_s=10) as pipe:
        pipe.read(10)
        before = pipe.waited_s
        time.sleep(0.3)
        assert pipe.waited_s == before
        assert len(pipe.read_all()) == 4_999_990


def test_a_failing_program_says_why() -> None:
    with pytest.raises(MediaToolError, match="no such codec") as caught:
        run_media(child("import sys; sys.exit('no such codec')"), deadline_s=20)
    assert caught.value.status == 1


def test_a_talkative_program_neither_blocks_nor_fills_memory() -> None:
    code = "import sys; [sys.stderr.write('y' * 1000 + '\\n') for _ in range(2000)]; sys.stderr.write('the end')"
    said = run_media(child(code), deadline_s=20).stderr
    assert said.endswith("the end")
    assert len(said) <= STDERR_KEPT_BYTES


def test_input_and_output_larger_than_any_pipe_pass_at_once() -> None:
    code = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    blocks = [bytes([n]) * 1_500_000 for n in range(4)]
    assert run_media(child(code), deadline_s=20, stdin=blocks).stdout == b"".join(blocks)


def test_a_program_that_dies_while_it_is_fed_says_why() -> None:
    with pytest.raises(MediaToolError, match="enough"):
        run_media(child("import sys; sys.exit('enough')"), deadline_s=20, stdin=[b"z" * 5_000_000])


def test_an_error_in_what_feeds_a_program_is_the_one_that_is_raised() -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("the feed broke")

    with pytest.raises(LookupError, match="the feed broke"):
        run_media(child("import sys; sys.stdin.read()"), deadline_s=20, stdin=broken())


def test_a_program_without_input_does_not_wait_for_the_terminal() -> None:
    assert run_media(child("import sys; print(repr(sys.stdin.read()))"), deadline_s=20).stdout == b"''\n"


def test_a_missing_program_is_a_wrong_request() -> None:
    with pytest.raises(ToolMissing, match="no-such-program"):
        run_media(["no-such-program"], deadline_s=1)


def test_reading_stops_where_the_output_does() -> None:
    with MediaPipe(child("print('abc', end='')"), deadline_s=20) as pipe:
        assert (pipe.read(2), pipe.read(2), pipe.read(2)) == (b"ab", b"c", b"")
        pipe.finish()
