"""The web configuration file: what is legal, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuron_exporter.web.config_file import WebConfigError, WebConfigFile
from tests.support.web_config import WebFolder, hashed

TLS = "tls_server_config"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> WebFolder:
    """A folder with certificates that no test changes."""
    made = WebFolder(tmp_path_factory.mktemp("web"))
    Path(made.folder / "garbage.pem").write_text("garbage")
    made.authority.sign("other")
    made.authority.sign("locked", password=b"secret")
    broken = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"
    Path(made.folder / "broken.pem").write_text(broken.format("CERTIFICATE"))
    return made


def problems(path: Path | str) -> list[str]:
    """What is wrong with a file, without its name."""
    with pytest.raises(WebConfigError) as caught:
        WebConfigFile(str(path))
    for each in caught.value.problems:
        assert each.startswith(f"{path}: ")
    return [each.removeprefix(f"{path}: ") for each in caught.value.problems]


# Legal files


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "{}", "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n"],
)
def test_an_empty_file_protects_nothing(folder: WebFolder, text: str) -> None:
    """As with Prometheus' own exporters, what is not written is off."""
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
def test_legal_settings_of_tls_are_taken(folder: WebFolder, more: dict[str, Any]) -> None:
    """Everything that Python's TLS can do is accepted in the words of the common file."""
    path = folder.write(tls_server_config={**folder.tls, **more})
    assert WebConfigFile(path).access().tls is not None


def test_certificates_may_stand_in_the_file(folder: WebFolder) -> None:
    """cert, key and client_ca are contents, where the names of files are cert_file and so on."""
    section = {
        "cert": Path(folder.folder / "server.pem").read_text(),
        "key": Path(folder.folder / "server.key").read_text(),
        "client_ca": "# größer\n" + folder.authority.file.read_text(),
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_allowed_sans": ["scraper"],
    }
    assert WebConfigFile(folder.write(tls_server_config=section)).access().tls is not None


