"""The web configuration file: accepted and rejected settings."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuron_exporter.web.config_file import WebConfigError, WebConfigFile
from tests.support.web_config import WebConfigFolder, bcrypt_hash

TLS = "tls_server_config"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> WebConfigFolder:
    """A folder with certificates that no test changes."""
    made = WebConfigFolder(tmp_path_factory.mktemp("web"))
    Path(made.folder / "garbage.pem").write_text("garbage")
    made.authority.sign("other")
    made.authority.sign("locked", password=b"secret")
    broken = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"
    Path(made.folder / "broken.pem").write_text(broken.format("CERTIFICATE"))
    return made


def problems(path: Path | str) -> list[str]:
    """Return the problems of a file, without its name."""
    with pytest.raises(WebConfigError) as caught:
        WebConfigFile(str(path))
    for each in caught.value.problems:
        assert each.startswith(f"{path}: ")
    return [each.removeprefix(f"{path}: ") for each in caught.value.problems]


# Valid files


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "{}", "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n"],
)
def test_empty_file(folder: WebConfigFolder, text: str) -> None:
    folder.path.write_text(text)
    access = WebConfigFile(str(folder.path)).access()
    assert (access.tls, access.passwords, access.headers) == (None, None, {})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"client_auth_type": "NoClientCert", "client_ca_file": "", "client_allowed_sans": None},
        {"client_auth_type": "RequestClientCert"},
        {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": "authority.pem"},
        {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "authority.pem"},
        {"min_version": "TLS12", "max_version": "TLS12"},
        {"min_version": "TLS13"},
        {"cipher_suites": ["TLS_AES_128_GCM_SHA256"]},
        {"cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"], "max_version": "TLS12"},
        {"prefer_server_cipher_suites": False},
        {"curve_preferences": ["X25519"]},
        {"curve_preferences": ["CurveP521"]},
    ],
)
def test_tls_settings(folder: WebConfigFolder, more: dict[str, Any]) -> None:
    path = folder.write(tls_server_config={**folder.tls, **more})
    assert WebConfigFile(path).access().tls is not None


def test_inline_certificates(folder: WebConfigFolder) -> None:
    section = {
        "cert": Path(folder.folder / "server.pem").read_text(),
        "key": Path(folder.folder / "server.key").read_text(),
        "client_ca": "# größer\n" + folder.authority.file.read_text(),
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_allowed_sans": ["scraper"],
    }
    assert WebConfigFile(folder.write(tls_server_config=section)).access().tls is not None


# Invalid files


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tls: {}", "tls: unknown setting; allowed are tls_server_config, http_server_config, "),
        ("tls_server_config: {certfile: x}", f"{TLS}.certfile: unknown setting; allowed are cert,"),
        ("tls_server_config: []", f"{TLS}: must be a mapping (got [])"),
        ("[]", "the file: must be a mapping (got [])"),
        ("a: b: c", "line 1: is not YAML: mapping values are not allowed here"),
        ("a: !!bool maybe", "is not YAML: a value does not fit its tag"),
        ("a: !!timestamp maybe", "is not YAML: 'NoneType' object has no attribute 'groupdict'"),
        ("a: !!map [b]", "is not YAML: "),
        ("tls_server_config: {}\ntls_server_config: {}", "line 2: tls_server_config: is set twice"),
        ("[" * 5000, "is nested too deeply"),
        ("x" * (2**20 + 1), "cannot be read: larger than 1 MiB"),
        ("http_server_config: {http2: maybe}", "http_server_config.http2: must be true or false"),
        (
            "http_server_config: {headers: {Server: x}}",
            "http_server_config.headers: Server cannot be set; allowed are Content-Security-Policy",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: maybe}}",
            "X-Frame-Options must be deny or sameorigin",
        ),
        (
            'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nX: y"}}',
            "X-XSS-Protection must be printable ASCII text",
        ),
        (
            "basic_auth_users: {me: secret}",
            "basic_auth_users.me: must be a bcrypt hash, as created by `htpasswd -nBC 10 NAME`",
        ),
        ("basic_auth_users: {on: 5}", "basic_auth_users.on: must be a bcrypt hash"),
        ("basic_auth_users: {'a:b': x}", "basic_auth_users.a:b: a user name must not contain"),
        (
            f"basic_auth_users: {{me: '{bcrypt_hash('x').replace('$04$', '$17$')}'}}",
            "basic_auth_users.me: must be a bcrypt hash with a cost of 4 to 16",
        ),
        (
            "rate_limit: {interval: 1s, burst: 20}",
            "rate_limit: is not supported: connections are limited in number and duration instead",
        ),
    ],
)  # fmt: skip
def test_problems(tmp_path: Path, text: str, problem: str) -> None:
    """A problem names the key, what is allowed, and the value."""
    path = tmp_path / "web.yml"
    path.write_text(text)
    assert any(each.startswith(problem) or problem in each for each in problems(path))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cert_file": None}, "cert_file: must be set"),
        ({"key_file": ""}, "key_file: must be set"),
        ({"cert": "x"}, "cert: cannot be combined with cert_file"),
        (
            {"cert_file": "gone.pem"},
            "cert_file: cannot be read: No such file or directory (got 'gone.pem')",
        ),
        ({"key_file": "."}, "key_file: cannot be read: not a regular file (got '.')"),
        ({"cert_file": "a\0b"}, "cert_file: cannot be read: "),
        ({"cert_file": "garbage.pem"}, "cert_file: contains no certificate in PEM format"),
        ({"key_file": "server.pem"}, "key_file: contains no private key in PEM format (got"),
        ({"key_file": "other.key"}, "key_file: does not belong to the certificate (got 'other.key"),
        ({"cert_file": "broken.pem"}, "cert_file: rejected by OpenSSL: "),
        ({"cert_file": "locked.pem", "key_file": "locked.key"}, "cert_file: rejected by OpenSSL"),
        ({"client_ca_file": "authority.pem"}, "client_auth_type: does not verify clients, but"),
        ({"client_auth_type": "VerifyClientCertIfGiven"}, "client_ca_file: must be set"),
        (
            {"client_auth_type": "RequireAnyClientCert"},
            "client_auth_type: Python's TLS cannot require a certificate without verifying it; "
            "allowed are NoClientCert, RequestClientCert, VerifyClientCertIfGiven, "
            "RequireAndVerifyClientCert (got 'RequireAnyClientCert')",
        ),
        ({"client_auth_type": "Always"}, "client_auth_type: allowed are NoClientCert, "),
        ({"client_allowed_sans": ["x"]}, "client_allowed_sans: requires client_auth_type Require"),
        ({"client_allowed_sans": []}, "client_allowed_sans: must not be empty (got [])"),
        ({"min_version": "TLS11"}, "min_version: is insecure and not supported"),
        ({"max_version": "TLS14"}, "max_version: allowed are TLS12, TLS13 (got 'TLS14')"),
        ({"min_version": "TLS13", "max_version": "TLS12"}, "min_version: must not be above"),
        (
            {"cipher_suites": ["TLS_RSA_WITH_RC4_128_SHA"]},
            "cipher_suites.0: allowed are TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ",
        ),
        (
            {"cipher_suites": ["TLS_AES_128_GCM_SHA256"], "max_version": "TLS12"},
            "cipher_suites: must contain a cipher suite of TLS 1.2 (got a list",
        ),
        (
            {"curve_preferences": ["X25519", "CurveP256"]},
            "curve_preferences: must have at most one entry: Python's TLS supports no order of ",
        ),
        ({"curve_preferences": ["P256"]}, "curve_preferences.0: allowed are CurveP256, "),
    ],
)  # fmt: skip
def test_tls_problems(folder: WebConfigFolder, changes: dict[str, Any], problem: str) -> None:
    found = problems(folder.write(tls_server_config={**folder.tls, **changes}))
    assert [each for each in found if each.startswith(f"{TLS}.{problem}")], found


def test_tls_without_certificate(folder: WebConfigFolder) -> None:
    found = problems(folder.write(tls_server_config={"min_version": "TLS13"}))
    assert found == [f"{TLS}.cert_file: must be set", f"{TLS}.key_file: must be set"]


def test_all_problems_without_secrets(folder: WebConfigFolder) -> None:
    """All problems are reported at once, without passwords and keys."""
    found = problems(
        folder.write(
            tls_server_config={"key": ["hunter2"], "min_version": "x"},
            basic_auth_users={"a": "hunter2", "b": "hunter2"},
        )
    )
    assert len(found) == 4
    assert "hunter2" not in "".join(found)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(alphabet=" \n\t:-{}[],&*?|>!%@`'\"#ab1~<", max_size=60), st.binary()))
def test_any_content_is_handled(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "web.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with suppress(WebConfigError):
        WebConfigFile(str(path))


def test_nested_aliases(tmp_path: Path) -> None:
    """A short file that expands to billions of values is rejected with short messages."""
    path = tmp_path / "web.yml"
    lines = ["a0: &l0 [x]"]
    lines += [f"a{at}: &l{at} [{', '.join([f'*l{at - 1}'] * 9)}]" for at in range(1, 12)]
    path.write_text("\n".join([*lines, "tls_server_config: {min_version: *l11}"]))
    assert max(map(len, problems(path))) < 200
