"""A finished title says what a model made of it, and who signed that; a changed picture is found out."""

from __future__ import annotations

import dataclasses
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from preprocessing.media.probe import read_header
from preprocessing.media.provenance import (
    Origin,
    Provenance,
    manifest_beside,
    read_manifest,
    refuse_unusable_key,
    sidecar,
    sign,
)
from preprocessing.media.runner import run_media
from preprocessing.media.signing_keys import SigningKey, development_key
from preprocessing.media.tools import ffmpeg_command, file_url
from shards.errors import RequestError
from shards.fingerprint import file_sha256
from tests.support import lavfi

ABOUT = Provenance(
    title_id="one",
    language="pt-BR",
    source=Origin(name="film.mp4", sha256="a" * 64),
    speech=(Origin(name="film.pt.wav", sha256="b" * 64),),
    models=("c" * 64,),
    num_frames=20,
    generated=((2, 9), (12, 13)),
    tool="dubwright 1.2.3",
    consent_ref="contract 17",
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


def title(folder: Path, ending: str) -> Path:
    return lavfi.video(folder / f"film.pt.{ending}", seconds=0.8, sound=True)


def active(found: dict[str, Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = found["manifests"][found["active_manifest"]]
    return manifest


def actions(found: dict[str, Any]) -> list[dict[str, Any]]:
    data = next(a["data"] for a in active(found)["assertions"] if a["label"].startswith("c2pa.actions"))
    listed: list[dict[str, Any]] = data["actions"]
    return listed


class TestASidecar:
    def test_names_what_went_in_what_came_out_and_which_frames_a_model_drew(self, tmp_path: Path) -> None:
        path = title(tmp_path, "mp4")
        said = json.loads(sidecar(path, ABOUT).read_text())
        assert said["source"] == {"name": "film.mp4", "sha256": "a" * 64}
        assert said["models"] == ["c" * 64]
        assert said["frames"]["ai_generated"] == [{"first": 2, "last": 8}, {"first": 12, "last": 12}]
        assert said["output"] == {"name": path.name, "sha256": file_sha256(path), "size_bytes": path.stat().st_size}
        assert said["consent_ref"] == "contract 17"

    def test_has_the_same_bytes_every_time_and_lies_beside_the_title(self, tmp_path: Path) -> None:
        path = title(tmp_path, "mp4")
        first = sidecar(path, ABOUT).read_bytes()
        assert sidecar(path, ABOUT).read_bytes() == first
        assert sorted(p.name for p in tmp_path.iterdir()) == ["film.pt.mp4", "film.pt.mp4.provenance.json"]


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
class TestASignedTitle:
    def test_names_the_edit_and_the_source_and_is_valid(self, tmp_path: Path, keys: Path, ending: str) -> None:
        path = title(tmp_path, ending)
        word = sign(path, ABOUT, None, keys)
        found = read_manifest(path)
        assert found["validation_state"] == "Valid"
        assert "development key" in word
        assert ("inside" in word) == (ending != "mkv")
        opened, edited, dubbed = actions(found)
        assert [a["action"] for a in (opened, edited, dubbed)] == ["c2pa.opened", "c2pa.edited", "c2pa.dubbed"]
        assert edited["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
        assert "8 of 20 frames" in edited["description"]
        assert [i["title"] for i in active(found)["ingredients"]] == ["film.mp4"]

    def test_is_invalid_once_a_byte_of_the_picture_is_changed(self, tmp_path: Path, keys: Path, ending: str) -> None:
        path = title(tmp_path, ending)
        sign(path, ABOUT, None, keys)
        data = bytearray(path.read_bytes())
        command = ["ffprobe", "-v", "error", "-of", "json", "-select_streams", "v:0", "-show_entries", "packet=pos"]
        packets = json.loads(run_media([*command, file_url(path)], deadline_s=20).stdout)["packets"]
        data[int(packets[3]["pos"]) + 40] ^= 1
        path.write_bytes(data)
        assert read_manifest(path)["validation_state"] == "Invalid"

    def test_still_has_every_packet_it_had(self, tmp_path: Path, keys: Path, ending: str) -> None:
        path = title(tmp_path, ending)
        before = packets_and_places(path)
        sign(path, ABOUT, None, keys)
        assert packets_and_places(path) == before
        assert len(read_header(path, deadline_s=20)["streams"]) == 2


def packets_and_places(path: Path) -> bytes:
    """Time, size and checksum of every packet."""
    arguments = ("-i", file_url(path), "-map", "0", "-c", "copy", "-f", "framemd5", "pipe:1")
    return run_media(ffmpeg_command(*arguments), deadline_s=20).stdout


def test_a_manifest_that_matroska_cannot_hold_lies_beside_it(tmp_path: Path, keys: Path) -> None:
    path = title(tmp_path, "mkv")
    before = path.read_bytes()
    word = sign(path, ABOUT, None, keys)
    assert path.read_bytes() == before
    assert manifest_beside(path) == tmp_path / "film.pt.c2pa"
    assert "film.pt.c2pa beside the file" in word


def test_a_title_nothing_was_drawn_in_does_not_claim_a_model(tmp_path: Path, keys: Path) -> None:
    path = title(tmp_path, "mp4")
    sign(path, dataclasses.replace(ABOUT, generated=()), None, keys)
    assert [a["action"] for a in actions(read_manifest(path))] == ["c2pa.opened", "c2pa.dubbed"]


def test_a_source_with_a_manifest_of_its_own_stays_in_the_titles_history(tmp_path: Path, keys: Path) -> None:
    source, path = title(tmp_path, "mov"), title(tmp_path, "mp4")
    sign(source, ABOUT, None, keys)
    sign(path, ABOUT, None, keys, source=source)
    found = read_manifest(path)
    assert found["validation_state"] == "Valid"
    assert len(found["manifests"]) == 2


class TestAKey:
    def test_for_development_is_made_once_and_read_by_its_owner_alone(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: development_key(tmp_path / "new"), range(4)))
        assert len({key.private_key.read_bytes() for key in made}) == 1
        assert stat.S_IMODE(made[0].private_key.stat().st_mode) == 0o600
        assert [p.name for p in (tmp_path / "new").iterdir()] == ["c2pa-development"]

    def test_of_the_user_is_named_and_trusted_by_who_trusts_its_root(self, tmp_path: Path) -> None:
        own = development_key(tmp_path / "mine")
        key = SigningKey(certificates=own.certificates, private_key=own.private_key)
        path = title(tmp_path, "mp4")
        word = sign(path, ABOUT, key, tmp_path / "unused")
        assert "with the key of certificates.pem" in word
        assert not (tmp_path / "unused").exists()
        root = own.certificates.read_bytes().partition(b"-----END CERTIFICATE-----\n")[2]
        assert read_manifest(path, trusted=root)["validation_state"] == "Trusted"

    def test_that_does_not_fit_its_certificate_is_refused_before_any_work(self, tmp_path: Path) -> None:
        one, other = development_key(tmp_path / "one"), development_key(tmp_path / "other")
        refuse_unusable_key(one)
        with pytest.raises(RequestError, match="nothing can be signed with it"):
            refuse_unusable_key(SigningKey(certificates=one.certificates, private_key=other.private_key))

    def test_that_is_not_there_is_refused_by_name(self, tmp_path: Path) -> None:
        missing = SigningKey(certificates=tmp_path / "chain.pem", private_key=tmp_path / "key.pem")
        with pytest.raises(RequestError, match=r"certificates.*chain\.pem"):
            refuse_unusable_key(missing)

    def test_that_fails_leaves_the_title_as_it_was(self, tmp_path: Path) -> None:
        one, other = development_key(tmp_path / "one"), development_key(tmp_path / "other")
        path = title(tmp_path, "mp4")
        before = path.read_bytes()
        with pytest.raises(RequestError, match="nothing can be signed with it"):
            sign(path, ABOUT, SigningKey(certificates=one.certificates, private_key=other.private_key), tmp_path)
        assert path.read_bytes() == before
        assert not list(tmp_path.glob(".film*"))
