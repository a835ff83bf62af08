"""The web configuration file, reloaded when it or one of its certificates changes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neuron_exporter.log import get_logger
from neuron_exporter.validation import MAX_FILE_BYTES, YamlError, bounded_problems, parse_yaml
from neuron_exporter.web.access import UNPROTECTED, Access, removed_protections
from neuron_exporter.web.config_schema import (
    CIPHERS,
    TlsServerConfig,
    WebConfig,
    problem,
    validate,
)
from neuron_exporter.web.tls import ServerTls

Stamp = tuple[int, ...] | None
"""Identifies a file's state; None if there is no file."""

_log = get_logger(part="http")


class WebConfigError(Exception):
    """An invalid web configuration; `problems` has one line for each error."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(bounded_problems(problems))
        super().__init__("\n".join(self.problems))


class WebConfigFile:
    """A web configuration that reloads its files. After an invalid change the previous one stays
    active."""

    def __init__(self, path: str) -> None:
        """Load the file.

        Raises:
            WebConfigError: the file, or a file that it names, is invalid.
        """
        self._path = path
        self._pending: dict[str, Stamp] | None = None
        self.on_reload: Callable[[bool], None] = lambda _: None
        loader = _Loader(path)
        self._access = loader.load()
        self._stamps = loader.stamps
        self.warnings = loader.warnings
        """A line for each doubtful setting of the last valid file."""

    def access(self) -> Access:
        """Return the settings of the last valid file."""
        return self._access

    def refresh(self, *, at_once: bool = False) -> None:
        """Reload the files if they changed and were stable since the last call, or `at_once`."""
        stamps = {path: _stamp(path) for path in self._stamps}
        if stamps == self._stamps or not (at_once or stamps == self._pending):
            self._pending = stamps  # a write may still be in progress
            return
        loader = _Loader(self._path, self._access)
        try:
            access = loader.load()
            problems = [
                f"{self._path}: {each}" for each in removed_protections(self._access, access)
            ]
            if problems:
                raise WebConfigError(problems)
        except WebConfigError as error:
            for each in error.problems:
                _log.error("web_config_reload_rejected", problem=each, active="previous")
            self.on_reload(False)
        else:
            self._access = access
            _log.info("web_config_reloaded", file=self._path)
            for warning in loader.warnings:
                if warning not in self.warnings:
                    _log.warning("setting_doubtful", setting=warning)
            self.warnings = loader.warnings
            self.on_reload(True)
        self._stamps = loader.stamps


class _Loader:
    """Loads the file and the files that it names, once."""

    def __init__(self, path: str, before: Access = UNPROTECTED) -> None:
        self.stamps: dict[str, Stamp] = {}
        self.warnings: list[str] = []
        self._path = path
        self._before = before
        self._problems: list[str] = []

    def load(self) -> Access:
        """Return the settings, or raise WebConfigError."""
        config = self._read()
        tls = None if config is None else self._tls(config.tls_server_config)
        if config is None or self._problems:
            raise WebConfigError([f"{self._path}: {each}" for each in self._problems])
        headers = config.http_server_config.headers
        if not config.basic_auth_users:
            return Access(tls, None, headers)
        # Load bcrypt only if passwords are configured.
        from neuron_exporter.web.passwords import BcryptUsers

        users = BcryptUsers(config.basic_auth_users, self._before.passwords)
        return Access(tls, users, headers)

    def _read(self) -> WebConfig | None:
        try:
            document, _, repeated = parse_yaml(self._content(self._path))
        except OSError as error:
            self._problems.append(f"cannot be read: {error.strerror}")
            return None
        except YamlError as error:
            self._problems.append(f"line {error.line}: {error}" if error.line else str(error))
            return None
        self._problems += (f"line {line}: {'.'.join(k)}: is set twice" for k, line in repeated)
        config, problems = validate({} if document is None else document)
        self._problems += problems
        return config

    def _tls(self, config: TlsServerConfig) -> ServerTls | None:
        if config == TlsServerConfig():
            return None
        self._check(config)
        certificate = self._pem(config, "cert", "CERTIFICATE")
        key = self._pem(config, "key", "PRIVATE KEY")
        client_ca = b""
        if "Verify" in config.client_auth_type:
            client_ca = self._pem(config, "client_ca", "CERTIFICATE")
        if self._problems:
            return None
        try:
            return ServerTls(config, certificate, key, client_ca)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "reason", None) or str(error)
            if reason == "KEY_VALUES_MISMATCH":
                self._add_problem("key_file", "does not belong to the certificate", config.key_file)
            else:
                self._add_problem("cert_file", f"rejected by OpenSSL: {reason}", config.cert_file)
            return None

    def _check(self, config: TlsServerConfig) -> None:
        """Check values that are valid alone but not together."""
        policy = config.client_auth_type
        if policy == "NoClientCert" and (config.client_ca or config.client_ca_file):
            self._add_problem(
                "client_auth_type", "does not verify clients, but client_ca is set", policy
            )
        if config.client_allowed_sans and policy != "RequireAndVerifyClientCert":
            self._add_problem(
                "client_allowed_sans", "requires client_auth_type RequireAndVerifyClientCert"
            )
        if config.min_version > config.max_version:
            self._add_problem("min_version", "must not be above max_version", config.min_version)
        elif config.max_version == "TLS12" and CIPHERS.keys().isdisjoint(
            config.cipher_suites or CIPHERS
        ):
            self._add_problem(
                "cipher_suites", "must contain a cipher suite of TLS 1.2", config.cipher_suites
            )

    def _pem(self, config: TlsServerConfig, name: str, marker: str) -> bytes:
        """Return PEM content, inline or from a file; empty, with a problem, if it is missing."""
        text, file = getattr(config, name), getattr(config, f"{name}_file")
        if text and file:
            self._add_problem(name, f"cannot be combined with {name}_file")
            return b""
        if not text and not file:
            self._add_problem(f"{name}_file", "must be set")
            return b""
        try:
            path = self._path if text else str(Path(self._path).parent / file)
            content = text.encode() if text else self._content(path)
            if name == "key":
                self._check_mode("key" if text else "key_file", path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._add_problem(f"{name}_file", f"cannot be read: {reason}", file)
            return b""
        if f"{marker}-----".encode() not in content:
            key = name if text else f"{name}_file"
            self._add_problem(key, f"contains no {marker.lower()} in PEM format", file)
        return content

    def _check_mode(self, key: str, path: str) -> None:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & stat.S_IROTH:
            self.warnings.append(
                f"{self._path}: tls_server_config.{key}: every user of the machine can read {path} "
                f"(mode {mode:04o}); `chmod o-r` removes that right"
            )

    def _add_problem(self, key: str, message: str, value: Any = None) -> None:
        self._problems.append(problem(f"tls_server_config.{key}", message, value))

    def _content(self, path: str) -> bytes:
        """Return a file's content, and record the state in which it was read."""
        self.stamps[path] = _stamp(path)
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(path, "rb") as file:
            self.stamps[path] = _stamp(file.fileno())
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, "larger than 1 MiB")
        return content


def _stamp(file: str | int) -> Stamp:
    """Return the state of a file. Links are followed: a changed target is a change."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
