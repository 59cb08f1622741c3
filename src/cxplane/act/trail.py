"""One call to a system and what came of it, put down as an attempt."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from jsonschema import Draft202012Validator
from referencing import Registry

from cxplane.act.plan import CallPlan, words
from cxplane.domain.catalog import Action
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import CxplaneError, ExpressionError, FailureKind, SystemFailure
from cxplane.domain.outcome import Attempt, Outcome, Status
from cxplane.domain.values import JsonObject
from cxplane.ports.clock import Clock
from cxplane.ports.systems import Connector, Reply

log = logging.getLogger("cxplane.act")

SPARE_S = 0.5  # for a connector to keep its own time limit; after that it is cut off


class Finding(StrEnum):
    """What a look at the system showed."""

    CONFIRMED = "confirmed"  # it is done
    NOT_DONE = "not_done"  # there is no such thing, or it is otherwise
    UNCLEAR = "unclear"  # the read could not be had


@dataclass(frozen=True, slots=True)
class Failed:
    failure: SystemFailure
    again: bool = True  # False: asking again at once cannot help


@dataclass(slots=True)
class Trail:
    """The attempts of one request, and the ways to add to them. `until`: loop time when all of it must be over."""

    allowed: Allowed
    plan: CallPlan
    systems: Connector
    clock: Clock
    until: float
    attempts: list[Attempt] = field(default_factory=list)
    found: JsonObject | None = field(
        default=None, repr=False
    )  # what the confirming read showed, where it fits the output

    @property
    def action(self) -> Action:
        return self.plan.action

    def left(self) -> float:
        """Seconds that remain."""
        return self.until - asyncio.get_running_loop().time()

    async def call(self, *, keep_s: float = 0.0) -> Reply | Failed:
        """Try the action once, leaving `keep_s` for what comes after. Anything that may have been done is `unknown`."""
        action, allowed = self.action, self.allowed
        timeout_s = min(action.limits.timeout.total_seconds(), self.left() - keep_s)

        async def one() -> Reply:
            if action.writes:
                return await self.systems.write(action, allowed, timeout_s=timeout_s)
            return await self.systems.read(action, allowed.request.input, timeout_s=timeout_s)

        if timeout_s <= 0:
            return Failed(
                SystemFailure(action.system, "nothing, no time was left", kind=FailureKind.RETRY), again=False
            )
        at, started = self.clock.now(), time.perf_counter()
        answer = await self._tried(one, timeout_s + SPARE_S, action)
        took_ms = (time.perf_counter() - started) * 1000
        if isinstance(answer, Reply):
            self.attempts.append(Attempt(at, took_ms, "done"))
        else:
            self.attempts.append(Attempt(at, took_ms, answer.failure.kind.value, answer.failure.said))
        return answer

    def can_look(self, output: JsonObject | None) -> bool:
        """Whether there is a read that tells, and all that it needs is known."""
        return self.plan.confirm is not None and (output is not None or not self.plan.confirm_needs_output)

    async def look(self, output: JsonObject | None) -> Finding:
        """Read whether it is done. A read that fails for the moment is tried once more."""
        read = self.plan.confirm_read
        assert read is not None
        said = words(self.allowed.request, self.allowed.key, output=output, facts=self.allowed.grounds.facts)
        limit_s = min(read.limits.timeout, self.action.limits.timeout).total_seconds()
        at, started = self.clock.now(), time.perf_counter()
        finding, why = Finding.UNCLEAR, "no time was left"
        try:
            asked = self.plan.confirm_input(said)
            for _ in range(2):
                timeout_s = min(limit_s, self.left())
                if timeout_s <= 0:
                    break

                async def one(timeout_s: float = timeout_s) -> Reply:
                    return await self.systems.read(read, asked, timeout_s=timeout_s)

                answer = await self._tried(one, timeout_s + SPARE_S, read)
                if isinstance(answer, Reply):
                    shown = self.plan.confirmed({**said, "result": dict(answer.output)})
                    finding = Finding.CONFIRMED if shown else Finding.NOT_DONE
                    why = "it is done" if shown else "what it shows is not what was asked for"
                    self.found = answer.output if shown else None
                    break
                why = answer.failure.said
                if answer.failure.not_found:
                    finding = Finding.NOT_DONE
                    break
                if answer.failure.kind is FailureKind.REFUSED or not answer.again:
                    break
        except ExpressionError as problem:
            finding, why = Finding.UNCLEAR, str(problem)
        took_ms = (time.perf_counter() - started) * 1000
        self.attempts.append(Attempt(at, took_ms, finding.value, f"looked with {read.id}: {why}"))
        return finding

    async def _tried(self, one: Callable[[], Awaitable[Reply]], most_s: float, action: Action) -> Reply | Failed:
        doubt = FailureKind.UNKNOWN if action.writes else FailureKind.RETRY
        try:
            async with asyncio.timeout(most_s):
                return await one()
        except SystemFailure as failure:
            return Failed(failure)
        except TimeoutError:
            return Failed(SystemFailure(action.system, "no answer before the time was over", kind=doubt))
        except CxplaneError as problem:  # raised before anything is sent: an expression, a secret, an address
            kind = FailureKind.REFUSED if isinstance(problem, ExpressionError) else FailureKind.RETRY
            said = f"nothing, it was not called: {problem}"
            return Failed(SystemFailure(action.system, said, kind=kind), again=False)
        except Exception as problem:  # a fault of ours: what it did is not known; its text may hold customers' data
            where = "".join(traceback.format_tb(problem.__traceback__))
            log.error("the connector of %s broke with %s\n%s", action.system, type(problem).__name__, where)
            return Failed(
                SystemFailure(action.system, f"the connector broke with {type(problem).__name__}", kind=doubt)
            )

    # how it ended

    def done(self, output: JsonObject | None, *, by: str) -> Outcome:
        return self._outcome(Status.DONE, output=output, confirmed_by=by)

    def done_by_read(self, output: JsonObject | None) -> Outcome:
        """Done, as a read shows; where no reply told the output, what was read counts if it fits the contract."""
        assert self.plan.confirm is not None
        return self.done(output if output is not None else self._output_found(), by=f"read {self.plan.confirm.read}")

    def failed(self, kind: FailureKind, error: str) -> Outcome:
        return self._outcome(Status.FAILED, error=error, kind=kind.value)

    def unknown(self, error: str, output: JsonObject | None = None) -> Outcome:
        return self._outcome(Status.UNKNOWN, output=output, error=error, kind=FailureKind.UNKNOWN.value)

    def stuck(self, error: str, output: JsonObject | None = None) -> Outcome:
        return self._outcome(Status.STUCK, output=output, error=error, kind=FailureKind.UNKNOWN.value)

    def _outcome(
        self,
        status: Status,
        *,
        output: JsonObject | None = None,
        confirmed_by: str | None = None,
        error: str | None = None,
        kind: str | None = None,
    ) -> Outcome:
        return Outcome(
            request=self.allowed.request.id,
            status=status,
            at=self.clock.now(),
            output=output,
            confirmed_by=confirmed_by,
            error=error,
            kind=kind,
            attempts=tuple(self.attempts),
        )

    def _output_found(self) -> JsonObject | None:
        properties = self.action.output.get("properties", {})
        shown = {name: value for name, value in (self.found or {}).items() if name in properties}
        fits = bool(shown) and Draft202012Validator(dict(self.action.output), registry=Registry()).is_valid(shown)
        return shown if fits else None