# Refused files


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tls: {}", "tls: unknown setting; allowed are tls_server_config, http_server_config, "),
        ("tls_server_config: {certfile: x}", f"{TLS}.certfile: unknown setting; allowed are cert,"),
        ("tls_server_config: []", f"{TLS}: must be a mapping (got [])"),
        ("[]", "the file: must be a mapping (got [])"),
        ("a: b: c", "line 1: is not YAML: mapping values are not allowed here"),
        ("a: !!bool maybe", "is not YAML: 'maybe'"),
        ("a: !!timestamp maybe", "is not YAML: 'NoneType' object has no attribute 'groupdict'"),
        ("a: !!map [b]", "is not YAML: "),
        ("tls_server_config: {}\ntls_server_config: {}", "line 2: is not YAML: tls_server_config"),
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
            "basic_auth_users.me: must be a bcrypt hash, such as `htpasswd -nBC 10 NAME` makes",
        ),
        ("basic_auth_users: {on: 5}", "basic_auth_users.on: must be a bcrypt hash"),
        ("basic_auth_users: {'a:b': x}", "basic_auth_users.a:b: a name that has a colon in it"),
        (
            f"basic_auth_users: {{me: '{hashed('x').replace('$04$', '$17$')}'}}",
            "basic_auth_users.me: must be a bcrypt hash of a cost from 4 to 16",
        ),
        (
            "rate_limit: {interval: 1s, burst: 20}",
            "rate_limit: is not supported: connections and their time are bounded already",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """What is wrong is told by file, field, what is allowed, and what was given."""
    path = tmp_path / "web.yml"
    path.write_text(text)
    assert any(each.startswith(problem) or problem in each for each in problems(path))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cert_file": None}, "cert_file: is needed"),
        ({"key_file": ""}, "key_file: is needed"),
        ({"cert": "x"}, "cert: stands beside cert_file; one of them may be given"),
        (
            {"cert_file": "gone.pem"},
            "cert_file: cannot be read: No such file or directory (got 'gone.pem')",
        ),
        ({"key_file": "."}, "key_file: cannot be read: is not a file (got '.')"),
        ({"cert_file": "a\0b"}, "cert_file: cannot be read: "),
        ({"cert_file": "garbage.pem"}, "cert_file: holds no certificate in PEM"),
        ({"key_file": "server.pem"}, "key_file: holds no private key in PEM (got 'server.pem')"),
        ({"key_file": "other.key"}, "key_file: is not the key of the certificate (got 'other.key"),
        ({"cert_file": "broken.pem"}, "cert_file: OpenSSL cannot use it: "),
        ({"cert_file": "locked.pem", "key_file": "locked.key"}, "cert_file: OpenSSL cannot use it"),
        ({"client_ca_file": "authority.pem"}, "client_auth_type: verifies nobody, though"),
        ({"client_auth_type": "VerifyClientCertIfGiven"}, "client_ca_file: is needed"),
        (
            {"client_auth_type": "RequireAnyClientCert"},
            "client_auth_type: a certificate that nobody verifies cannot be required with Python's "
            "TLS; allowed are NoClientCert, RequestClientCert, VerifyClientCertIfGiven, "
            "RequireAndVerifyClientCert (got 'RequireAnyClientCert')",
        ),
        ({"client_auth_type": "Always"}, "client_auth_type: allowed are NoClientCert, "),
        ({"client_allowed_sans": ["x"]}, "client_allowed_sans: needs client_auth_type Require"),
        ({"client_allowed_sans": []}, "client_allowed_sans: must not be empty (got [])"),
        ({"min_version": "TLS11"}, "min_version: is too old to be safe, and not spoken here"),
        ({"max_version": "TLS14"}, "max_version: allowed are TLS12, TLS13 (got 'TLS14')"),
        ({"min_version": "TLS13", "max_version": "TLS12"}, "min_version: is above max_version"),
        (
            {"cipher_suites": ["TLS_RSA_WITH_RC4_128_SHA"]},
            "cipher_suites.0: allowed are TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ",
        ),
        (
            {"cipher_suites": ["TLS_AES_128_GCM_SHA256"], "max_version": "TLS12"},
            "cipher_suites: has none of TLS 1.2 (got ['TLS_AES_128_GCM_SHA256'])",
        ),
        (
            {"curve_preferences": ["X25519", "CurveP256"]},
            "curve_preferences: may have one entry: Python's TLS cannot be given an order",
        ),
        ({"curve_preferences": ["P256"]}, "curve_preferences.0: allowed are CurveP256, "),
    ],
)  # fmt: skip
def test_a_mistake_in_tls_is_named(
    folder: WebFolder, changes: dict[str, Any], problem: str
) -> None:
    """A field that is wrong, or that Python's TLS has not, says so in the same way."""
    found = problems(folder.write(tls_server_config={**folder.tls, **changes}))
    assert [each for each in found if each.startswith(f"{TLS}.{problem}")], found


def test_settings_of_tls_without_a_certificate_are_no_tls(folder: WebFolder) -> None:
    """Whoever asks for TLS 1.3 and gives no certificate is not served in the clear."""
    found = problems(folder.write(tls_server_config={"min_version": "TLS13"}))
    assert found == [f"{TLS}.cert_file: is needed", f"{TLS}.key_file: is needed"]


def test_all_mistakes_are_told_at_once_and_no_secret(folder: WebFolder) -> None:
    """One attempt shows every mistake, and neither passwords nor keys."""
    found = problems(
        folder.write(
            tls_server_config={"key": ["hunter2"], "min_version": "x"},
            basic_auth_users={"a": "hunter2", "b": "hunter2"},
        )
    )
    assert len(found) == 4
    assert "hunter2" not in "".join(found)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(alphabet=" \n\t:-{}[],&*?|>!%@`'\"#ab1~<", max_size=60), st.binary()))
def test_no_file_makes_a_traceback(tmp_path: Path, text: str | bytes) -> None:
    """Whatever a file holds, it is a configuration or a list of problems."""
    path = tmp_path / "web.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with suppress(WebConfigError):
        WebConfigFile(str(path))


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A short file that stands for billions of values is refused in short lines."""
    path = tmp_path / "web.yml"
    lines = ["a0: &l0 [x]"]
    lines += [f"a{at}: &l{at} [{', '.join([f'*l{at - 1}'] * 9)}]" for at in range(1, 12)]
    path.write_text("\n".join([*lines, "tls_server_config: {min_version: *l11}"]))
    assert max(map(len, problems(path))) < 200
