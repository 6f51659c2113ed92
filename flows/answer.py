"""How every command answers: a text or one JSON object on stdout, what went wrong in a line on stderr, an exit code.

0    done (rejections are reported, they are no failures; `--strict` makes them 4)
1    the system failed
2    the request was wrong
130  stopped by Ctrl-C
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from flows.embedded import use_embedded_defaults

log = logging.getLogger(__name__)
EXIT_SYSTEM, EXIT_REQUEST, EXIT_STRICT, EXIT_STOPPED = 1, 2, 4, 130

AsJson = Annotated[bool, typer.Option("--json", help="the last line of stdout is one JSON object")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan and change nothing")]


@contextmanager
def answering(as_json: bool, resumes: bool = False) -> Iterator[Callable[[dict[str, Any], str], None]]:
    """Sets the engines up, prints the answer, and turns what went wrong into one clear line and an exit code."""
    use_embedded_defaults()
    from shards.errors import DubwrightError, RequestError

    def answer(value: dict[str, Any], text: str) -> None:
        typer.echo(json.dumps(value, ensure_ascii=False, default=str) if as_json else text)

    try:
        _set_up_log(os.environ.get("DUBWRIGHT_LOG", "WARNING"))
        yield answer
    except RequestError as error:
        typer.echo(f"dubwright: {error}", err=True)
        raise typer.Exit(EXIT_REQUEST) from error
    except (DubwrightError, OSError) as error:
        # OSError: the disk is full, a folder may not be written. Where in the program is of use to us only.
        log.debug("failed", exc_info=error)
        typer.echo(f"dubwright: {type(error).__name__}: {error}", err=True)
        raise typer.Exit(EXIT_SYSTEM) from error
    except KeyboardInterrupt:
        again = shlex.join(["dubwright", *sys.argv[1:]])
        resume = f" Run it again to go on: {again}" if resumes else ""
        typer.echo(f"\ndubwright: stopped. What was finished is kept.{resume}", err=True)
        raise typer.Exit(EXIT_STOPPED) from None


def _set_up_log(level: str) -> None:
    from shards.errors import RequestError

    if (number := logging.getLevelNamesMapping().get(level.upper())) is None:
        choices = logging.getLevelNamesMapping()
        raise RequestError("no such level", field="DUBWRIGHT_LOG", value=level, choices=choices)
    logging.basicConfig(level=number, format="%(levelname)s %(name)s: %(message)s")


def lines(value: dict[str, Any], without: tuple[str, ...] = ()) -> str:
    """name: value, a line each; nested values indented."""
    told: list[str] = []
    for name, item in value.items():
        if name in without:
            continue
        if isinstance(item, dict):
            inner = lines(item)
            told.append(f"{name}:" + ("\n  " + inner.replace("\n", "\n  ") if inner else " none"))
        elif isinstance(item, list):
            told.append(f"{name}: " + (", ".join(map(str, item)) if item else "none"))
        else:
            told.append(f"{name}: {item}")
    return "\n".join(told)
