"""A certificate that this machine signs for itself, so that clients may speak TLS to it.

Who trusts it must be given the file (`SSL_CERT_FILE=…/certificate.pem`): it proves that the server
is the one that wrote the file, and nothing to anybody else. It is no authority: whoever steals the
key can sign no other certificate with it.
"""

import ipaddress
import os
import re
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from castor.core.files import write_atomic

ALWAYS = ("localhost", "127.0.0.1", "::1")
LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST = re.compile(rf"(\*\.)?{LABEL}(\.{LABEL})*")
VALID = timedelta(days=397)  # the most that every client accepts
RENEW = timedelta(days=7)  # before its end


def certificate(folder: Path, names: Sequence[str] = ()) -> tuple[Path, Path]:
    """The files of a certificate and its key, for this machine and further names or addresses.

    Made once, and again when it is about to expire, lacks a name, or does not belong to the key.
    Only the owner may read the key.

    Raises:
        ValueError: a name can be none of a host.
        OSError: the folder cannot be written to.
    """
    told = [_general(name) for name in dict.fromkeys([*ALWAYS, *names])]
    public, secret = folder / "certificate.pem", folder / "key.pem"
    if not _is_good(public, secret, told):
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_secret(secret, data)
        write_atomic(public, _signed(key, told).public_bytes(Encoding.PEM))
    return public, secret


def _signed(key: ec.EllipticCurvePrivateKey, names: Sequence[x509.GeneralName]) -> x509.Certificate:
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Castor on this machine")])
    now, public = datetime.now(UTC), key.public_key()
    identity = x509.SubjectKeyIdentifier.from_public_key(public)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return (
        x509.CertificateBuilder(who, who, public, x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identity, critical=False)
        .add_extension(authority, critical=False)
        .sign(key, hashes.SHA256())
    )


def _is_good(public: Path, secret: Path, names: Sequence[x509.GeneralName]) -> bool:
    """Whether what is there can be used as it is."""
    try:
        found = x509.load_pem_x509_certificate(public.read_bytes())
        key = load_pem_private_key(secret.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return False
    held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = found.not_valid_after_utc - datetime.now(UTC) > RENEW
    private = secret.stat().st_mode & 0o077 == 0
    return lasts and private and set(held) == set(names) and key.public_key() == found.public_key()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if HOST.fullmatch(name) is None or len(name) > 253:
            raise ValueError(f"{name!r} is neither the name of a host nor an address") from None
    return x509.DNSName(name.lower())


def _write_secret(path: Path, data: bytes) -> None:
    """Write what nobody else may read: in a folder that is closed to them, then moved."""
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        inside = Path(aside) / path.name
        write_atomic(inside, data)
        inside.chmod(0o600)
        os.replace(inside, path)
