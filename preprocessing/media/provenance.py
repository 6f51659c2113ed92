"""Says, beside a finished title and inside it, what of it a model made and from what.

Owns the account (`Provenance`), its sidecar file, and the C2PA manifest that is signed last: inside MP4 and QuickTime
files, beside Matroska files, which C2PA does not embed in. No network is used: no time-stamp authority, no look-up of
revoked keys. Keys are `signing_keys.py`.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preprocessing.errors import MediaToolError, ToolMissing
from preprocessing.media.signing_keys import SigningKey, development_key
from shards.errors import RequestError
from shards.fingerprint import file_sha256

SCHEMA = "dubwright.provenance/1"
SIDECAR_SUFFIX = ".provenance.json"
MANIFEST_SUFFIX = ".c2pa"

_EMBEDDED = {".mp4": "video/mp4", ".m4v": "video/x-m4v", ".mov": "video/quicktime"}
_BESIDE = "video/x-matroska"
_COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_SOURCE = "source"
"""The name that the actions of a manifest use for the title that was opened."""
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_SETTINGS = {
    # `_need_valid` reads every title back; the library's own look before it would read all of it once more.
    "verify": {**_OFFLINE, "verify_after_sign": False},
    # Beyond this it works on a temporary file; by default it holds half a gigabyte more of a title in memory.
    "core": {"backing_store_memory_threshold_in_mb": 16},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A file that went into a title, named without its folder: where it lay is nobody's business."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a finished title was made of. No time of day is in it: the same title has the same account."""

    title_id: str
    language: str
    source: Origin
    speech: tuple[Origin, ...]
    """The delivered sound first, then the speakers' own recordings that were heard as well."""
    models: tuple[str, ...]
    """Digests of the models that drew the new mouths."""
    num_frames: int
    generated: tuple[tuple[int, int], ...]
    """[first, stop) of every run of frames with something drawn by a model; counted from 0 in display order."""
    tool: str
    """Name and version of the program."""
    consent_ref: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The account as it is published."""
        account = asdict(self)
        runs = [{"first": first, "last": stop - 1} for first, stop in account.pop("generated")]
        frames = {"total": account.pop("num_frames"), "ai_generated": runs, "counted": "from 0, both ends included"}
        return {"schema": SCHEMA, **account, "frames": frames}


def sidecar(path: Path, about: Provenance) -> Path:
    """Writes the account beside a finished title, with what the title's own bytes are; call it last."""
    finished = {"name": path.name, "sha256": file_sha256(path), "size_bytes": path.stat().st_size}
    out = path.with_name(path.name + SIDECAR_SUFFIX)
    part = out.with_name(f".{out.name}.part")
    text = json.dumps({**about.as_json(), "output": finished}, indent=2, sort_keys=True, ensure_ascii=False)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(out)
    return out


def manifest_beside(path: Path) -> Path | None:
    """Where the signed manifest of a title lies when it is not inside it."""
    return None if path.suffix.lower() in _EMBEDDED else path.with_suffix(MANIFEST_SUFFIX)


def sign(path: Path, about: Provenance, key: SigningKey | None, key_folder: Path, *, source: Path | None = None) -> str:
    """Signs a finished title and reads the signature back; returns a word on how, for the report.

    Without a key, a development key in `key_folder` is used, and the word says so. `source`, where it is given and
    carries a manifest of its own, is taken up into the title's history.
    """
    used = key if key is not None else development_key(key_folder)
    refuse_unusable_key(used)
    beside = manifest_beside(path)
    try:
        if beside is None:
            _sign_inside(path, about, used, source)
        else:
            _sign_beside(path, beside, about, used, source)
    except _c2pa().C2paError as error:
        raise _failed(path, str(error)) from error
    where = "inside the file" if beside is None else f"in {beside.name} beside the file, which cannot hold it"
    whose = f"with the key of {used.certificates.name}"
    if used.is_development:
        whose = f"with a development key that nobody trusts ({used.certificates.parent}); name your own to publish"
    return f"C2PA manifest {where}, signed {whose}"


def refuse_unusable_key(key: SigningKey) -> None:
    """Signs a few bytes: a key that does not fit its certificate is found before hours of work."""
    c2pa, sample = _c2pa(), b"dubwright"
    try:
        with (
            c2pa.Context.from_dict({"verify": _OFFLINE}) as context,
            _signer(key) as signer,
            c2pa.Builder(_definition(None, "sample", _BESIDE), context=context) as builder,
        ):
            builder.set_no_embed()
            builder.sign(signer, _BESIDE, io.BytesIO(sample), io.BytesIO())
    except c2pa.C2paError as error:
        raise RequestError(
            f"nothing can be signed with it: {error}", where="signing key", value=str(key.private_key)
        ) from error


