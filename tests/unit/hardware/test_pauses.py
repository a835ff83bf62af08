"""How long a folder is left out after a hang."""

from __future__ import annotations

from neuron_exporter.hardware.pauses import FIRST_PAUSE, MAX_PAUSE, Pauses


def test_pauses_grow_and_are_short_again_after_an_hour() -> None:
    pauses, now = Pauses(), 1000.0
    assert pauses.is_over("/neuron0", now)
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        pauses.begin("/neuron0", now)
        now += minutes * 60.0
        assert not pauses.is_over("/neuron0", now - 1)
        assert pauses.is_over("/neuron0", now)
        assert pauses.is_over("/neuron1", now)
    now += MAX_PAUSE
    pauses.begin("/neuron0", now)
    assert pauses.is_over("/neuron0", now + FIRST_PAUSE)
