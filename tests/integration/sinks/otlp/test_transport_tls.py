"""TLS with an authority of one's own and with client certificates, which may be replaced."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.sinks.delivery.transport import Verdict
from neuron_exporter.sinks.otlp.settings import TransportSettings
from neuron_exporter.sinks.otlp.transport import OtlpTransport
from tests.support.certificates import CertificateAuthority
from tests.support.otlp_attempts import assert_delivered, attempt
from tests.support.otlp_front import OtlpFront, otlp_front


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """The authority of the server and of its clients."""
    return CertificateAuthority(tmp_path)


def server_context(authority: CertificateAuthority, *, clients: bool = False) -> ssl.SSLContext:
    """Return the context of a server, which may demand certificates of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("server"))
    if clients:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def front(authority: CertificateAuthority) -> Iterator[OtlpFront]:
    """A server with a certificate of the authority."""
    with otlp_front(tls=server_context(authority)) as started:
        yield started


@pytest.fixture
def strict_front(authority: CertificateAuthority) -> Iterator[OtlpFront]:
    """A server that demands certificates of its clients."""
    with otlp_front(tls=server_context(authority, clients=True)) as started:
        yield started


def settings(front: OtlpFront, *files: Path | None) -> TransportSettings:
    """Return settings with these PEM files."""
    names = ("ca_file", "cert_file", "key_file")
    given = {name: str(path) for name, path in zip(names, files, strict=False) if path}
    return TransportSettings(endpoint=front.url, **given)  # type: ignore[arg-type]


def test_own_authority_is_trusted(front: OtlpFront, authority: CertificateAuthority) -> None:
    transport = OtlpTransport("", settings(front, authority.file))
    assert_delivered(transport)
    assert_delivered(transport)
    transport.close()
    assert front.connections == 1


def test_other_authority_is_not_trusted(front: OtlpFront, tmp_path: Path) -> None:
    other = CertificateAuthority(tmp_path, "other").file
    for given in (None, other):
        transport = OtlpTransport("", settings(front, given))
        outcome = attempt(transport)
        transport.close()
        assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "SSLError")
        assert "certificate verify failed" in outcome.message
        assert not outcome.of_request
        assert not outcome.ambiguous
    assert front.points == []


def test_other_name_is_not_trusted(authority: CertificateAuthority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("elsewhere", ["collector.example"]))
    with otlp_front(tls=context) as front:
        transport = OtlpTransport("", settings(front, authority.file))
        outcome = attempt(transport)
        transport.close()
    assert outcome.code == "SSLError"
    assert "127.0.0.1" in outcome.message


def test_plain_server_is_reported(authority: CertificateAuthority) -> None:
    with otlp_front() as front:
        front.url = front.url.replace("http:", "https:")
        transport = OtlpTransport("", settings(front, authority.file))
        outcome = attempt(transport)
        transport.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "SSLError")


def test_client_certificate(strict_front: OtlpFront, authority: CertificateAuthority) -> None:
    without = OtlpTransport("", settings(strict_front, authority.file))
    outcome = attempt(without)
    without.close()
    assert outcome.verdict is Verdict.RETRY
    assert outcome.code in ("SSLError", "ProtocolError")  # its alert may come before the reset
    transport = OtlpTransport(
        "", settings(strict_front, authority.file, *authority.sign_client("client", "x.example"))
    )
    assert_delivered(transport)
    transport.close()


def test_replaced_client_certificate_is_used(
    strict_front: OtlpFront, authority: CertificateAuthority, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    strangers = CertificateAuthority(tmp_path / "elsewhere", "strangers")
    certificate, key = strangers.sign_client("client", "x.example")
    transport = OtlpTransport("", settings(strict_front, authority.file, certificate, key))
    assert attempt(transport).verdict is Verdict.RETRY
    for ours, theirs in zip(authority.sign_client("c", "x"), (certificate, key), strict=True):
        ours.replace(theirs)
    assert_delivered(transport)
    transport.close()


def test_unusable_files_are_named(
    front: OtlpFront, authority: CertificateAuthority, tmp_path: Path
) -> None:
    certificate, key = authority.sign_client("client", "x.example")
    _, other_key = authority.sign_client("other", "x.example")
    locked = authority.sign("locked", password=b"hunter2")
    missing, garbage = tmp_path / "missing.pem", tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    ca = authority.file
    for files, message in (
        ((missing,), f"CA file {missing}: No such file or directory"),
        ((garbage,), f"CA file {garbage}: no certificate or crl found"),
        ((ca, missing, key), f"client certificate {missing} and {key}: No such file or directory"),
        ((ca, certificate, other_key), "key values mismatch"),
        ((ca, garbage, key), f"client certificate {garbage} and {key}: "),
        ((ca, *locked), f"client certificate {locked[0]} and {locked[1]}: "),
    ):
        transport = OtlpTransport("", settings(front, *files))
        outcome = attempt(transport)
        assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "TlsFileUnusable")
        assert message in outcome.message
        assert not outcome.of_request
        transport.close()


def test_file_that_appears_is_used(front: OtlpFront, authority: CertificateAuthority) -> None:
    late = authority.file.with_name("late.pem")
    transport = OtlpTransport("", settings(front, late))
    assert attempt(transport).code == "TlsFileUnusable"
    late.write_bytes(authority.file.read_bytes())
    assert_delivered(transport)
    transport.close()
