"""Taking a run from one version of its journey to another: first looked at, then done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import (
    AskPerson,
    Call,
    Checkpoint,
    For,
    Fork,
    HandOver,
    Listen,
    RunJourney,
    Say,
    Step,
    Try,
    Wait,
)
from cxplane.domain.run import Run, RunState, Token
from cxplane.journeys.machine import Machine, change
from cxplane.journeys.program import Program


@dataclass(frozen=True, slots=True)
class Position:
    """What would happen to one run. `kind`: same | mapped | impossible."""

    kind: str
    at: tuple[str, ...]
    to: tuple[str, ...] = ()
    why: str = ""


def preview(old: Program, new: Program, state: RunState, positions: Mapping[str, str]) -> Position:
    """`positions`: old step -> new step, where names have changed."""
    here = tuple(t.at for t in state.tokens)
    if state.ending is not None:
        return Position("impossible", here, why="it is being ended; that goes on as it began")
    there = []
    for token in state.tokens:
        if why := _impossible(old, new, token, positions):
            return Position("impossible", here, why=why)
        there.append(positions.get(token.at, token.at))
    for checkpoint in {c for cs in new.guards.values() for c in cs} - set(carried(old, new, state).passed):
        if why := _behind(old, new, state, checkpoint, positions):
            return Position("impossible", here, tuple(there), why)
    kind = "same" if tuple(there) == here else "mapped"
    return Position(kind, here, tuple(there))


def _impossible(old: Program, new: Program, token: Token, positions: Mapping[str, str]) -> str:
    if not token.at:
        return "it is being taken back; that goes on as it began"
    to = positions.get(token.at, token.at)
    node = new.nodes.get(to)
    if node is None:
        return f"the new version has no step {to!r}; say which one takes its place with --map {token.at}=STEP"
    before = old.nodes.get(token.at)
    if before is not None and token.wait is not None and before.step.kind != node.step.kind:
        return f"{to} is {node.step.kind!r} now and was {before.step.kind!r}; what it waits for would not be understood"
    if (
        before is not None
        and token.wait is not None
        and token.wait.kind == "task"
        and (why := _asked_otherwise(before.step, node.step))
    ):
        return why
    forks_old = [a.name for a in before.above() if isinstance(a.step, Fork)] if before else []
    forks_new = [a.name for a in node.above() if isinstance(a.step, Fork)]
    if [positions.get(f, f) for f in forks_old] != forks_new:
        return f"{to} stands in other branches now ({', '.join(forks_new) or 'none'})"
    inside = {a.name for a in node.above()}
    loops = {positions.get(name, name) for name in token.loops}
    for above in node.above():
        if isinstance(above.step, For) and above.name not in loops:
            return f"{to} stands in the loop {above.name} now, of which it is in no round"
    for name in (*token.loops, *token.caught):
        if positions.get(name, name) not in inside:
            return f"it is inside {name}, which does not hold {to} any more"
    return ""


def _asked_otherwise(before: Step, now: Step) -> str:
    """Why the answer to an open question would not be one to the new step."""
    if not (isinstance(before, AskPerson) and isinstance(now, AskPerson)):
        return ""
    if before.what != now.what:
        return (
            f"{now.name} asks to {now.what}, and people were asked to {before.what}; the answer would not be understood"
        )
    gone = [choice for choice in before.choices if choice not in now.choices]
    return f"{now.name} has no choice {gone[0]!r} any more, which people may still answer" if gone else ""


def _behind(old: Program, new: Program, state: RunState, checkpoint: str, positions: Mapping[str, str]) -> str:
    """A checkpoint that is needed and lies behind: it would be stuck there for ever."""
    order = {name: n for n, name in enumerate(new.nodes)}
    guarded = {action for action, needed in new.guards.items() if checkpoint in needed}
    for token in state.tokens:
        at = order.get(positions.get(token.at, token.at), 0)
        ahead = [
            name for name, n in order.items() if n >= at and getattr(new.nodes[name].step, "action", None) in guarded
        ]
        if ahead and order[checkpoint] < at:
            return f"it has not passed the checkpoint {checkpoint}, which stands before where it is, and {ahead[0]} needs it"
    return ""


def whole(old: Program, run: Run, now: datetime) -> RunState:
    """The state with the lists of its loops in it: the new version may compute others. ValueError where that fails."""
    m = Machine(old, run, now)

    def kept(token: Token) -> Token:
        loops = {n: (at, tuple(m.items(token, old.node(n), items))) for n, (at, items) in token.loops.items()}
        return change(token, loops=loops)

    try:
        return change(run.state, tokens=tuple(kept(t) if t.loops else t for t in run.state.tokens))
    except ExpressionError as problem:
        raise ValueError(str(problem)) from None


def carried(old: Program, new: Program, state: RunState) -> RunState:
    """The state without checkpoints that are checked otherwise now: those count as not passed."""

    def same(name: str) -> bool:
        before, now = old.nodes.get(name), new.nodes.get(name)
        return (
            before is not None
            and now is not None
            and isinstance(before.step, Checkpoint)
            and isinstance(now.step, Checkpoint)
            and before.step.check == now.step.check
        )

    return change(state, passed=tuple(name for name in state.passed if same(name)))


def moved(m: Machine, positions: Mapping[str, str]) -> None:
    """On the new program. ValueError where a token has no place there."""

    def to(name: str) -> str:
        return positions.get(name, name)

    for token in list(m.tokens.values()):
        if token.at and to(token.at) not in m.program.nodes:
            raise ValueError(f"the new version has no step {to(token.at)!r}")
        m.put(
            change(
                token,
                at=to(token.at) if token.at else "",
                loops={to(n): v for n, v in token.loops.items()},
                tries={to(n): v for n, v in token.tries.items()},
                began={to(n): v for n, v in token.began.items()},
                caught={to(n): v for n, v in token.caught.items()},
            )
        )
        m.note(to(token.at), "migrated")
    for token in m.tokens.values():
        _must_fit(m, token)
    m.steps = {to(n): v for n, v in m.steps.items()}
    m.visits = {to(n): v for n, v in m.visits.items()}
    m.did = [change(d, step=to(d.step)) for d in m.did]


_WAITS_AT: Mapping[str, tuple[type[Step], ...]] = {
    "call": (Call, Say),
    "time": (Wait,),
    "signal": (Listen,),
    "task": (AskPerson, HandOver, Call),
    "run": (RunJourney,),
    "fork": (Fork,),
    "retry": (Call, Say, Try),
}


def _must_fit(m: Machine, token: Token) -> None:
    """ValueError where what it waits for would not be understood, or the blocks around it are not those it is in."""
    if not token.at:
        return
    node = m.program.node(token.at)
    wait = token.wait
    if wait is not None and not wait.undo and not isinstance(node.step, _WAITS_AT.get(wait.kind, Step)):
        raise ValueError(f"{token.at} is {node.step.kind!r} now; what it waits for would not be understood")
    if token.lost:
        return
    for above in node.above():
        if isinstance(above.step, For) and above.name not in token.loops:
            raise ValueError(f"{token.at} stands in the loop {above.name} now, of which it is in no round")
    fork = next((a for a in node.above() if isinstance(a.step, Fork)), None)
    holder = m.tokens.get(token.parent or 0)
    if (fork.name if fork else None) != (holder.at if holder else None):
        raise ValueError(f"{token.at} stands in other branches now")
