"""Prints constraints.txt: every distribution the project needs, by the installed packages' own metadata, pinned.

`make constraints` runs it. Install the new versions into .venv first; what nobody needs is left out.
"""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER = """\
# Every version, pinned; installed with `pip install --no-deps`, so no resolver can undo it. Made by `make constraints`.
# Left out on purpose, although a package names them:
"""
LEFT_OUT = {
    "opencv-python": "opencv-python-headless fills the same folder",
    "opencv-contrib-python": "opencv-python-headless fills the same folder",
    "jax": "mediapipe names it; FaceMesh does not use it",
    "jaxlib": "mediapipe names it; FaceMesh does not use it",
    "sentencepiece": "mediapipe names it for text tasks",
    "sounddevice": "mediapipe and pocketsphinx name it for microphones",
}


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = [Requirement(r) for r in project["dependencies"]]
    wanted += [Requirement(r) for group in project["optional-dependencies"].values() for r in group]
    wanted += [Requirement("setuptools")]  # builds the editable install
    installed = {canonicalize_name(d.metadata["Name"]): d for d in metadata.distributions()}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while wanted:
        requirement = wanted.pop()
        name, extras = canonicalize_name(requirement.name), tuple(sorted(requirement.extras))
        if name in LEFT_OUT or (name, extras) in seen:
            continue
        if name not in installed:
            raise SystemExit(f"{name} is needed and not installed: pip install it into .venv, then run this again")
        seen.add((name, extras))
        for line in installed[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras or ("",)):
                wanted.append(needed)
    notes = "".join(f"#   {name}: {why}\n" for name, why in sorted(LEFT_OUT.items()))
    # A local version such as 2.13.0+cpu names one machine's build, not the release.
    pins = sorted({f"{name}=={installed[name].version.split('+')[0]}" for name, _ in seen})
    print(HEADER + notes + "\n".join(pins))  # noqa: T201 - its output is the file


if __name__ == "__main__":
    main()
