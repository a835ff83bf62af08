"""The log events of a module, read from its source."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

METHODS = {"debug", "info", "warning", "error", "critical", "exception"}


def events(path: Path, module_name: str) -> Iterator[str]:
    """One line for each call that logs an event: its name, levels, fields, and the logger's fields.

    Loggers are names assigned from `get_logger(…)`. Calls of their methods log, and so do calls of
    aliases (`say = log.info if … else log.warning`) and of functions that pass a parameter on as
    the event. Any other use of a logger fails, so that no event is missed.
    """
    module = _Module(path)
    bound = [f"{name}={_value(node, module_name)}" for name, node in module.bound]
    for call, (levels, at) in module.logging_calls():
        event = call.args[at]
        where = f"{path.name}:{call.lineno}"
        assert isinstance(event, ast.Constant), f"{where}: the event is no literal"
        fields = [*module.fields(call), *bound]
        yield " ".join([str(event.value), "|".join(sorted(levels)), *fields])


Sender = tuple[set[str], int]
"""The levels of a callable that logs, and the position of the event among its arguments."""


class _Module:
    def __init__(self, path: Path) -> None:
        self._nodes = list(ast.walk(ast.parse(path.read_text())))
        self._calls = [node for node in self._nodes if isinstance(node, ast.Call)]
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in self._nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assigned.setdefault(ast.unparse(target), []).append(node.value)
        made = [call for call in self._calls if _last_name(call.func) == "get_logger"]
        self._loggers = {
            name for name, values in self._assigned.items() if any(v in made for v in values)
        }
        self.bound = [(each.arg, each.value) for call in made for each in call.keywords]
        """Fields that the logger adds to each event."""
        assert len(made) == len(self._loggers) <= 1, f"{path.name}: more than one logger"
        self._methods = [node for node in self._nodes if self._levels(node)]
        self._check_uses(path.name)

    def _check_uses(self, name: str) -> None:
        """Fail where a logger, or a method of one, is neither called nor given an alias."""
        reads = [n for n in self._nodes if isinstance(getattr(n, "ctx", None), ast.Load)
                 and ast.unparse(n) in self._loggers]  # fmt: skip
        assert len(reads) == len(self._methods), f"{name}: a logger is used in an unknown way"
        others = [n for n in self._nodes if isinstance(n, ast.Attribute) and n.attr in METHODS
                  and _last_name(n.value).strip("_") in ("log", "logger")]  # fmt: skip
        assert all(map(self._levels, others)), f"{name}: a logger of another module"
        values = [value for values in self._assigned.values() for value in values]
        known = {id(call.func) for call in self._calls}
        known |= {id(n) for value in values for n in ast.walk(value)}
        assert all(id(n) in known for n in self._methods), f"{name}: a method is passed on"

    def logging_calls(self) -> Iterator[tuple[ast.Call, Sender]]:
        """Calls that log an event of their own."""
        senders: dict[str, Sender] = {ast.unparse(n): (self._levels(n), 0) for n in self._methods}
        for name, values in self._assigned.items():
            for value in values:
                levels = set().union(*map(self._levels, ast.walk(value)))
                if levels and not isinstance(value, ast.Call):
                    senders[name] = levels, 0
        before = -1
        while before != len(senders):
            before = len(senders)
            found = [(c, senders[f]) for c in self._calls if (f := ast.unparse(c.func)) in senders]
            forwards = {id(call): self._forwarder(call, sender) for call, sender in found}
            senders |= dict(each for each in forwards.values() if each)
        used = {ast.unparse(node) for node in (*self._methods, *(call.func for call, _ in found))}
        assert senders.keys() == used, f"{senders.keys() - used} may log in another module"
        return (each for each in found if not forwards[id(each[0])])

    def _forwarder(self, call: ast.Call, sender: Sender) -> tuple[str, Sender] | None:
        """The function around a call, if the call's event is a parameter of it."""
        levels, at = sender
        for function in (n for n in self._nodes if isinstance(n, ast.FunctionDef)):
            names = [each.arg for each in function.args.args]
            if call in ast.walk(function) and _last_name(call.args[at]) in names:
                index = names.index(_last_name(call.args[at]))
                if names[0] == "self":
                    return f"self.{function.name}", (levels, index - 1)
                return function.name, (levels, index)
        return None

    def _levels(self, node: ast.AST) -> set[str]:
        """The level of a logger's method; nothing for other nodes."""
        is_method = isinstance(node, ast.Attribute) and ast.unparse(node.value) in self._loggers
        return {node.attr} & METHODS if is_method else set()  # type: ignore[attr-defined]

    def fields(self, call: ast.Call) -> list[str]:
        """Names of the fields; `name?` for keys of a `**` literal, `**name` for other mappings."""
        names = []
        for keyword in call.keywords:
            values = self._assigned.get(ast.unparse(keyword.value), [keyword.value])
            if keyword.arg:
                names.append(keyword.arg)
            else:
                dicts = [n for v in values for n in ast.walk(v) if isinstance(n, ast.Dict)]
                keys = [key.value for d in dicts for key in d.keys if isinstance(key, ast.Constant)]
                names += [f"{key!s}?" for key in keys] or [f"**{_last_name(keyword.value)}"]
        return sorted(names)


def _last_name(node: ast.AST) -> str:
    return str(getattr(node, "attr", None) or getattr(node, "id", ""))


def _value(node: ast.expr, module_name: str) -> object:
    """The value of a literal, or of a module's constant."""
    if isinstance(node, ast.Name):
        return getattr(importlib.import_module(module_name), node.id)
    return ast.literal_eval(node)
