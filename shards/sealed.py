"""A json object that knows its version and whether it was changed: what every record in a store is.

The checksum comes first and covers the bytes behind it, so that checking costs one hash and no second serialisation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from shards.errors import ObjectDamaged
from shards.fingerprint import canonical_json
from shards.schema import SCHEMA_VERSION, check_schema_version

_OPENING, _CLOSING = b'{"checksum":"', b'",'
_BODY = len(_OPENING) + 64 + len(_CLOSING)


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Canonical json with `schema_version`, and in front of all the rest its `checksum`."""
    rest = canonical_json({**content, "schema_version": SCHEMA_VERSION})[1:]
    return _OPENING + _checksum(rest) + _CLOSING + rest


def unsealed(data: bytes, where: str) -> dict[str, Any]:
    """What was sealed; another version is refused, and a change found. `where` names it in errors."""
    try:
        record = json.loads(data)
    except ValueError as error:
        raise ObjectDamaged(f"{where} is damaged: not json: {error}") from error
    if not isinstance(record, dict):
        raise ObjectDamaged(f"{where} is damaged: not a json object")
    # Before the checksum: another version may well make it in another way.
    check_schema_version(record.get("schema_version"), where)
    if not is_unchanged(data):
        raise ObjectDamaged(f"{where} is damaged: its checksum differs")
    del record["schema_version"], record["checksum"]
    return record


def is_unchanged(data: bytes) -> bool:
    """That the bytes are those that were sealed, in this version's way."""
    return data[:_BODY] == _OPENING + _checksum(data[_BODY:]) + _CLOSING


def _checksum(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest().encode()
