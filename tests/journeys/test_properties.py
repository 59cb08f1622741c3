"""Random journeys, random events in random order: what must hold whatever happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxplane.domain.catalog import Mode
from cxplane.domain.journey import (
    AskPerson,
    Assign,
    Branch,
    Call,
    Case,
    Checkpoint,
    Do,
    Emit,
    Escalation,
    Expected,
    For,
    Fork,
    Goal,
    HandOver,
    Listen,
    Raise,
    Retry,
    RunJourney,
    Say,
    Step,
    Switch,
    Try,
    Undo,
    Wait,
)
from cxplane.domain.run import (
    Answered,
    AskAction,
    ChildEnded,
    Due,
    Heard,
    RunStatus,
    Settled,
    Started,
    StartRun,
    Told,
    Unasked,
    UndoRequest,
)
from tests.journeys.driving import Driven

HOUR = timedelta(hours=1)
WHEN = st.sampled_from([None, None, None, "true", "false", "vars.missing == 1"])
TRUTH = st.sampled_from(["true", "false", "vars.n > 1", "nothing.here"])


@st.composite
def lists(draw: Any, names: list[int], depth: int) -> tuple[Step, ...]:
    made: list[Step] = []
    for _ in range(draw(st.integers(1, 3))):
        made.append(draw(steps(names, depth)))
    return tuple(made)


@st.composite
def steps(draw: Any, names: list[int], depth: int) -> Step:
    names[0] += 1
    name = f"s{names[0]}"
    when = draw(WHEN)
    flat = [
        "call", "person", "propose", "say", "set", "wait", "listen", "all", "emit", "raise", "ask", "default",
        "hand_over", "undo", "goal", "checkpoint", "run",
    ]  # fmt: skip
    kind = draw(st.sampled_from(flat + ["do", "switch", "fork", "any", "for", "try", "try", "fork"] * (depth > 0)))
    inner = lists(names, depth - 1)
    match kind:
        case "call":
            return Call(name, when=when, action=draw(st.sampled_from(["a.x", "a.y"])), with_={"n": "1"})
        case "person" | "propose":
            return Call(name, when=when, action="a.y", mode=Mode(kind), team="desk", with_={"n": "1"})
        case "say":
            return Say(name, when=when, with_={"text": "'t'"})
        case "set":
            return Assign(name, when=when, values={"n": draw(st.sampled_from(["1", "2", "vars.gone"]))})
        case "wait":
            return Wait(name, when=when, for_=HOUR)
        case "listen":
            where = draw(st.sampled_from([None, "signal.data.n == 1"]))
            within = draw(st.sampled_from([None, HOUR]))
            return Listen(name, when=when, signals=(Expected("x", where=where), Expected("y")), within=within)
        case "all":
            return Listen(name, when=when, until="all", signals=(Expected("x"), Expected("y")), within=HOUR)
        case "emit":
            return Emit(name, when=when, signal="z", data={"n": "1"})
        case "raise":
            return Raise(name, when=when, error=draw(st.sampled_from(["own", "other"])))
        case "ask":
            return AskPerson(
                name, when=when, team="desk", due=HOUR, remind=HOUR / 4, escalate=Escalation(HOUR / 2, "up")
            )
        case "default":
            return AskPerson(name, when=when, team="desk", due=HOUR, default=True, has_default=True)
        case "hand_over":
            return HandOver(name, when=when, team="desk", wait=draw(st.booleans()))
        case "undo":
            return Undo(name, when=when)
        case "goal":
            return Goal(name, when=when, goal="g", achieved=draw(TRUTH))
        case "checkpoint":
            return Checkpoint(name, check=draw(st.sampled_from(["true", "true", "false"])), text="t", before=("a.x",))
        case "run":
            return RunJourney(name, when=when, journey="k", wait=draw(st.booleans()))
        case "do":
            return Do(name, when=when, steps=draw(inner))
        case "switch":
            first, second = draw(inner), draw(inner)
            then = draw(st.sampled_from([None, "end"]))
            return Switch(name, when=when, cases=(Case("a", draw(TRUTH), first, then), Case("b", None, second)))
        case "fork" | "any":
            branches = (Branch("a", draw(inner)), Branch("b", draw(inner)))
            return Fork(name, when=when, until="any" if kind == "any" else "all", branches=branches)
        case "for":
            while_ = draw(st.sampled_from([None, None, "item < 2", "vars.gone == 1"]))
            return For(name, when=when, in_="[1, 2]", while_=while_, steps=draw(inner))
        case _:
            return Try(
                name,
                when=when,
                steps=draw(inner),
                errors=draw(st.sampled_from([(), ("own", "failed"), ("refused", "timeout")])),
                catch_when=draw(st.sampled_from([None, "error.name != 'failed'"])),
                retry=draw(st.sampled_from([None, Retry(times=2, delay=HOUR)])),
                compensate=draw(st.booleans()),
                catch=draw(inner),
            )


@st.composite
def journeys(draw: Any) -> tuple[tuple[Step, ...], str]:
    return draw(lists([0], 3)), draw(st.sampled_from(["hand_over", "compensate", "fail"]))


STATUS = st.sampled_from(
    ["done", "done", "done", "refused", "rejected", "expired", "failed", "retry", "held", "replaced"]
)
TELL = ["suspend", "resume", "cancel", "retry", "skip", "move", "migrate", "fail"]


def _one(data: st.DataObject, run: Driven, asked: list[str], tasks: list[str], runs: list[str]) -> None:
    draw = data.draw
    kind = draw(
        st.sampled_from(["settled"] * 5 + ["due"] * 3 + ["heard", "heard", "answered", "child", "told", "unasked"])
    )
    tokens = [t.id for t in run.state.tokens] or [1]
    open_ = [t.wait.request for t in run.state.tokens if t.wait is not None and t.wait.request]
    match kind:
        case "settled" if asked:
            request, status = draw(st.sampled_from(open_ * 4 + asked)), draw(STATUS)
            kind = "retry" if status == "retry" else "refused"
            other = f"{request}r" if status == "replaced" else None
            run.take(
                Settled(request, "failed" if status == "retry" else status, {"ok": 1}, kind=kind, replaced_by=other)
            )
        case "unasked" if asked:
            run.take(Unasked(draw(st.sampled_from(asked))))
        case "due":
            run.now += timedelta(minutes=draw(st.sampled_from([0, 20, 70, 2000])))
            run.take(Due(draw(st.sampled_from(tokens)), draw(st.sampled_from(["due", "due", "remind", "escalate"]))))
        case "heard":
            run.take(Heard(draw(st.sampled_from(["x", "y"])), "run_1", {"n": draw(st.integers(1, 2))}))
        case "answered" if tasks:
            answer = draw(
                st.sampled_from([{"approved": True}, {"approved": False}, {"approved": True, "input": {"n": 2}}])
            )
            run.take(Answered(draw(st.sampled_from(tasks)), answer, "p"))
        case "child" if runs:
            run.take(ChildEnded(draw(st.sampled_from(runs)), draw(st.sampled_from(["done", "failed"]))))
        case "told":
            step = draw(st.sampled_from([None, *run.program.nodes]))
            try:
                run.take(Told(draw(st.sampled_from(TELL)), "p", step=step))
            except ValueError:
                pass


def _sound(run: Driven) -> None:
    """It is final, or it waits for something that can come."""
    state = run.state
    if state.status.final:
        assert not state.tokens
    elif state.status is RunStatus.SUSPENDED:
        assert all(t.wait is not None or t.at for t in state.tokens)
    elif state.status is not RunStatus.READY:
        assert state.tokens and all(t.wait is not None for t in state.tokens)
        for t in state.tokens:
            if t.wait is not None and t.wait.kind == "fork":
                assert any(c.parent == t.id for c in state.tokens), "a fork waits for no branch"
            if t.parent is not None and not t.lost:
                assert any(p.id == t.parent for p in state.tokens), "a branch leads to no fork"


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(journeys(), st.data())
def test_whatever_happens_a_run_waits_for_something_or_is_over(made: tuple[tuple[Step, ...], str], data: Any) -> None:
    run = Driven(*made[0], on_failure=made[1], start=False)
    asks: dict[str, AskAction] = {}
    undoes: dict[str, str] = {}
    for n in range(data.draw(st.integers(1, 30))):
        effects = len(run.effects)
        if n == 0:
            run.take(Started())
        else:
            asked = [*asks, *undoes]
            tasks = [e.task for e in run.tasks()]
            runs = [e.run for e in run.effects if isinstance(e, StartRun)]
            suspended = run.state.status is RunStatus.SUSPENDED
            _one(data, run, asked, tasks, runs)
            if suspended and run.state.status is RunStatus.SUSPENDED:
                new = run.effects[effects:]
                assert not [e for e in new if isinstance(e, (AskAction, UndoRequest))], "begun while suspended"
        for effect in run.effects[effects:]:
            if isinstance(effect, AskAction):
                same = asks.setdefault(effect.request, effect)
                assert (same.step, same.action, same.input) == (effect.step, effect.action, effect.input)
                if effect.action == "a.x":
                    guards = run.program.guards.get("a.x", ())
                    assert set(guards) <= set(run.state.passed), "called without its checkpoint"
            elif isinstance(effect, UndoRequest):
                assert undoes.setdefault(effect.request, effect.undoes) == effect.undoes
        stuck = [e.task for e in run.tasks("stuck")]
        assert len(stuck) == len(set(stuck)), "a task that was opened twice is seen once"
        _sound(run)
