"""Actions that are done by a Python coroutine of the operator: `async def f(input, key, secrets) -> dict`.

`input` is a fresh copy of the action's input, `key` the idempotency key (None on a read), `secrets(name)` a secret of
the vault. The coroutine raises SystemFailure to say what went wrong; anything else that it raises is classed here: on a
write the outcome is unknown, on a read it may be asked again. The text of a foreign exception is never passed on.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any

from cxplane.connectors.http import key_of
from cxplane.connectors.mapping import OutputCheck, WrongReply
from cxplane.connectors.plans import Plans
from cxplane.domain.catalog import Action, PythonCall
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import ControlError, FailureKind, Mistake, SystemFailure
from cxplane.domain.values import JsonObject, canonical
from cxplane.ports.systems import Reply, Vault

Secrets = Callable[[str], str]


class PythonConnector:
    """Every action reached by Python, whatever its system."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._calls: Plans[_Call] = Plans(_Call)

    async def read(self, action: Action, input: JsonObject, *, timeout_s: float) -> Reply:
        """Raises SystemFailure (never `unknown`); ValueError for a write."""
        if action.writes:
            raise ValueError(f"{action.id} is a write: it needs an Allowed")
        return await self._run(action, input, None, timeout_s)

    async def write(self, action: Action, allowed: Allowed, *, timeout_s: float) -> Reply:
        """Raises SystemFailure."""
        return await self._run(action, allowed.request.input, key_of(action, allowed), timeout_s)

    async def preview(self, action: Action, input: JsonObject) -> JsonObject:
        """What would be called, without calling it."""
        call = self._calls(action)
        return {"system": action.system, "callable": call.name, "input": copy.deepcopy(dict(input))}

    async def aclose(self) -> None:
        return None

    async def _run(self, action: Action, input: JsonObject, key: str | None, timeout_s: float) -> Reply:
        call = self._calls(action)
        doubt = FailureKind.UNKNOWN if action.writes else FailureKind.RETRY
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                output = await call.function(copy.deepcopy(dict(input)), key, self._vault.secret)
        except SystemFailure as failure:
            if failure.kind is FailureKind.UNKNOWN and not action.writes:
                raise SystemFailure(failure.system, failure.said, kind=FailureKind.RETRY) from None
            raise
        except TimeoutError:
            raise SystemFailure(action.system, f"{call.name}: no answer within {timeout_s:g} s", kind=doubt) from None
        except Exception as problem:
            said = f"{call.name} broke with {type(problem).__name__}"
            raise SystemFailure(action.system, said, kind=doubt) from None
        try:
            canonical(output)
            checked = call.check(output)
        except (WrongReply, ValueError, TypeError, RecursionError) as problem:
            why = str(problem) if isinstance(problem, WrongReply) else "the reply is not JSON that we can use"
            raise SystemFailure(action.system, f"{call.name}: {why}", kind=doubt) from None
        return Reply(checked, (time.perf_counter() - started) * 1000)


class _Call:
    """The coroutine function of one entry, found. ControlError if it is not there."""

    def __init__(self, action: Action) -> None:
        if not isinstance(action.via, PythonCall):
            raise ValueError(f"{action.id} is not reached by Python")
        self.name = action.via.callable
        self.check = OutputCheck(action.output)
        self.function = self._find(action)

    def _find(self, action: Action) -> Callable[[Mapping[str, Any], str | None, Secrets], Any]:
        module_name, _, name = self.name.partition(":")
        try:
            function = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError, ValueError):
            hint = "give via.python.callable as module:function, of an installed module"
            raise ControlError([Mistake(action.file, action.line, f"{self.name} cannot be imported", hint)]) from None
        if not inspect.iscoroutinefunction(function):
            hint = "write it as `async def f(input, key, secrets) -> dict`"
            raise ControlError([Mistake(action.file, action.line, f"{self.name} is no coroutine function", hint)])
        return function  # type: ignore[no-any-return]
