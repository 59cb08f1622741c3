"""What a leg puts on record: how far the run has come, and the work it has for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cxplane.domain.record import NewEntry, subject_of
from cxplane.domain.run import INTERNAL, MoveTask, OpenTask, Run, RunState, RunStatus, Went, internal_task, state_body
from cxplane.journeys.program import Program
from cxplane.journeys.waits import describe_waits, due, listening


def advanced_entry(
    program: Program,
    run: Run,
    *,
    before: RunState | None,
    release: str,
    at: datetime,
    events: Sequence[str],
    went: Sequence[Went],
    took: Sequence[str],
    rest: bool,
    parent: str | None,
) -> NewEntry:
    """`before`: the state on record, to say only what changed; None: there is none. `rest`: the run waits from here on.

    A run that goes on is `ready` on record: whoever takes it over then knows that a leg was broken off.
    """
    state = run.state
    status = state.status if rest else RunStatus.READY
    body: dict[str, Any] = {"run": run.id, "status": status.value}
    private: dict[str, Any] = {"state": state_body(state)}
    if events:
        body["event"] = list(events)
    if went:
        body["went"] = [[w.step, w.how] if w.error is None else [w.step, w.how, w.error] for w in went]
        if texts := {w.step: w.text for w in went if w.text}:
            private["texts"] = texts
    if took:
        body["took"] = list(took)
    times = [] if status.final else due(state)
    if times != ([] if before is None else due(before)):
        body["timers"] = [[f"{token}:{what}", when] for token, what, when in times]
    if times:
        body["next_due"] = min(when for _, _, when in times)
    listens = [] if status.final else _listens(state)
    if listens != ([] if before is None else _listens(before)):
        body["listens"] = listens
    if rest:
        body["idle"] = True
        body["at"], private["waits"] = (list(part) for part in describe_waits(program, state))
        if state.error is not None:
            where = f" at step {state.error['step']}" if state.error.get("step") else ""
            body["error"] = f"{state.error['name']}{where}"
        if status.final:
            if state.goals:
                private["result"] = dict(state.goals)
            if parent is not None:
                body["parent"] = parent
    subject = subject_of(run.customer, run.conversation)
    return NewEntry("run.advanced", run.id, at, "cxplane", body, private, release=release, subject=subject)


def _listens(state: RunState) -> list[list[str]]:
    return [list(pair) for pair in sorted({(type, key) for _, type, key in listening(state)})]


def stuck_task(program: Program, run: Run, text: str) -> OpenTask:
    """For who takes what goes wrong in a journey: a leg of the run cannot be done."""
    team = program.journey.charter.exceptions
    return OpenTask(internal_task(run), "", "stuck", team, text=text, show={"error": INTERNAL})


def task_opened(run: Run, task: OpenTask, *, at: datetime, release: str) -> NewEntry:
    body: dict[str, Any] = {
        "task": task.task,
        "run": run.id,
        "journey": run.journey,
        "step": task.step,
        "what": task.what,
        "team": task.team,
        "person": task.person,
        "customer": run.customer,
        "action": task.action,
        "due": task.due,
    }
    told = {
        "text": task.text,
        "choices": list(task.choices),
        "form": dict(task.form),
        "show": dict(task.show),
    }
    return NewEntry(
        "task.opened",
        run.id,
        at,
        "cxplane",
        {name: value for name, value in body.items() if value is not None},
        {name: value for name, value in told.items() if value},
        release=release,
        subject=subject_of(run.customer, run.conversation),
    )


def task_moved(run: Run, moved: MoveTask, *, at: datetime, release: str) -> NewEntry:
    body = {"task": moved.task, "how": moved.how} | ({"team": moved.team} if moved.team else {})
    return NewEntry("task.moved", run.id, at, "cxplane", body, release=release)
