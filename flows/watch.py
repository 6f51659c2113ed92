"""A watched place -> dubbed catalogues: every look dubs what is new and goes on with what is not finished.

Started on a schedule (`prefect.yaml`); looks may overlap without harm, because the commit records say what is done. A
catalogue that cannot be used is told in its own folder and stops no other.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.dub import dub
from flows.dubbing.config import DubConfig
from flows.dubbing.drop import Dropped, catalogues, deliver
from flows.sources.base import is_remote
from shards.errors import DubwrightError, RequestError

log = logging.getLogger(__name__)
REFUSED = "refused.json"


@task(cache_policy=NO_CACHE)
def look(place: str, work: str, settle_s: float) -> list[Dropped]:
    """The complete catalogues of the place, with what they name on this machine's disk."""
    return catalogues(place, Path(work), settle_s=settle_s)


@flow(name="watch", validate_parameters=True)
def watch(
    place: str,
    out: str,
    work: str | None = None,
    checkpoint: str | None = None,
    config: DubConfig | None = None,
    address: str = "local",
    settle_s: float = 60.0,
) -> dict[str, Any]:
    """Dubs every catalogue of a folder or bucket prefix into a folder of its own below `out`.

    `out` may be in a bucket, too: then `work`, a local folder that lasts, keeps what was fetched and finished.
    """
    local = Path(work or (out if not is_remote(out) else ""))
    if is_remote(out) and work is None:
        raise RequestError("a local folder that lasts is needed to work in", field="work", value=None)
    found = look(place, str(local), settle_s)
    return {"place": place, "catalogues": {c.name: _dubbed(c, local, out, checkpoint, config, address) for c in found}}


def _dubbed(
    dropped: Dropped, local: Path, out: str, checkpoint: str | None, config: DubConfig | None, address: str
) -> dict[str, Any]:
    """What became of one catalogue."""
    folder = (local / "finished" if is_remote(out) else local) / dropped.name
    try:
        report = dub(str(dropped.path), str(folder), checkpoint, None, config, address)
        (folder / REFUSED).unlink(missing_ok=True)
        told: dict[str, Any] = {"titles": report["titles"], "report": report["report"]}
    except DubwrightError as error:
        log.warning("%s: %s", dropped.path, error)
        folder.mkdir(parents=True, exist_ok=True)
        told = {"refused": str(error)}
        (folder / REFUSED).write_text(json.dumps({"catalogue": dropped.path.name, **told}, indent=2) + "\n")
    if is_remote(out):
        told["delivered"] = deliver(folder, f"{out.rstrip('/')}/{dropped.name}")
    return told
