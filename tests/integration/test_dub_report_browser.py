"""The report in a real browser: it plays, seeks, filters and sorts, and asks for nothing but the files beside it."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.report.dub import write_dub_report
from tests.support import lavfi
from tests.support.accounts import FAILED, strip, told_flag, told_report, told_row

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")
BOUND_MS = 20_000
LOADED = "[...document.querySelectorAll('video')].every(v => v.readyState >= 1 && v.videoWidth === 128)"
IN_STEP = "(([source, result]) => result.currentTime > 0.3 && Math.abs(source.currentTime - result.currentTime) < 0.08)"
PLAYERS = "[...document.querySelectorAll('#title-0 video')]"
FLAGS = [
    told_flag("Blocker", code="not_rendered", start=50, stop=60, tc_in="01:00:02:00", tc_out="01:00:02:10", shot=1),
    told_flag("Issue", start=20, stop=30, tc_in="01:00:00:20", tc_out="01:00:01:05"),
]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources and results: H.264 with AAC, and a codec that browsers do not play."""
    folder = tmp_path_factory.mktemp("films")
    lavfi.video(folder / "in.mp4", size="128x96", seconds=4, sound=True)
    lavfi.video(folder / "odd.mp4", size="128x96", seconds=1, sound=True, more=("-c:v", "mpeg4"))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, headless=True)
        yield started
        started.close()


class Visit:
    """A page that is open, and all that went over its wires."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page.set_default_timeout(BOUND_MS)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path | str) -> Any:
        self.page.goto(path.as_uri() if isinstance(path, Path) else path)
        return self.page

    def until(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}", timeout=BOUND_MS)


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Whatever a test does, the page complains of nothing and goes nowhere else."""
    opened = Visit(browser)
    yield opened
    opened.page.close()
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file://", "http://127.0.0.1:", "data:"))] == []


