"""A run driven by hand: events go in, effects are kept; the state goes through JSON after every event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.domain.journey import Charter, Journey, Step
from cxplane.domain.run import (
    Advanced,
    Answered,
    AskAction,
    ChildEnded,
    Due,
    Effect,
    Event,
    Heard,
    OpenTask,
    Run,
    RunState,
    Settled,
    Started,
    Token,
    Told,
    UndoRequest,
    state_body,
    state_from,
)
from cxplane.journeys.advance import advance
from cxplane.journeys.program import Program
from cxplane.journeys.waits import due
from cxplane.wiring import expressions

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
CEL = expressions()
CHARTER = Charter("care", frozenset(), frozenset(), frozenset(), {}, "desk", (), ())


def journey(*steps: Step, **more: Any) -> Journey:
    return Journey(
        **{
            "id": "j",
            "version": 1,
            "summary": "s",
            "owner": "care",
            "charter": CHARTER,
            "say": "crm.say",
            "steps": steps,
        }
        | more
    )


class Driven:
    """`run = Driven(call, …)`: started, and at its first wait."""

    def __init__(self, *steps: Step, input: dict[str, Any] | None = None, start: bool = True, **more: Any) -> None:
        self.journey = journey(*steps, **more)
        self.program = Program.compile(self.journey, CEL)
        self.run = Run("run_1", "t", "j", "r1", START, input or {}, customer="c-1")
        self.now = START
        self.effects: list[Effect] = []
        self.last: Advanced = Advanced(self.run.state)
        if start:
            self.take(Started())

    @property
    def state(self) -> RunState:
        return self.run.state

    @property
    def status(self) -> str:
        return str(self.state.status)

    def take(self, event: Event) -> Advanced:
        self.last = advance(self.program, self.run, event, self.now)
        state = state_from(json.loads(json.dumps(state_body(self.last.state), sort_keys=True)))
        self.run = self.run.changed(state=state)
        self.effects += self.last.effects
        return self.last

    def token(self, step: str) -> Token:
        return next(t for t in self.state.tokens if t.at == step)

    def at(self) -> list[tuple[str, str]]:
        return [(t.at, t.wait.kind if t.wait else "-") for t in self.state.tokens]

    def asked(self, step: str | None = None) -> list[AskAction]:
        return [e for e in self.effects if isinstance(e, AskAction) and step in (None, e.step)]

    def undone(self) -> list[str]:
        return [e.step for e in self.effects if isinstance(e, UndoRequest)]

    def tasks(self, what: str | None = None) -> list[OpenTask]:
        return [e for e in self.effects if isinstance(e, OpenTask) and what in (None, e.what)]

    def settle(self, step: str, status: str = "done", **more: Any) -> Advanced:
        """What the token at that step waits for has ended so."""
        wait = self.token(step).wait
        assert wait is not None and wait.request is not None
        return self.take(Settled(wait.request, status, **more))

    def undo(self, status: str = "done", **more: Any) -> Advanced:
        """The undo that is awaited has ended so."""
        request = next(t.wait.request for t in self.state.tokens if t.wait is not None and t.wait.kind == "undo")
        return self.take(Settled(request or "", status, **more))

    def answer(self, step: str, **answer: Any) -> Advanced:
        wait = self.token(step).wait
        assert wait is not None and wait.task is not None
        return self.take(Answered(wait.task, answer, "person:lena"))

    def hear(self, signal: str, key: str = "run_1", **data: Any) -> Advanced:
        return self.take(Heard(signal, key, data, "test", "s1"))

    def later(self, **after: float) -> None:
        """Time passes; every timer that falls due rings, the earliest first."""
        until = self.now + timedelta(**after)
        while times := sorted(
            (at, id, what) for id, what, at in due(self.state) if datetime.fromisoformat(at) <= until
        ):
            at, id, what = times[0]
            self.now = max(self.now, datetime.fromisoformat(at))
            before = self.state
            self.take(Due(id, what))
            assert self.state != before, "a timer that rang and changed nothing rings for ever"
        self.now = until

    def child(self, status: str, **result: Any) -> Advanced:
        run = next(t.wait.run for t in self.state.tokens if t.wait is not None and t.wait.kind == "run")
        return self.take(ChildEnded(run or "", status, result))

    def tell(self, what: str, **more: Any) -> Advanced:
        return self.take(Told(what, "person:lena", **more))
