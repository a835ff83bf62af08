"""Scrapes over TLS with a password, among two hundred other clients and alone."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.client_load import STARTED
from tests.support.clients import basic_auth, get
from tests.support.exporter import running_exporter, simulated
from tests.support.web_config import WebConfigFolder, bcrypt_hash


def scrape_times(count: int) -> tuple[float, float]:
    """Return the median time of a scrape in ms, under load and alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = WebConfigFolder(Path(name))
        users = {"me": bcrypt_hash("secret", 10)}
        web = folder.write(tls_server_config=folder.tls, basic_auth_users=users)
        config = {"source": simulated(), "prometheus": {"web_config_file": web}}
        tls = folder.client_context()
        with running_exporter(folder.folder, config, tls=tls) as exporter:
            exporter.wait_for_event("source_state", state="ok")

            def median() -> float:
                times = []
                for _ in range(count):
                    time.sleep(0.02)
                    started = time.perf_counter()
                    headers = {"Authorization": basic_auth("me", "secret")}
                    assert get(exporter.port, "/metrics", tls=tls, **headers).status == 200
                    times.append(time.perf_counter() - started)
                return 1e3 * statistics.median(times)

            median()  # the first comparison of the password takes long
            alone = median()
            command = [*("-m", "tests.support.client_load"), str(exporter.port)]
            command += [str(folder.authority.file), "me", "secret"]
            with subprocess.Popen(
                [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as load:
                assert load.stdout is not None
                assert load.stdout.readline() == f"{STARTED}\n"
                try:
                    return median(), alone
                finally:
                    load.kill()
