"""The files a row names: those it is made from, which must be there, and the one it becomes, which must have a name.

Owns how cells become paths and file names, and what is wrong with one. What is in the files is for the probe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from preprocessing.media.tracks import CONTAINERS, container_for
from shards.errors import RequestError, nearest

DEFAULT_OUTPUT = "{title_id}.{language}{ext}"
TEMPLATE_FIELDS = ("title_id", "language", "stem", "ext")
MAX_NAME_BYTES = 200
"""Of a part of an output's path; file systems take 255, and the files it is made from add to the name."""
_CODECS = {"mezzanine:prores_422hq": "prores", "mezzanine:dnxhr_hqx": "dnxhd", "review:h264": "h264"}
"""What a policy asks for; `match` is told by the source alone."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIELD = re.compile(r"\{([^{}]*)\}")


def file_problem(path: Path, *, suggest: bool) -> str | None:
    """Why this file cannot be read; looks through its folder for a like name when asked to `suggest`."""
    try:
        return _file_problem(path, suggest=suggest)
    except OSError as error:
        return f"cannot be looked at: {error.strerror} (got {str(path)[:200]})"


def folder_problem(path: Path, *, suggest: bool) -> str | None:
    """Why this is no folder."""
    try:
        if path.is_dir():
            return None
        if path.exists():
            return f"is a file, a folder is needed (got {path})"
        return f"no such folder (got {path})" + _like(path, suggest=suggest)
    except OSError as error:
        return f"cannot be looked at: {error.strerror} (got {str(path)[:200]})"


def _file_problem(path: Path, *, suggest: bool) -> str | None:
    if path.is_dir():
        return f"is a directory, a file is needed (got {path})"
    if not path.exists():
        return f"no such file (got {path})" + _like(path, suggest=suggest)
    if path.stat().st_size == 0:
        return f"the file is empty (got {path})"
    return None if os.access(path, os.R_OK) else f"this program may not read it (got {path})"


def _like(path: Path, *, suggest: bool) -> str:
    near = nearest(path.name, os.listdir(path.parent)) if suggest and path.parent.is_dir() else None
    return f"; did you mean {near!r}?" if near else ""


def filled_output(template: str, cells: Mapping[str, str], policy: str, found: list[str]) -> str:
    """The file name a template comes to, from the row's `title_id`, `video` and `language`.

    A field that does not exist is told in `found`, and stands as it was written.
    """
    video = PurePosixPath(cells["video"])
    values = {**cells, "stem": video.stem, "ext": _ending(video, policy)}
    for name in _FIELD.findall(template):
        if name not in values:
            near = nearest(name, TEMPLATE_FIELDS)
            hint = f"; did you mean {{{near}}}?" if near else "."
            valid = " ".join(f"{{{field}}}" for field in TEMPLATE_FIELDS)
            found.append(f"`output`: there is no {{{name}}} to fill in{hint} Valid: {valid} (got {template[:200]!r})")
    # One pass: what a cell holds is never read as a template.
    return _FIELD.sub(lambda field: values.get(field[1], field[0]), template)


def _ending(video: PurePosixPath, policy: str) -> str:
    """The source's own where we finish in it and it carries what the policy asks for."""
    codec, own = _CODECS.get(policy), video.suffix.lower()
    endings = [ending for ending, container in CONTAINERS.items() if codec is None or codec in container.video]
    return own if own in endings else ".mp4" if ".mp4" in endings else ".mov"


def output_problem(output: str) -> str | None:
    """Why this is no name of a finished file."""
    path = PurePosixPath(output)
    if path.is_absolute() or ".." in path.parts or "\\" in output or not path.suffix or _CONTROL.search(output):
        return "a file name with a suffix, inside --out"
    if path.parts[0].startswith("."):
        return "names that begin with a dot are kept for the run's own records"
    if max(len(part.encode()) for part in path.parts) > MAX_NAME_BYTES:
        return f"a name of at most {MAX_NAME_BYTES} bytes"
    try:
        container_for(Path(output))
    except RequestError as error:
        return f"{error.message}; valid endings: {', '.join(error.choices)}"
    return None
