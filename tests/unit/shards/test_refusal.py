"""What a cloud answers is told in our errors, and what is asked of each is what it knows."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import pytest

from shards import remote
from shards.errors import ObjectMissing, RequestError, StoreDenied, StoreError, StoreUnavailable, WrongStore
from shards.remote import Bucket
from tests.support.cloud import Cloud, listening


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with listening() as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(remote, "RETRY_S", 0.2)
        yield cloud


class TestRefusals:
    """What a cloud answers when it may not, or cannot."""

    @pytest.mark.parametrize(
        ("status", "code", "kind", "says"),
        [
            (403, "AccessDenied", StoreDenied, "AWS_ACCESS_KEY_ID"),
            (403, "InvalidAccessKeyId", StoreDenied, "InvalidAccessKeyId"),
            (401, "", StoreDenied, "AWS_SESSION_TOKEN"),
            (400, "ExpiredToken", StoreDenied, "ExpiredToken"),
            (404, "NoSuchBucket", WrongStore, "there is no such bucket"),
            (301, "PermanentRedirect", RequestError, "AWS_REGION"),
            (500, "InternalError", StoreUnavailable, "InternalError"),
            (429, "TooManyRequests", StoreUnavailable, "TooManyRequests"),
            (501, "NotImplemented", StoreError, "NotImplemented"),
            (404, "NoSuchKey", ObjectMissing, "it is not there"),
        ],
    )
    def test_each_is_named_when_reading_and_when_creating(
        self, status: int, code: str, kind: type[Exception], says: str, cloud: Cloud
    ) -> None:
        bucket = Bucket("s3://somewhere/pre")
        cloud.answer = (status, f"<Error><Code>{code}</Code></Error>".encode())
        for attempt in (lambda: bucket.read("x"), lambda: bucket.create("x", b"1")):
            with pytest.raises(kind, match=says) as caught:
                attempt()
            assert type(caught.value) is kind
            assert "topsecret" not in str(caught.value)

    @pytest.mark.parametrize(("name", "value"), [("AWS_READ_TIMEOUT", "soon"), ("AWS_ALLOW_HTTP", "perhaps")])
    def test_a_limit_that_is_none_is_refused(self, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(RequestError, match="not a usable address"):
            Bucket("s3://bucket")

    def test_an_account_that_is_not_named_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
        with pytest.raises(RequestError, match=r"Account must be specified.*AZURE_STORAGE_ACCOUNT_NAME"):
            Bucket("az://container/x")

    def test_a_signature_in_a_url_is_not_shown(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
        monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=2020&sig=topsecret")
        bucket = Bucket("az://somewhere/pre")
        cloud.answer = (403, b"<Error><Code>AuthenticationFailed</Code></Error>")
        with pytest.raises(StoreDenied, match="AuthenticationFailed") as caught:
            bucket.read("x")
        assert "topsecret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("scheme", "condition", "mark"),
    [
        ("s3", ("if-none-match", "*"), "x-amz-meta-writer"),
        ("gs", ("x-goog-if-generation-match", "0"), "x-goog-meta-writer"),
        ("az", ("if-none-match", "*"), "x-ms-meta-writer"),
    ],
)
class TestEveryCloud:
    """Not their servers, but what is sent to them and how their answers are taken."""

    def test_creating_sends_the_condition_and_a_mark_of_its_own(
        self, cloud: Cloud, scheme: str, condition: tuple[str, str], mark: str
    ) -> None:
        bucket = Bucket(f"{scheme}://somewhere/pre")
        assert bucket.create("a b/é", b"1")
        assert bucket.create("a b/é", b"1")
        first, second = cloud.seen
        assert first["method"] == "PUT"
        assert first["path"].replace("%2F", "/") == "/somewhere/pre/a%20b/%C3%A9"
        assert first[condition[0]] == second[condition[0]] == condition[1]
        assert first[mark] != second[mark]

    @pytest.mark.parametrize("status", [409, 412])
    def test_what_is_there_is_known_by_its_mark(
        self, cloud: Cloud, scheme: str, condition: tuple[str, str], mark: str, status: int
    ) -> None:
        bucket = Bucket(f"{scheme}://somewhere/pre")
        cloud.answer, cloud.answers = (200, b""), {"PUT": (status, b"")}
        cloud.headers = {mark: "another's"}
        assert not bucket.create("x", b"1")
        cloud.kept = mark
        assert bucket.create("x", b"1")
