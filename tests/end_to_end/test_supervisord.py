"""The exporter under a real supervisord, as the image starts it."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.daemon.daemon import STOP_SECONDS
from tests.support.children import LINE, child
from tests.support.processes import alive, children_of, proportional_set_size
from tests.support.supervised import (
    ENTRY_POINT,
    IMAGE,
    SIMULATED,
    Supervised,
    descendants,
    own_directory,
    supervised,
    variables,
)
from tests.support.waiting import wait_for

NOBODY_UID = 65534
STATE = ["exporter.pid", "supervisord.pid", "url"]
GRACE = 30.0
"""Grace period of ECS and Kubernetes, in seconds."""


def wait_until_serving(exporter: Supervised) -> list[int]:
    """Wait until the exporter serves; return all processes below the entry point."""
    exporter.wait_for_start(1)
    return descendants(exporter.process.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    """The exporter stops as it does alone, its stubborn child's process group ends, and the status
    is 0."""
    config = {"source": {"command": child("ignore", "grandchild", "report", "forever")}}
    with supervised(tmp_path, config) as exporter:
        below = wait_until_serving(exporter)

        assert exporter.stop(number) == 0

    assert len(below) > 5
    assert not any(map(alive, below))
    assert exporter.events("stopped")[-1]["status"] == 0
    assert not exporter.events("setting_doubtful"), "the exporter knows the image's variables"


def test_invalid_configuration(tmp_path: Path) -> None:
    """The exporter's own message appears once, and the container exits with 2."""
    flags = ("--source", "no such\n'file'; $HOME")
    with supervised(tmp_path, {}, flags=flags, NEURON_EXPORTER_STARTSECS="60") as exporter:
        supervisord = exporter.supervisord

        assert exporter.wait() == 2

    assert not alive(supervisord)
    text = "\n".join(exporter.raw_log)
    assert text.count("neuron-exporter: ") == 1
    got = f"a text of {len(flags[1])} characters"
    assert f"neuron-exporter: --source: source.path: is not a file (got {got})" in text


def leave_state_of_an_earlier_life(folder: Path) -> Path:
    """Write what a container leaves that was killed while it stopped; return the directory."""
    own = own_directory(folder / "run")
    (own / "neuron-exporter-x").mkdir(parents=True)
    own.chmod(0o777)
    (own / "neuron-exporter-x" / "neuron-monitor.json").touch()
    (own / ".hidden").touch()
    (own / "ended").write_text("0\n")
    (own / "exporter.pid").write_text(f"{os.getpid()}\n")
    (own / "url").write_text("http://127.0.0.1:1\n")
    return own


def test_start_after_an_earlier_life(tmp_path: Path) -> None:
    """A container that starts again on the same run volume starts the exporter."""
    own = leave_state_of_an_earlier_life(tmp_path)
    with supervised(tmp_path, SIMULATED) as exporter:
        wait_until_serving(exporter)
        assert (own / "url").read_text().strip() == exporter.url
        assert int((own / "exporter.pid").read_text()) == exporter.exporter
        assert sorted(each.name for each in own.iterdir() if each.is_file()) == STATE
        assert own.stat().st_mode & 0o777 == 0o700
        assert not (own / "neuron-exporter-x").exists()
        assert exporter.stop() == 0


def test_address_of_an_earlier_life(tmp_path: Path) -> None:
    """An exporter that does not come up leaves no address of an earlier one to the health check."""
    own = leave_state_of_an_earlier_life(tmp_path)
    flags = ("--source", "no such file")
    with supervised(tmp_path, {}, flags=flags, NEURON_EXPORTER_STARTSECS="60") as exporter:
        assert exporter.wait() == 2
    assert sorted(os.listdir(own)) == ["ended"]


