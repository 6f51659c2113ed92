"""What can go wrong, in three kinds (each room adds its own leaves to this tree).

    DubwrightError
    |-- RequestError             the wrong request: refused before any work       (exit code 2)
    |   |-- UnknownSchemaVersion    data written by a newer or foreign program
    |   `-- WrongStore              the place given is no store of ours, or of another layout
    `-- StoreError               the broken world, as met at the store            (exit code 1)
        |-- StoreUnavailable        it does not answer, or only "later", after every retry (transient)
        |-- StoreDenied             it answers that this user may not
        |-- ObjectMissing           an object that a record names is not there
        |-- ObjectDamaged           bytes that are not what their record says
        |-- Superseded              a try came back after its unit was decided otherwise
        |-- SweptMeanwhile          an object is being removed by a sweep just now (transient)
        `-- AccountError            planned != kept + rejected + quarantined

Unusable footage is neither: it is expected, and becomes a `Rejection` row (see `schema`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DubwrightError(Exception):
    """Anything this project raises on purpose."""


class RequestError(DubwrightError):
    """The caller asked for something that cannot be: says where, what was given and what would do.

    `choices` are the valid values; the nearest one to `value` is offered first.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        field: str | None = None,
        value: object = None,
        choices: Iterable[str] = (),
    ) -> None:
        self.where, self.field, self.value = where, field, value
        self.choices = tuple(choices)
        self.message = message
        super().__init__(self._text())

    def _text(self) -> str:
        place = ", ".join(p for p in (self.where, f"`{self.field}`" if self.field else None) if p)
        text = f"{place}: {self.message}" if place else self.message
        if self.value is not None:
            text += f" (got {self.value!r})"
        if self.choices:
            near = nearest(str(self.value), self.choices)
            text += f"; did you mean {near!r}?" if near else ""
            text += f" Valid: {', '.join(self.choices)}."
        return text


class UnknownSchemaVersion(RequestError):
    """The data carry a `schema_version` this program does not know."""


class WrongStore(RequestError):
    """A URI that is not a store of ours, or a store of another layout."""


class StoreError(DubwrightError):
    """The store, or what lies in it, is broken."""


class StoreUnavailable(StoreError):
    """No connection, no answer in time, or the answer to come back later; retries did not help. Later ones may."""


class StoreDenied(StoreError):
    """Credentials are missing, wrong or too weak, or a folder is read-only. Trying again does not help."""


class ObjectMissing(StoreError):
    """A record names an object that is not there."""


class ObjectDamaged(StoreError):
    """The bytes differ from what their record says."""


class Superseded(StoreError):
    """A try came back after its unit was given up, or its epoch voided: what it has counts no more."""


class SweptMeanwhile(StoreError):
    """An object that is needed again is just being removed. Once the sweep is over, it can be put anew."""


class AccountError(StoreError):
    """The units of a plan do not add up; publishing is refused."""


def nearest(value: str, choices: Iterable[str]) -> str | None:
    """The choice a person most likely meant, or None when nothing is close."""
    found = difflib.get_close_matches(value.strip().lower(), list(choices), n=1, cutoff=0.5)
    return found[0] if found else None