def read_manifest(path: Path, *, trusted: bytes | None = None) -> dict[str, Any]:
    """A title's manifest store as the C2PA library reports it; `validation_state` is Trusted, Valid or Invalid.

    `trusted` are root certificates (PEM) to believe.
    """
    c2pa, beside = _c2pa(), manifest_beside(path)
    trust = {"trust": {"user_anchors": trusted.decode()}} if trusted is not None else {}
    stored = beside.read_bytes() if beside is not None else None
    with (
        path.open("rb") as stream,
        c2pa.Context.from_dict({"verify": _OFFLINE, **trust}) as context,
        c2pa.Reader(_kind(path), stream, stored, context=context) as reader,
    ):
        found: dict[str, Any] = json.loads(reader.json())
    return found


def _sign_inside(path: Path, about: Provenance, key: SigningKey, source: Path | None) -> None:
    part = path.with_name(f".{path.stem}.signed{path.suffix}")
    try:
        with path.open("rb") as unsigned, part.open("w+b") as signed:
            _signed(path, about, key, source, unsigned, signed)
        _need_valid(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sign_beside(path: Path, beside: Path, about: Provenance, key: SigningKey, source: Path | None) -> None:
    with path.open("rb") as unsigned:
        manifest = _signed(path, about, key, source, unsigned, None)
    beside.write_bytes(manifest)
    _need_valid(path)


def _signed(path: Path, about: Provenance, key: SigningKey, source: Path | None, unsigned: Any, signed: Any) -> bytes:
    """The manifest; into `signed` goes the title with the manifest in it, where there is such a stream."""
    c2pa, kind = _c2pa(), _kind(path)
    with c2pa.Context.from_dict(_SETTINGS) as context, _signer(key) as signer:
        has_own = source is not None and source.suffix.lower() in _EMBEDDED
        with c2pa.Builder(_definition(about, path.name, kind, has_own=has_own), context=context) as builder:
            if source is not None and has_own:
                with source.open("rb") as opened:
                    builder.add_ingredient(_ingredient(about), _kind(source), opened)
            if signed is None:
                builder.set_no_embed()
            manifest: bytes = builder.sign(signer, kind, unsigned, signed if signed is not None else io.BytesIO())
    return manifest


def _need_valid(path: Path) -> None:
    """A signature that does not hold is none."""
    found = read_manifest(path)
    if found.get("validation_state") not in ("Valid", "Trusted"):
        reasons = "; ".join(str(s.get("explanation", s.get("code"))) for s in found.get("validation_status", []))
        raise _failed(path, f"the signature does not hold when it is read back: {reasons}")


def _failed(path: Path, why: str) -> MediaToolError:
    return MediaToolError("a title could not be signed", command=["c2pa", path.name], status=None, stderr=why)


def _definition(about: Provenance | None, name: str, kind: str, *, has_own: bool = False) -> dict[str, Any]:
    """The manifest: the source was opened, mouths were edited by a model, speech was dubbed."""
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_SOURCE]}}
    generator, _, version = (about.tool if about is not None else "dubwright").partition(" ")
    assertions: list[dict[str, Any]] = [
        {"label": "c2pa.actions.v2", "data": {"actions": [opened, *_edits(about)]}},
    ]
    if about is not None:
        assertions.append({"label": "org.dubwright.provenance", "data": about.as_json()})
    return {
        "claim_generator_info": [{"name": generator, **({"version": version} if version else {})}],
        "title": name,
        "format": kind,
        "ingredients": [] if has_own else [_ingredient(about)],
        "assertions": assertions,
    }


def _edits(about: Provenance | None) -> list[Mapping[str, Any]]:
    if about is None:
        return []
    sound = {"action": "c2pa.dubbed", "description": f"the speech {about.speech[0].name} became a sound track"}
    if not about.generated:
        return [sound]
    count = sum(stop - first for first, stop in about.generated)
    drawn = {
        "action": "c2pa.edited",
        "digitalSourceType": _COMPOSITE,
        "description": f"a model drew the mouth region of {count} of {about.num_frames} frames after the speech",
    }
    return [drawn, sound]


def _ingredient(about: Provenance | None) -> dict[str, Any]:
    origin = about.source if about is not None else Origin(name="sample", sha256="")
    return {
        "title": origin.name,
        "relationship": "parentOf",
        "label": _SOURCE,
        "description": f"sha256 {origin.sha256}",
    }


def _kind(path: Path) -> str:
    return _EMBEDDED.get(path.suffix.lower(), _BESIDE)


def _signer(key: SigningKey) -> Any:
    c2pa, (certificates, secret) = _c2pa(), key.read()
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(key.algorithm, certificates, secret, None))


def _c2pa() -> Any:
    """Loaded when a title is to be signed: a native library of tens of megabytes, with no types."""
    try:
        return importlib.import_module("c2pa")
    except ImportError as error:
        raise ToolMissing("signing needs c2pa-python: pip install c2pa-python", field="provenance") from error
