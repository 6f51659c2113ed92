"""Settings from a YAML file, checked against the config they are for; whatever is wrong is named, all of it at once.

Imported to print help, so what is heavy is imported where it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shards.errors import RequestError, nearest


def settings(kind: type[Any], file: Path | None, base: dict[str, Any] | None = None, **given: Any) -> Any:
    """The config of that kind: defaults, then the file, then what the command line says."""
    from pydantic import ValidationError

    values = _merged(base or {}, _read_yaml(file) if file is not None else {})
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [_problem(kind, e["type"], e["loc"], e["msg"], e.get("input")) for e in error.errors()]
        raise RequestError("\n  ".join(["these settings cannot be used:", *problems]), where=str(file or "")) from None


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    if not file.is_file():
        raise RequestError("no such file", field="--config", value=str(file))
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"not YAML: {error}", where=str(file)) from error
    if values is not None and not isinstance(values, dict):
        raise RequestError(f"`name: value` lines are needed, not a {type(values).__name__}", where=str(file))
    return values or {}


def _problem(kind: type[Any], what: str, place: tuple[int | str, ...], message: str, given: object) -> str:
    """One line for one wrong setting; a misspelt one comes with the settings there are."""
    name = ".".join(map(str, place))
    if what != "extra_forbidden":
        return f"`{name}`: {message} (got {given!r})"
    for step in place[:-1]:
        kind = _fields(kind)[str(step)].annotation if str(step) in _fields(kind) else object
    near = nearest(str(place[-1]), _fields(kind))
    hint = f"; did you mean `{near}`?" if near else "."
    return f"`{name}`: no such setting{hint} Valid: {', '.join(_fields(kind))}"


def _fields(kind: type[Any]) -> dict[str, Any]:
    return getattr(kind, "model_fields", {})


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` wins, level by level."""
    out = dict(under)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = _merged(out[name], value) if both else value
    return out
