"""The list of sources the compact model is trained on: `python -m tests.support.compact_corpus SHARED TITLES OUT.csv`.

Says who is who, so that nobody is on both sides of a split:

- GRID names its speakers; the footage's copies of its sentences are the same people;
- a person who is in several files of the footage was found by looking, and is named in `SAME_PERSON`;
- the news anchors are not labelled. All of them are ONE identity here: they are trained on together or not at all;
- so are the titles that `dubwright sample` made.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SAME_PERSON = {
    "sadtalker__ref_video_WDA_AlexandriaOcasioCortez": "aoc",
    "vretalk__face_3": "aoc",
    "vretalk__face_4": "vretalk-4",
    "liveportrait__driving_d10": "liveportrait-10",
    "lipify-lipreading__Colors": "lipify-colors",
    "datajuicer__data_juicer_data_juicer_my_pretrained_method_Light-ASD": "light-asd",
    "datajuicer__r_data_juicer_my_pretrained_method_Light-ASD": "light-asd",
}
"""How the name of a file of the footage begins -> who it shows."""
ANCHORS = "news-anchors"
_GRID_SENTENCE = re.compile(r"lipnet__(?:GRID|id2_vcd)_([a-z0-9]{6})\.")


def rows(shared: Path, titles: Path) -> Iterator[dict[str, str]]:
    """One per file, in a fixed order."""
    speaker_of: dict[str, str] = {}
    for row in _table(shared / "grid" / "grid.csv"):
        speaker_of[Path(row["file"]).stem.partition("__")[2]] = row["speaker"]
        yield _row(shared / "grid" / row["file"], f"grid-{row['speaker']}", "en", row["licence"])
    for row in _table(shared / "footage" / "footage.csv"):
        if row["use"] == "train+test":
            licence = f"not cleared (repository: {row['licence_of_repository']})"
            yield _row(shared / "footage" / row["file"], _person(Path(row["file"]), speaker_of), "", licence)
    for row in _table(shared / "news_ar" / "news_ar.csv"):
        yield _row(shared / "news_ar" / row["file"], ANCHORS, "ar", "not cleared (repository: MIT)")
    for title in sorted(titles.glob("*.mp4")):
        yield _row(title, "generated", "", "public-domain portraits, animated")


def _person(file: Path, speaker_of: dict[str, str]) -> str:
    if (sentence := _GRID_SENTENCE.match(file.name)) is not None:
        return f"grid-{speaker_of[sentence[1]]}"
    named = (who for start, who in SAME_PERSON.items() if file.name.startswith(start))
    return next(named, file.stem)


def _row(file: Path, identity: str, language: str, licence: str) -> dict[str, str]:
    return {"source": str(file), "identity": identity, "language": language, "licence": licence}


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main(shared: Path, titles: Path, out: Path) -> None:
    listed = list(rows(shared.resolve(), titles.resolve()))
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(listed[0]))
        writer.writeheader()
        writer.writerows(listed)
    sys.stdout.write(f"{out}: {len(listed)} files, {len({row['identity'] for row in listed})} identities\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
