"""The web configuration file as what it decides, read anew when it or its certificates change."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from neuron_exporter.log import get_logger
from neuron_exporter.web.access import Access, taken_away
from neuron_exporter.web.config_schema import TlsServer, WebConfig, problem, validate
from neuron_exporter.web.tls import CIPHERS, OpenSsl, TlsSettings

_LARGEST_FILE = 1024 * 1024
_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"

Stamp = tuple[int, ...] | None
"""What tells one state of a file from another; None where there is no file."""

_log = get_logger(part="http")


class WebConfigError(Exception):
    """Everything that is wrong with a web configuration, one line for each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class WebConfigFile:
    """A web configuration that follows its files. What cannot be used leaves the last in use."""

    def __init__(self, path: str) -> None:
        """Read it for the first time.

        Raises:
            WebConfigError: it cannot be used.
        """
        self._path = path
        self._changing: dict[str, Stamp] | None = None
        self.on_reload: Callable[[bool], None] = lambda _: None
        reading = _Reading(path)
        self._access = reading.access()
        self._stamps = reading.stamps

    def access(self) -> Access:
        """What the last good file decides."""
        return self._access

    def refresh(self, *, at_once: bool = False) -> None:
        """Read the files again if they have changed, and not since the last call or `at_once`."""
        stamps = {path: _stamp(path) for path in self._stamps}
        if stamps == self._stamps or not (at_once or stamps == self._changing):
            self._changing = stamps  # somebody may be in the middle of writing
            return
        reading = _Reading(self._path)
        try:
            access = reading.access()
            problems = [f"{self._path}: {each}" for each in taken_away(self._access, access)]
            if problems:
                raise WebConfigError(problems)
        except WebConfigError as error:
            _log.error("web_config_refused", problems=error.problems, in_use="the one before")
            self.on_reload(False)
        else:
            self._access = access
            _log.info("web_config_reloaded", file=self._path)
            self.on_reload(True)
        self._stamps = reading.stamps


class _Reading:
    """One attempt to read the file and what it names."""

    def __init__(self, path: str) -> None:
        self.stamps: dict[str, Stamp] = {}
        self._path = path
        self._problems: list[str] = []

    def access(self) -> Access:
        """What the file decides.

        Raises:
            WebConfigError: with every problem.
        """
        config = self._read()
        tls = None if config is None else self._tls(config.tls_server_config)
        if config is None or self._problems:
            raise WebConfigError([f"{self._path}: {each}" for each in self._problems])
        headers = config.http_server_config.headers
        if not config.basic_auth_users:
            return Access(tls, None, headers)
        # bcrypt is for those who ask for passwords.
        from neuron_exporter.web.passwords import BcryptUsers

        return Access(tls, BcryptUsers(config.basic_auth_users), headers)

    def _read(self) -> WebConfig | None:
        try:
            document = yaml.load(self._content(self._path), _Strict)  # noqa: S506 (a safe loader)
        except OSError as error:
            self._problems.append(f"cannot be read: {error.strerror}")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = f"line {mark.line + 1}: " if mark else ""
            self._problems.append(f"{at}is not YAML: {error.problem or error.context}")
        except RecursionError:
            self._problems.append("is nested too deeply")
        except (ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
            # The last ones but YAMLError are what PyYAML makes of wrong tags: `!!bool maybe`.
            self._problems.append(
                f"is not YAML: {(str(error) or type(error).__name__).splitlines()[0]}"
            )
        else:
            config, wrong = validate({} if document is None else document)
            self._problems += wrong
            return config
        return None

    def _tls(self, config: TlsServer) -> OpenSsl | None:
        if config == TlsServer():
            return None
        self._check(config)
        certificate = self._pem(config, "cert", "CERTIFICATE")
        key = self._pem(config, "key", "PRIVATE KEY")
        authorities = b""
        if "Verify" in config.client_auth_type:
            authorities = self._pem(config, "client_ca", "CERTIFICATE")
        if self._problems:
            return None
        try:
            return OpenSsl(
                TlsSettings(
                    certificate=certificate,
                    key=key,
                    client_authorities=authorities,
                    client_auth_type=config.client_auth_type,
                    client_allowed_sans=config.client_allowed_sans or (),
                    min_version=config.min_version,
                    max_version=config.max_version,
                    cipher_suites=config.cipher_suites,
                    prefer_server_cipher_suites=config.prefer_server_cipher_suites,
                    curve="".join(config.curve_preferences),
                )
            )
        except (OSError, ValueError) as error:  # of the first kind are those of OpenSSL, too
            reason = getattr(error, "reason", None) or str(error)
            if reason == "KEY_VALUES_MISMATCH":
                self._complain("key_file", "is not the key of the certificate", config.key_file)
            else:
                self._complain("cert_file", f"OpenSSL cannot use it: {reason}", config.cert_file)
            return None

    def _check(self, config: TlsServer) -> None:
        """What fits its type and does not fit together."""
        policy = config.client_auth_type
        if policy == "NoClientCert" and (config.client_ca or config.client_ca_file):
            self._complain("client_auth_type", "verifies nobody, though client_ca is given", policy)
        if config.client_allowed_sans and policy != "RequireAndVerifyClientCert":
            self._complain(
                "client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert"
            )
        if config.min_version > config.max_version:
            self._complain("min_version", "is above max_version", config.min_version)
        elif config.max_version == "TLS12" and CIPHERS.keys().isdisjoint(
            config.cipher_suites or CIPHERS
        ):
            self._complain("cipher_suites", "has none of TLS 1.2", config.cipher_suites)

    def _pem(self, config: TlsServer, name: str, what: str) -> bytes:
        """What stands in place or in a file; empty, with a problem, if it is not there."""
        text, file = getattr(config, name), getattr(config, f"{name}_file")
        if text and file:
            self._complain(name, f"stands beside {name}_file; one of them may be given")
            return b""
        if not text and not file:
            self._complain(f"{name}_file", "is needed")
            return b""
        try:
            content = text.encode() if text else self._content(str(Path(self._path).parent / file))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._complain(f"{name}_file", f"cannot be read: {reason}", file)
            return b""
        if f"{what}-----".encode() not in content:
            where = name if text else f"{name}_file"
            self._complain(where, f"holds no {what.lower()} in PEM", file)
        return content

    def _complain(self, key: str, message: str, given: Any = None) -> None:
        self._problems.append(problem(f"tls_server_config.{key}", message, given))

    def _content(self, path: str) -> bytes:
        """A file's content, and a note of the state that it was read in."""
        self.stamps[path] = _stamp(path)
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "is not a file")
        with open(path, "rb") as file:
            self.stamps[path] = _stamp(file.fileno())
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise OSError(errno.EFBIG, "larger than 1 MiB")
        return content


class _Strict(yaml.SafeLoader):
    """Names are text, whatever they look like, and stand once in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.tag != _MERGE:
                name.tag = _TEXT
                if name.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{name.value} is set twice", problem_mark=name.start_mark
                    )
                seen.add(name.value)
        return super().construct_mapping(node, deep)


def _stamp(file: str | int) -> Stamp:
    """The state of a file; links are followed, so that one that is turned is a change."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
