"""The facts in words, for a terminal: one a line, parts indented, long texts at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_INDENT = "  "


def told(found: Mapping[str, Any]) -> str:
    """What a person wants to see of it; `--json` has all."""
    if found["kind"] == "store":
        return _store(found)
    if found["kind"] in ("checkpoint", "preset"):
        found = {name: value for name, value in found.items() if name != "config"}
    return "\n".join(_lines(found))


def _store(found: Mapping[str, Any]) -> str:
    kept = {"kind": "store", "uri": found["uri"], "datasets": len(found["datasets"]), "plans": len(found["plans"])}
    kept |= {"given_up": len(found["quarantined"])}
    kept |= {"newest_dataset": found["dataset"], "clips": found["clips"]} if "dataset" in found else {}
    return "\n".join([*_lines(kept), f"more: dubwright store status {found['uri']}"])


def _lines(value: Mapping[str, Any]) -> list[str]:
    out: list[str] = []
    for name, item in value.items():
        out += _item(name, item)
    return out


def _item(name: str, item: Any) -> list[str]:
    if isinstance(item, Mapping):
        return [f"{name}:", *_indented(_lines(item))] if item else [f"{name}: none"]
    if isinstance(item, Sequence) and not isinstance(item, str):
        return _sequence(name, item)
    if isinstance(item, str) and "\n" in item:
        return [f"{name}:", *_indented(item.splitlines())]
    return [f"{name}: {'none' if item is None else item}"]


def _sequence(name: str, items: Sequence[Any]) -> list[str]:
    if not items:
        return [f"{name}: none"]
    if any(isinstance(item, Mapping) for item in items):
        return [line for i, item in enumerate(items) for line in _item(f"{name} {i + 1}", item)]
    if any(isinstance(item, str) for item in items):
        return [f"{name}:", *_indented(map(str, items))]
    return [f"{name}: {', '.join(map(str, items))}"]


def _indented(lines: Any) -> list[str]:
    return [_INDENT + line for line in lines]
