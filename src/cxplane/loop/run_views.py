"""Runs and journeys as those who ask are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

from cxplane.domain.journey import Call, Journey, Step
from cxplane.domain.run import RunRow, RunState, RunStatus, TaskRow
from cxplane.domain.values import JsonObject
from cxplane.domain.views import RunView

NEXT = {
    RunStatus.READY: "It is on its way. Look again in a moment.",
    RunStatus.WAITING: "It waits, and goes on by itself when what it waits for comes.",
    RunStatus.STUCK: "A person frees it: see what frees it.",
    RunStatus.SUSPENDED: "Resume it, or cancel it.",
    RunStatus.CANCELLING: "What was done is being taken back. Look again in a moment.",
    RunStatus.DONE: "Nothing: it reached its end.",
    RunStatus.FAILED: "Nothing goes on here. See the timeline for what was done and what was not.",
    RunStatus.CANCELLED: "Nothing: it was cancelled. See the timeline for what was taken back.",
}


def run_view(
    row: RunRow,
    input: JsonObject,
    state: RunState,
    journey: Journey | None,
    tasks: Sequence[TaskRow],
    *,
    whole: bool,
) -> RunView:
    tokens = []
    for token in state.tokens:
        told: dict[str, Any] = {"step": token.at}
        if (wait := token.wait) is not None:
            told["waits_for"] = wait.kind
            for name in ("request", "task", "run", "due", "since", "error"):
                if (value := getattr(wait, name)) is not None:
                    told[name] = value
            if wait.open:
                told["signals"] = [list(one) for one in wait.open]
        tokens.append(told)
    here = {t.at for t in state.tokens}
    left: tuple[str, ...] = ()
    if journey is not None and not RunStatus(row.status).final:
        left = tuple(_left(journey.steps, state.visits.keys(), here))
    return RunView(
        run=row,
        next=NEXT[RunStatus(row.status)],
        input=input if whole else {},
        state={"vars": dict(state.vars), "steps": dict(state.steps)} if whole else {},
        tokens=tuple(tokens),
        tasks=tuple(tasks),
        did=tuple({"step": d.step, "request": d.request, "action": d.action, "undone": d.undone} for d in state.did),
        left=left,
        goals=dict(state.goals),
        error=state.error,
        frees=tuple(_frees(row, state, tasks)),
    )


def _left(steps: Sequence[Step], been: Set[str], here: Set[str]) -> Iterator[str]:
    """What is still to come; nothing inside a step that was entered and is behind, like a catch that was not needed."""
    for step in steps:
        inside = [inner for body in step.bodies().values() for inner in body]
        if step.name not in been or step.name in here:
            yield step.name
        elif not any(name in here for name in _names(inside)):
            continue
        yield from _left(inside, been, here)


def _names(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        yield step.name
        for body in step.bodies().values():
            yield from _names(body)


def _frees(row: RunRow, state: RunState, tasks: Sequence[TaskRow]) -> list[JsonObject]:
    """What gets it on, each as a command to copy."""

    def free(do: str, why: str, how: str | None = None) -> JsonObject:
        return {"do": do, "how": how or f"cxplane runs {do} {row.id}", "why": why}

    status = RunStatus(row.status)
    if status.final:
        return []
    if status is RunStatus.SUSPENDED:
        return [free("resume", "it goes on where it was"), free("cancel", "what was done is taken back")]
    found = []
    if status is RunStatus.STUCK:
        where = (state.error or {}).get("step") or "the step"
        found.append(free("retry", f"{where} is tried again"))
        if (state.error or {}).get("name") != "checkpoint":
            found.append(free("skip", f"it goes on after {where}; what the step should have done is yours to do"))
        found.append(free("switch", "another journey goes on instead", f"cxplane runs switch {row.id} JOURNEY"))
        found.append(
            free(
                "migrate",
                "a mended journey goes on, once it is released",
                f"cxplane migrate {row.journey} --from {row.release[:12]} --to live",
            )
        )
    for token in state.tokens:
        if token.wait is not None and token.wait.kind in ("call", "undo") and token.wait.request:
            found.append(
                free("settle", "the request waits", f"cxplane explain {token.wait.request}"),
            )
    for task in tasks:
        if task.what != "stuck":
            found.append(
                free("answer", f"{task.person or task.team} answers {task.step}", f"cxplane tasks show {task.id}")
            )
    if status in (RunStatus.STUCK, RunStatus.WAITING):
        found.append(free("cancel", "what was done is taken back, in reverse order"))
    return found


def journey_view(
    journey: Journey, release: str, counts: Sequence[tuple[str, str, str, int]], *, whole: bool = False
) -> JsonObject:
    runs: dict[str, int] = {}
    releases: dict[str, int] = {}
    for name, hash, status, n in counts:
        if name == journey.id:
            runs[status] = runs.get(status, 0) + n
            if not RunStatus(status).final:
                releases[hash] = releases.get(hash, 0) + n
    told: dict[str, Any] = {
        "journey": journey.id,
        "version": journey.version,
        "summary": journey.summary,
        "owner": journey.owner,
        "starts_with": [s.signal for s in journey.start],
        "release": release,
        "runs": runs,
        "under_way_on": releases,
    }
    if whole:
        charter = journey.charter
        told |= {
            "input": dict(journey.input),
            "key": list(journey.key),
            "mode": journey.mode.value,
            "on_failure": journey.on_failure,
            "steps": [_step(s) for s in journey.steps],
            "charter": {
                "owner": charter.owner,
                "actions": sorted(charter.actions),
                "data": sorted(charter.data),
                "roles": sorted(charter.roles),
                "approvals": dict(charter.approvals),
                "exceptions": charter.exceptions,
                "success": [{"measure": a.measure, "target": a.target} for a in charter.success],
                "counter": [{"measure": a.measure, "target": a.target} for a in charter.counter],
                "text": charter.text,
            },
            "file": journey.file,
        }
    return told


def _step(step: Step) -> dict[str, Any]:
    told: dict[str, Any] = {"step": step.name, "task": step.kind, "line": step.line}
    if step.summary:
        told["summary"] = step.summary
    if isinstance(step, Call):
        told["action"] = step.action
    for name, body in step.bodies().items():
        if body:
            told.setdefault("steps", {})[name] = [_step(s) for s in body]
    return told
