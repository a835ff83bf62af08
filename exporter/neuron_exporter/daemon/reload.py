"""Follows the configuration's file: takes a change or refuses it, and says which."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from neuron_exporter import log
from neuron_exporter.config import ConfigError, Origin
from neuron_exporter.daemon.reconfigure import reconfigure
from neuron_exporter.pipeline.build import Pipeline, all_problems

_log = log.get_logger()


class Reload:
    """The reloads of one run; for the main thread, but for `status`."""

    def __init__(self, pipeline: Pipeline, origin: Origin) -> None:
        self._pipeline = pipeline
        self._origin = origin
        self._outcome = ""
        self._at = 0.0

    def look(self) -> None:
        """Reload what has changed and been quiet since. Call it about once a second."""
        if self._origin.has_settled():
            if self._origin.has_news():
                self._reload()
            else:
                _log.debug("config_unchanged", file=self._origin.path)
        if self._pipeline.web_config is not None:
            self._pipeline.web_config.refresh()

    def at_once(self) -> None:
        """Reload now, since somebody asked for it."""
        if self._origin.path is None:
            _log.warning("config_not_reloaded", reason="there is no file: see --config")
        else:
            self._reload()
        if self._pipeline.web_config is not None:
            self._pipeline.web_config.refresh(at_once=True)

    def status(self) -> Mapping[str, Any]:
        """Where the configuration comes from, what became of the last reload, and when that was
        (Unix seconds)."""
        facts: dict[str, Any] = {"file": self._origin.path}
        if self._outcome:
            facts["last_reload"] = {"at": self._at, "outcome": self._outcome}
        return facts

    def _reload(self) -> None:
        telemetry, before = self._pipeline.telemetry, self._pipeline.config.log.level
        try:
            changed = reconfigure(self._pipeline, self._origin.load_again())
        except ConfigError as error:
            self._refuse(all_problems(error))
            return
        except Exception as error:  # noqa: BLE001 (what is in use works, and must go on)
            self._refuse([f"internal error: {error!r}"])
            return
        keys = [each.key for each in changed]
        telemetry.config_good.set(1)
        telemetry.config_timestamp.set_to_current_time()
        telemetry.config_reloads.labels("taken").inc()
        self._note(f"taken: {', '.join(keys) or 'nothing has changed'}")
        now = self._pipeline.config.log.level
        # Said when either level would say it: somebody waits for it.
        log.set_level(min(before, now, key=log.LEVELS.index))
        _log.info("config_reloaded", file=self._origin.path, changed=keys)
        log.set_level(now)

    def _refuse(self, problems: Sequence[str]) -> None:
        self._pipeline.telemetry.config_good.set(0)
        self._pipeline.telemetry.config_reloads.labels("refused").inc()
        for each in problems:
            _log.error("config_refused", problem=each, in_use="the one before")
        more = f" (and {len(problems) - 1} more: see the log)" if len(problems) > 1 else ""
        self._note(f"refused: {problems[0]}{more}")

    def _note(self, outcome: str) -> None:
        self._at, self._outcome = time.time(), outcome
