"""With which key finished titles are signed: the user's, or a development key made on first use.

Owns certificates and key files. What is signed, and how, is `provenance.py`.
"""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shards.errors import RequestError

Algorithm = Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]

_FOLDER, _CHAIN, _KEY = "c2pa-development", "certificates.pem", "private_key.pem"
_ORGANIZATION = "Dubwright development"
_VALID = datetime.timedelta(days=3650)
_CLOCK_SLACK = datetime.timedelta(days=1)
"""A machine whose clock is behind must not find the certificate from the future."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """Where a key and its certificates are."""

    certificates: Path
    """PEM: the certificate of the key first, then those that vouch for it."""
    private_key: Path
    """PEM, PKCS #8, without a pass phrase."""
    algorithm: Algorithm = "es256"
    is_development: bool = False
    """Made here, vouched for by nobody: good for trying things out."""

    def read(self) -> tuple[bytes, bytes]:
        """The certificates and the key; refuses what is not there."""
        return _pem(self.certificates, "certificates"), _pem(self.private_key, "private_key")


def development_key(folder: Path) -> SigningKey:
    """The development key of this folder; made on first use, once, however many processes ask at the same time."""
    home = folder / _FOLDER
    if not home.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{_FOLDER}-", dir=folder))
        try:
            _make(made)
            made.rename(home)
        except OSError:
            # Another process was quicker: a folder that is not empty cannot be renamed over, and its key serves all.
            if not home.exists():
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return SigningKey(certificates=home / _CHAIN, private_key=home / _KEY, is_development=True)


def _make(folder: Path) -> None:
    """A root that vouches for one signing certificate; the root's own key is forgotten."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        _certificate("root", "root", root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    # What C2PA asks of a signing certificate: for signatures only, and a purpose it knows.
    leaf = (
        _certificate("signer", "root", key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    _write(folder / _CHAIN, leaf.public_bytes(pem) + root.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(folder / _KEY, secret)


def _certificate(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(role: str) -> x509.Name:
    common = x509.NameAttribute(NameOID.COMMON_NAME, f"{_ORGANIZATION} {role}, trusted by nobody")
    return x509.Name([common, x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)


def _pem(path: Path, field: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(
            f"cannot be read ({error.strerror}); name a PEM file", where="signing key", field=field, value=str(path)
        ) from error
    if b"-----BEGIN" not in data:
        raise RequestError("holds no PEM block", where="signing key", field=field, value=str(path))
    return data
