"""The certificate of the server's own: who trusts it, who may read its key, when it is renewed."""

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from castor.serve import certificate as module
from castor.serve.certificate import ALWAYS, certificate


def handshake(files: tuple[Path, Path], name: str, *, trust: Path, strict: bool = True) -> None:
    """A client that trusts one certificate greets a server of `files` by this name."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*files)
    client = ssl.create_default_context(cafile=trust)
    if strict:
        client.verify_flags |= ssl.VERIFY_X509_STRICT
    ends = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = served.wrap_bio(ends[0], ends[1], server_side=True)
    theirs = client.wrap_bio(ends[1], ends[0], server_hostname=name)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (theirs, ours):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    assert done == {ours, theirs}


@pytest.mark.parametrize("name", [*ALWAYS, "box.local", "192.168.1.2"])
@pytest.mark.parametrize("strict", [True, False])
def test_who_has_the_file_trusts_the_server(tmp_path: Path, name: str, strict: bool) -> None:
    files = certificate(tmp_path, ["Box.local", "192.168.1.2"])
    handshake(files, name, trust=files[0], strict=strict)


def test_nobody_else_does(tmp_path: Path) -> None:
    files, other = certificate(tmp_path / "a"), certificate(tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, "localhost", trust=other[0])
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(files, "elsewhere.local", trust=files[0])


def test_the_certificate_may_sign_no_other(tmp_path: Path) -> None:
    found = x509.load_pem_x509_certificate(certificate(tmp_path)[0].read_bytes())
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca


def test_only_the_owner_may_read_the_key(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        public, secret = certificate(tmp_path)
    finally:
        os.umask(old)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert public.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.pem", "key.pem"]


def bytes_of(files: Sequence[Path]) -> list[bytes]:
    return [path.read_bytes() for path in files]


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    first = bytes_of(certificate(tmp_path, ["box.local"]))
    assert bytes_of(certificate(tmp_path, ["box.local", "localhost"])) == first


def test_other_names_need_another(tmp_path: Path) -> None:
    first = bytes_of(certificate(tmp_path, ["box.local"]))
    assert bytes_of(certificate(tmp_path, ["tower.local"])) != first
    files = certificate(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, "tower.local", trust=files[0])


def test_it_is_renewed_before_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALID", timedelta(days=6))
    short = certificate(tmp_path)[0].read_bytes()
    monkeypatch.undo()
    long = certificate(tmp_path)[0].read_bytes()
    assert long != short
    lasts = x509.load_pem_x509_certificate(long).not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=390) < lasts < timedelta(days=398)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda public, secret: public.unlink(),
        lambda public, secret: secret.unlink(),
        lambda public, secret: public.write_bytes(b"x"),
        lambda public, secret: secret.write_bytes(b""),
        lambda public, secret: secret.chmod(0o644),
    ],
)
def test_what_is_damaged_is_made_anew(tmp_path: Path, spoil) -> None:
    first = certificate(tmp_path)
    kept = bytes_of(first)
    spoil(*first)
    again = certificate(tmp_path)
    assert bytes_of(again)[0] != kept[0]
    handshake(again, "localhost", trust=again[0])
    assert again[1].stat().st_mode & 0o777 == 0o600


def test_a_key_of_another_certificate_is_no_pair(tmp_path: Path) -> None:
    first, other = certificate(tmp_path / "a"), certificate(tmp_path / "b")
    first[1].write_bytes(other[1].read_bytes())
    files = certificate(tmp_path / "a")
    handshake(files, "localhost", trust=files[0])


@pytest.mark.parametrize("name", ["", "a b", "a..b", "-a", "é.de", "x" * 64, "http://a", "a:80"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is neither the name of a host nor an address"):
        certificate(tmp_path, [name])
    assert not list(tmp_path.iterdir())
