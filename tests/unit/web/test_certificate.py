"""Expiry of certificates, compared with that of another library."""

from __future__ import annotations

import math
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from neuron_exporter.web.certificate import certificates, expiry, first_expiry
from neuron_exporter.web.config_file import WebConfigFile
from neuron_exporter.web.config_schema import TlsServerConfig
from neuron_exporter.web.tls import ServerTls
from tests.support.certificates import CertificateAuthority
from tests.support.web_config import WebConfigFolder

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(until: datetime, name: str = "server") -> bytes:
    """Return a certificate in DER."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(KEY.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(until)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("name", ["s", "n" * 60])
@pytest.mark.parametrize("year", [2021, 2049, 2050, 9999])
def test_expiry_of_any_year(year: int, name: str) -> None:
    """From 2050 on, dates have another format."""
    until = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC)
    assert expiry(certificate(until, name)) == until.timestamp()


@pytest.mark.parametrize("is_rsa", [False, True])
def test_same_expiry_as_another_library(tmp_path: Path, is_rsa: bool) -> None:
    path, _ = CertificateAuthority(tmp_path).sign("server", is_rsa=is_rsa)
    expected = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    assert [expiry(each) for each in certificates(path.read_bytes())] == [expected]


def test_first_expiry_of_a_chain(tmp_path: Path) -> None:
    """Also if the certificate of the authority, which follows the server's, ends first."""
    folder = WebConfigFolder(tmp_path)
    chain = tmp_path / "server.pem"
    soon = datetime(2021, 1, 1, tzinfo=UTC)
    chain.write_text(
        f"Subject: server\n{chain.read_text()}\n{ssl.DER_cert_to_PEM_cert(certificate(soon))}"
    )
    tls = WebConfigFile(folder.write(tls_server_config=folder.tls)).access().tls
    assert tls is not None
    assert tls.expires_at == soon.timestamp()


def test_unreadable_date_does_not_stop_the_server(tmp_path: Path) -> None:
    """OpenSSL loads the certificate, so the web server starts; only the expiry is unknown."""
    path, key = CertificateAuthority(tmp_path).sign("server")
    (der,) = certificates(path.read_bytes())
    end = datetime.fromtimestamp(expiry(der), UTC).strftime("%y%m%d%H%M%SZ").encode()
    assert der.count(end) == 1
    pem = ssl.DER_cert_to_PEM_cert(der.replace(end, b"x" * len(end))).encode()
    tls = ServerTls(TlsServerConfig(), pem, key.read_bytes(), b"")
    assert math.isnan(tls.expires_at)


@pytest.mark.parametrize("length", [0, 1, 2, 9, 40, 60])
def test_expiry_of_a_truncated_certificate(length: int) -> None:
    der = certificate(datetime(2040, 1, 1, tzinfo=UTC))
    assert math.isnan(first_expiry(ssl.DER_cert_to_PEM_cert(der[:length]).encode()))
