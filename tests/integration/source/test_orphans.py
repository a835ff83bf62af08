"""Adopted processes: which are killed and reaped, and which are not."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

PRELUDE = """
import os, subprocess, sys, threading, time
from neuron_exporter.source.child import Child
from neuron_exporter.source.orphans import adopt_orphans, reap_orphans
from tests.support.children import child
from tests.support.processes import alive, children_of
from tests.support.waiting import wait_for
"""


def run(code: str) -> str:
    """Return what a program prints. It is a process of its own, since it adopts orphans."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_of_other_threads_processes_is_left_to_them() -> None:
    """A library's thread, such as botocore's for a `credential_process`, gets the status."""
    code = """
adopt_orphans()
statuses = []
def start():
    for number in range(40):
        script = f"(setsid sleep 0 &) ; (sleep 0 &) ; exit {number}"
        process = subprocess.Popen(["sh", "-c", script], start_new_session=number % 2 == 0)
        wait_for(lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))
        time.sleep(0.01)  # it has ended, and is reaped late
        statuses.append(process.wait())
thread = threading.Thread(target=start)
thread.start()
while thread.is_alive():
    reap_orphans()
wait_for(lambda: reap_orphans() or not children_of(os.getpid()))
print(statuses == list(range(40)))
"""
    assert run(code) == "True\n"


def test_only_descendants_of_the_child_are_killed() -> None:
    """Neither the exporter's own processes nor the orphans of others end with the child."""
    code = """
first = Child(child("daemon-grandchild", "forever"), {}, print)
daemon = int(os.read(first.stdout, 99))
own = subprocess.Popen(["sleep", "3600"], start_new_session=True)
other = int(subprocess.check_output(["sh", "-c", "setsid sleep 3600 >/dev/null & echo $!"]))
second = Child(child("daemon-grandchild", "forever"), {}, print)
survivor = int(os.read(second.stdout, 99))
wait_for(lambda: other in children_of(os.getpid()))
first.stop(5)
print([alive(pid) for pid in (daemon, own.pid, other, survivor, second.pid)])
second.stop(5)
print([alive(pid) for pid in (own.pid, other, survivor)])
os.kill(other, 9)
wait_for(lambda: reap_orphans() or other not in children_of(os.getpid()))
own.kill()
print(own.wait())
"""
    expected = "[False, True, True, True, True]\n[True, True, False]\n-9\n"
    assert run(code) == expected
