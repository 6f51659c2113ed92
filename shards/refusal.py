"""What a cloud's answer means, in the errors of this room.

obstore has one class for most failures; which status, code and cause lie behind is only in its text. Messages name the
place, the cause and what to look at, and hold no secret: of a URL everything after the path is cut off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

from shards.errors import (
    DubwrightError,
    ObjectMissing,
    RequestError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    WrongStore,
)


@dataclass(frozen=True, slots=True)
class Variables:
    """What of the environment decides about a cloud."""

    prefix: str
    variables: tuple[str, ...]


ENVIRONMENT = {
    "s3": Variables(
        "AWS", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL")
    ),
    "gs": Variables("GOOGLE", ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT")),
    "az": Variables(
        "AZURE",
        ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_TOKEN"),
    ),
}
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_SYSTEM = re.compile(r'(?:message|error): "([^"\\]+)"')
_NOISE = (
    re.compile(r"\?\S*"),
    re.compile(r"(?<=://)[^\s/@]*@"),
    re.compile(r", max_retries: \d+, retry_timeout: \S+ "),
)
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
_BAD_CREDENTIALS = frozenset(
    {"AccessDenied", "ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
    | {"RequestTimeTooSkewed"}
)
_DENIED = (401, 403)
_CANNOT = 501
_LATER = frozenset({408, 409, 425, 429})
# Asked for credentials when the environment names none; only machines of that cloud have it.
_METADATA_SERVERS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "//metadata/")


def explain(error: BaseException, scheme: str, what: str, uri: str) -> DubwrightError:
    """The error to raise for one that obstore raised."""
    text = str(error)
    found, named = _STATUS.search(text), _CODE.search(text)
    status, code = int(found[1]) if found else 0, named[1] if named else ""
    because = f"{what}: {_cause(text, code) or type(error).__name__}"
    read = ", ".join(ENVIRONMENT[scheme].variables)
    if code in _NO_BUCKET:
        return WrongStore(f"there is no such bucket; make it first, or correct the name ({code})", where=uri)
    if any(server in text for server in _METADATA_SERVERS):
        return StoreDenied(f"{what}: no credentials were found; set {read}, or run where the machine has a role")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in _DENIED or code in _BAD_CREDENTIALS:
        return StoreDenied(f"{because}. Credentials are read from {read}; do they allow this here?")
    if "redirect without LOCATION" in text:
        return RequestError("the bucket is in another region", where=uri, field=f"{ENVIRONMENT[scheme].prefix}_REGION")
    if _passes(status, code, text):
        return StoreUnavailable(because)
    if isinstance(error, FileNotFoundError):
        return ObjectMissing(f"{what}: it is not there")
    return StoreError(because)


def _passes(status: int, code: str, text: str) -> bool:
    """Trouble that may be over when the whole operation is tried again."""
    if status == _CANNOT:
        return False
    # An upload whose completion was done, and its answer lost, is unknown when asked to be completed again.
    return code == "NoSuchUpload" or status >= 500 or status in _LATER or "HTTP error" in text


def _cause(text: str, code: str) -> str:
    """One line: the library's own, less its noise, then what the server or the system said."""
    lines = text.strip().splitlines()
    first = lines[0].split(": <")[0] if lines else ""
    for noise in _NOISE:
        first = noise.sub("", first)
    system = _SYSTEM.findall(text)
    said = code or (system[-1] if system else "no answer in time" if "TimedOut" in text else "")
    first = first.rstrip(": ")
    return f"{first} ({said})" if said else first
