"""A json object that knows its version and whether it was changed: what every record in a store is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from shards.errors import ObjectDamaged
from shards.fingerprint import canonical_json
from shards.schema import SCHEMA_VERSION, check_schema_version


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Canonical json with `schema_version`, and the `checksum` of all the rest."""
    record = {**content, "schema_version": SCHEMA_VERSION}
    return canonical_json({**record, "checksum": _checksum(record)})


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
    checksum = record.pop("checksum", None)
    if checksum != _checksum(record):
        raise ObjectDamaged(f"{where} is damaged: its checksum differs")
    del record["schema_version"]
    return record


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(record)).hexdigest()
