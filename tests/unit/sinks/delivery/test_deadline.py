from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from neuron_exporter.sinks.delivery.deadline import _Attempt


def succeed() -> int:
    return 1


def fail() -> int:
    raise OSError("no route")


@pytest.mark.parametrize("call", [succeed, fail])
def test_abort_while_the_call_ends(
    call: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the thread without a message, and the result is ignored."""
    unhandled: list[object] = []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    attempt = _Attempt(call, "attempt")
    ending, aborted = threading.Event(), threading.Event()
    finish = attempt._finish

    def finish_later(*results: int, error: BaseException | None = None) -> None:
        ending.set()
        aborted.wait(60)
        finish(*results, error=error)

    monkeypatch.setattr(attempt, "_finish", finish_later)
    attempt.start()
    assert ending.wait(60)
    assert attempt.abort()
    aborted.set()
    attempt.join()
    assert unhandled == []
    assert attempt.results == []
    assert attempt.error is None
