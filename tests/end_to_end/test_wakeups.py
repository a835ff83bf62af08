"""An exporter that waits for a report sleeps: every wake-up costs the workloads of its host."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.support.children import child
from tests.support.exporter import running_exporter
from tests.support.waiting import wait_for


def wakeups(pid: int) -> tuple[int, int]:
    """Return the voluntary context switches of the main thread, and of all others."""
    counts = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            status = (task / "status").read_text()
            counts[int(task.name)] = int(
                status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]
            )
    main = counts.pop(pid)
    return main, sum(counts.values())


def test_threads_sleep_between_reports(tmp_path: Path) -> None:
    """Beside a few ticks of the main thread, no thread wakes up for nothing."""
    config = {"source": {"command": child("report", "forever"), "period": "60s"}}
    with running_exporter(tmp_path, config) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        exporter.get("/metrics")
        pid = exporter.process.pid
        settled, _ = wakeups(pid)
        wait_for(lambda: wakeups(pid)[0] > settled)  # what the scrape has started has ended
        main, others = wakeups(pid)
        wait_for(lambda: wakeups(pid)[0] >= main + 4)
        assert wakeups(pid)[1] - others <= 4