def test_end_of_input(tmp_path: Path) -> None:
    """An exporter that has read its file to the end is not restarted; the container exits with
    0."""
    reports = tmp_path / "reports"
    reports.write_bytes(LINE)
    with supervised(tmp_path, {}, flags=("--source", str(reports))) as exporter:
        assert exporter.wait() == 0

    assert [event["reason"] for event in exporter.events("stopping")] == ["end of input"]


@contextmanager
def occupied_port() -> Iterator[dict[str, Any]]:
    """Yield a configuration whose port is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"prometheus": {"listen": f"127.0.0.1:{server.getsockname()[1]}"}}


def test_exhausted_restarts(tmp_path: Path) -> None:
    """After the configured number of restarts the container exits with 2 and logs the reason."""
    tries = {"NEURON_EXPORTER_STARTSECS": "60", "NEURON_EXPORTER_STARTRETRIES": "1"}
    with occupied_port() as config, supervised(tmp_path, config, **tries) as exporter:
        supervisord = exporter.supervisord

        assert exporter.wait() == 2

    assert not alive(supervisord)
    assert len([line for line in exporter.raw_log if "prometheus.listen" in line]) == 2
    assert exporter.logged(
        "neuron-exporter: restarts exhausted: no start lasted for 60 s (tries: 2)"
    )


def test_stop_between_retries(tmp_path: Path) -> None:
    """A stop while the exporter waits for its next start ends the container with 0."""
    with occupied_port() as config, supervised(tmp_path, config) as exporter:
        wait_for(lambda: exporter.logged("prometheus.listen"))
        wait_for(lambda: exporter.logged("exit status 1; not expected"))

        assert exporter.stop() == 0

    assert not exporter.logged("restarts exhausted")


def test_stop_during_start(tmp_path: Path) -> None:
    """A stop leaves no process, whatever had been started."""
    for number, moment in enumerate(["", "supervisord started", "spawned: 'exporter'"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with supervised(folder, SIMULATED) as exporter:
            supervisord = exporter.supervisord
            wait_for(lambda e=exporter, m=moment: not m or e.logged(m))  # type: ignore[misc]
            below = descendants(exporter.process.pid)

            assert exporter.stop() == 0

        assert not any(map(alive, [supervisord, *below]))


def test_supervisord_killed(tmp_path: Path) -> None:
    """The exporter and its child end, and the container fails."""
    with supervised(tmp_path, SIMULATED) as exporter:
        below = wait_until_serving(exporter)
        os.kill(exporter.supervisord, signal.SIGKILL)

        assert exporter.wait() == 128 + signal.SIGKILL
        wait_for(lambda: not any(map(alive, below)))


def test_supervision_memory(tmp_path: Path) -> None:
    """The supervising processes take less than 24 MiB and open no port."""
    with supervised(tmp_path, SIMULATED) as exporter:
        wait_until_serving(exporter)
        supervisord = exporter.supervisord
        supervision = [exporter.process.pid, supervisord, *children_of(supervisord)]
        assert len(supervision) == 4
        total = sum(map(proportional_set_size, supervision))
        held = [os.readlink(fd) for fd in Path(f"/proc/{supervisord}/fd").iterdir()]
        assert exporter.stop() == 0
    assert total < 24
    assert not [each for each in held if each.startswith("socket:")]


def run_entry_point(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run an entry point that ends by itself; return its status, output and errors."""
    done = subprocess.run(
        [str(ENTRY_POINT), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=variables(folder, **environment),
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("RUN_DIRECTORY", "/dev/null", "must be a writable directory"),
        ("STARTSECS", "ten", "must be a whole number below 10000000"),
        ("STARTRETRIES", "-1", "must be a whole number below 10000000"),
        ("RETRY_SECONDS", "soon", "must be a whole number below 10000000"),
    ],
)
def test_invalid_variable(tmp_path: Path, name: str, value: str, allowed: str) -> None:
    """The entry point names the variable and the allowed values, and exits with 2."""
    status, out, complaints = run_entry_point(tmp_path, **{f"NEURON_EXPORTER_{name}": value})
    assert (status, out) == (2, "")
    (line,) = complaints.splitlines()
    assert line.startswith(f"neuron-exporter: NEURON_EXPORTER_{name}: ")
    assert allowed in line
    assert value in line