def reported(films: Path, out: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """Two titles that play, unless told otherwise; the second failed its checks."""
    given = rows or [
        told_row(flags=FLAGS, status="needs_review", reason="01:00:02:00: 20 frames are as they were"),
        told_row(title_id="two", language="de", output="two.de.mp4", flags=[], coverage=0.5),
    ]
    for row in given:
        row["video"] = str(films / "in.mp4")
        if row["shots"] and not (out / row["output"]).exists():
            (out / row["output"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(films / "in.mp4", out / row["output"])
    return write_dub_report(out, told_report(*given), {row["output"]: strip() for row in given if row["shots"]})


def shown(page: Any) -> list[str]:
    return [link.inner_text() for link in page.query_selector_all("#overview tbody tr:not([hidden]) a")]


def test_both_players_load_and_play_in_step(visit: Visit, films: Path, tmp_path: Path) -> None:
    page = visit.open(reported(films, tmp_path))
    visit.until(LOADED)
    page.click("#title-0 .play")
    visit.until(f"{IN_STEP}({PLAYERS})")
    assert page.inner_text("#title-0 .play") == "Pause"
    # One that falls behind catches up.
    page.evaluate(f"{PLAYERS}[0].currentTime -= 0.2")
    visit.until(f"!{PLAYERS}[0].seeking && {IN_STEP}({PLAYERS})")
    page.click("#title-0 .play")
    assert page.evaluate(f"{PLAYERS}.every(v => v.paused)")
    assert page.evaluate("document.querySelector('#title-1 video').paused")


def test_a_flag_seeks_both_players_and_shows_its_shot(visit: Visit, films: Path, tmp_path: Path) -> None:
    page = visit.open(reported(films, tmp_path))
    visit.until(LOADED)
    page.click("#title-0 .flags [data-seek='50']")
    visit.until(f"{PLAYERS}.every(v => !v.seeking && Math.abs(v.currentTime - 50.5 / 25) < 1e-3)")
    visit.until("document.querySelector('#title-0 tr.now td').textContent === '2'")
    assert "frame 50" in page.inner_text("#title-0 output")


def test_keys_play_step_and_go_to_the_next_flag(visit: Visit, films: Path, tmp_path: Path) -> None:
    page = visit.open(reported(films, tmp_path))
    visit.until(LOADED)
    page.click("#title-0 h3")
    for key, frame in (("n", 20), ("n", 50), ("n", 20), ("ArrowRight", 21), ("ArrowLeft", 20)):
        page.keyboard.press(key)
        visit.until(f"{PLAYERS}.every(v => !v.seeking && Math.floor(v.currentTime * 25) === {frame})")
    page.keyboard.press("s")
    assert page.evaluate(f"{PLAYERS}.map(v => v.muted)") == [False, True]
    page.keyboard.press(" ")
    visit.until(f"{IN_STEP}({PLAYERS})")
    page.keyboard.press(" ")
    assert page.evaluate(f"{PLAYERS}.every(v => v.paused)")


def test_titles_are_filtered_by_status_and_words_and_sorted(visit: Visit, films: Path, tmp_path: Path) -> None:
    rows = [told_row(flags=FLAGS, status="needs_review"), told_row(output="b.mp4", coverage=0.5)]
    page = visit.open(reported(films, tmp_path, [*rows, told_row(output="a.mp4", **FAILED)]))
    assert shown(page) == ["one.es.mp4", "b.mp4", "a.mp4"]
    page.click("[data-filter=needs_review]")
    assert shown(page) == ["one.es.mp4"]
    page.click("[data-filter='']")
    page.fill("#find", "ES b.m")
    assert shown(page) == ["b.mp4"]
    assert page.inner_text("#shown") == "1 of 3"
    page.fill("#find", "")
    for head, order in (("Output", "abo"), ("Output", "oba"), ("Coverage", "oba"), ("Coverage", "boa")):
        page.click(f"#overview th button:text-is('{head}')")
        assert "".join(name[0] for name in shown(page)) == order


def test_nothing_is_loaded_before_a_title_is_opened(visit: Visit, films: Path, tmp_path: Path) -> None:
    page = visit.open(reported(films, tmp_path, [told_row(output=f"{name}.mp4", flags=[]) for name in "abc"]))
    page.wait_for_load_state()
    assert [url for url in visit.requests if url.endswith(".mp4")] == []
    page.click("#overview a:text-is('b.mp4')")
    visit.until("[...document.querySelectorAll('#title-1 video')].every(v => v.readyState >= 1)")
    assert {url.rsplit("/", 1)[1] for url in visit.requests if url.endswith(".mp4")} == {"b.mp4", "in.mp4"}


@pytest.mark.parametrize("is_there", [True, False])
def test_what_a_browser_cannot_play_is_said_and_the_pictures_stay(
    browser: Any, films: Path, tmp_path: Path, is_there: bool
) -> None:
    visit, row = Visit(browser), told_row(flags=[])
    shutil.copyfile(films / "odd.mp4", tmp_path / row["output"])
    path = reported(films, tmp_path, [row])
    if not is_there:
        (tmp_path / row["output"]).unlink()
    page = visit.open(path)
    page.wait_for_selector("#title-0 .unplayable", state="visible")
    assert "cannot play the result:" in page.inner_text("#title-0 .unplayable")
    assert page.is_visible("#title-0 .strip img")
    page.click("#title-0 .play")
    visit.until("document.querySelector('#title-0 video.source').currentTime > 0.1")
    page.close()


def test_many_titles_have_pages_of_their_own_and_a_way_back(visit: Visit, films: Path, tmp_path: Path) -> None:
    rows = [told_row(output=f"films/{number}.mp4", **({} if number == 60 else FAILED)) for number in range(61)]
    page = visit.open(reported(films, tmp_path, rows))
    page.click("#overview a:text-is('films/60.mp4')")
    visit.until(LOADED)
    page.click("a:text-is('All of catalogue.csv')")
    page.wait_for_selector("#overview")
    assert len(shown(page)) == 61


def test_a_served_report_plays_too(visit: Visit, films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "films")
    reported(tmp_path / "films", tmp_path / "out")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            visit.open(f"http://127.0.0.1:{server.server_port}/out/report.html")
            visit.until(LOADED)
            visit.page.goto("about:blank")
        finally:
            server.shutdown()
            serving.join(BOUND_MS / 1000)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A test says nothing."""


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_follows_the_colours(
    browser: Any, films: Path, tmp_path: Path, width: int
) -> None:
    path, backs = reported(films, tmp_path), set()
    for scheme in ("light", "dark"):
        visit = Visit(browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = visit.open(path)
        visit.until(LOADED)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Of the canvas itself, which is what the colour scheme paints.
        backs.add(page.evaluate("getComputedStyle(document.body).color"))
        page.close()
    assert len(backs) == 2
