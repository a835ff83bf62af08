from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from neuron_exporter.sinks.delivery.deadline import Attempts, _Attempt, silent_aborts
from tests.support.waiting import wait_for


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


def test_abort_in_a_destructor_is_silent_and_repeated() -> None:
    """Python ignores what a destructor raises, and would print it."""
    is_in_destructor, has_left_destructor = threading.Event(), threading.Event()
    attempts = Attempts[int]("attempt")

    class Slow:
        def __del__(self) -> None:
            is_in_destructor.set()
            wait_for(lambda: False)

    def call() -> int:
        Slow()
        has_left_destructor.set()
        return wait_for(lambda: 0)

    stuck = _Attempt(call, "stuck")
    attempts._stuck.append(stuck)
    stuck.start()
    with silent_aborts():
        assert is_in_destructor.wait(60)
        assert stuck.abort()
        assert has_left_destructor.wait(60)
        assert attempts.run(succeed, 60) == 1
        stuck.join(60)
    assert not stuck.is_alive()
    assert stuck.error is None