def test_other_commands_are_not_supervised(tmp_path: Path) -> None:
    """With a command, the entry point runs that command of the exporter."""
    status, out, _ = run_entry_point(tmp_path, "instance-types", "--json")
    assert status == 0
    assert out.startswith(("[", "{"))


def test_stop_times() -> None:
    """supervisord waits longer than the exporter takes to stop, and less than its own grace
    period."""
    config = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    config.read(IMAGE / "supervisord.conf")
    assert STOP_SECONDS < config.getint("program:exporter", "stopwaitsecs") < GRACE


CONTAINER = """
mount -t tmpfs -o mode=1777 tmpfs /run &&
cp -r {programs} /run/programs && cp {config} /run/exporter.yaml &&
chmod -R a+rX /run/programs /run/exporter.yaml || exit 77
drop="setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --bounding-set=-all"
reached() {{
    $drop sh -c 'cd / && {python} -c "import supervisor" && test -x {entry_point}'
}}
if ! reached 2>/dev/null; then  # Python is below another user's home
    mkdir /run/python && mount --bind {base} /run/python && mount -t tmpfs tmpfs {home} &&
    mkdir -p {base} && mount --bind /run/python {base} && reached || exit 77
fi
mount -o remount,bind,ro / || exit 77
! touch /here {home}/../here 2>/dev/null || exit 77
unset NEURON_EXPORTER_RUN_DIRECTORY TMPDIR
PATH=/run/programs:$PATH
exec $drop {entry_point} --config /run/exporter.yaml
"""
"""Process 1, a user without rights, and a root that is read-only but for /run."""


def test_container_restrictions(tmp_path: Path) -> None:
    """As process 1 on a read-only root without privileges, it keeps the exporter running, writes to
    its run directory only, and reaps orphans."""
    if os.geteuid() != 0:
        pytest.skip("only root can make the namespaces")
    text = CONTAINER.format(
        programs=shlex.quote(str(tmp_path / "programs")),
        config=shlex.quote(str(tmp_path / "exporter.yaml")),
        entry_point=shlex.quote(str(ENTRY_POINT)),
        python=shlex.quote(sys.executable),
        base=shlex.quote(sys.base_prefix),
        home=shlex.quote("/".join(Path(sys.base_prefix).parts[:2]).replace("//", "/")),
        user=NOBODY_UID,
    )
    within = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    config = {"source": {"command": child("daemon-grandchild", "report", "forever")}}
    with supervised(tmp_path, config, within=[*within, "sh", "-c", text]) as exporter:
        wait_for(lambda: exporter.process.poll() is not None or exporter.events("started"))
        if exporter.process.poll() == 77 or exporter.logged("unshare: "):
            pytest.skip(f"this machine does not allow it: {exporter.raw_log}")
        exporter.wait_for_start(1)
        (first,) = children_of(exporter.process.pid)
        status = Path(f"/proc/{first}/status").read_text()
        assert status.split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
        assert status.split("Uid:")[1].split()[0] == str(NOBODY_UID)
        run = Path(f"/proc/{first}/root/run/neuron-exporter")
        own = own_directory(run, NOBODY_UID)
        assert list(run.iterdir()) == [own]
        written = sorted(os.listdir(own))
        assert [name for name in written if not name.startswith("neuron-exporter-")] == STATE

        exporter.wait_for_event("report_invalid")  # from the grandchild, which has started
        os.kill(exporter.exporter, signal.SIGKILL)
        exporter.wait_for_start(2)
        orphans = [pid for pid in children_of(first) if pid != exporter.supervisord]
        assert orphans, "what fled when its parent was killed is process 1's now"
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))

        os.kill(first, signal.SIGTERM)
        assert exporter.wait() == 0
    assert not exporter.logged("root")
