"""One sample <-> a run of tar bytes: the members of a key, side by side, headers and padding included.

Because a run is whole and self-contained, packing copies runs from tar to tar, and reading one sample is one ranged
read. The stock library's writer is not used: it buffers (no offsets to record) and importing it imports torch.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping

from shards.errors import ObjectDamaged

END = bytes(2 * tarfile.BLOCKSIZE)
"""What closes a tar."""


def sample_run(key: str, members: Mapping[str, bytes]) -> bytes:
    """The members as `key.ext`, in alphabetical order; time, owner and mode are fixed: equal content, equal bytes."""
    return b"".join(_member(f"{key}.{ext}", members[ext]) for ext in sorted(members))


def run_members(key: str, run: bytes) -> dict[str, bytes]:
    """Extension -> bytes; anything in the run that is not a member of `key`, or is cut short, is refused."""
    members: dict[str, bytes] = {}
    at = 0
    # Header by header: opening a tar for each sample would take as long as all the rest of reading it.
    while any(header := run[at : at + tarfile.BLOCKSIZE]):
        try:
            info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise ObjectDamaged(f"clip {key}: its bytes are no tar members at byte {at}: {error}") from error
        name, _, ext = info.name.partition(".")
        if not info.isreg() or name != key or not ext or ext in members or info.size < 0:
            raise ObjectDamaged(f"clip {key}: its bytes hold a foreign member {info.name!r}")
        start = at + tarfile.BLOCKSIZE
        members[ext] = run[start : start + info.size]
        at = start + info.size + _padding(info.size)
    if at != len(run):
        raise ObjectDamaged(f"clip {key}: its tar members end at byte {at} of {len(run)}")
    return members


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mtime, info.uid, info.gid, info.mode = 0, 0, 0, 0o644
    return info.tobuf(format=tarfile.USTAR_FORMAT) + data + bytes(_padding(len(data)))


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
