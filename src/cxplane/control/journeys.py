"""From the files of a journey to the words of the domain. Everything here may trust the shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from cxplane.control.values import arguments, optional_span
from cxplane.control.yaml import Document, Path
from cxplane.domain.catalog import Mode
from cxplane.domain.journey import (
    Aim,
    AskPerson,
    Assign,
    Branch,
    Call,
    Case,
    Charter,
    Checkpoint,
    Do,
    Emit,
    Escalation,
    Expected,
    For,
    Fork,
    Goal,
    HandOver,
    Journey,
    Listen,
    Raise,
    Retry,
    RunJourney,
    Say,
    Start,
    Step,
    Switch,
    Try,
    Undo,
    Wait,
)
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.values import JsonObject, span


def folder(document: Document) -> str:
    """The journey that a file belongs to."""
    return PurePosixPath(document.file).parent.name


def journeys(documents: Mapping[str, list[Document]]) -> dict[str, Journey]:
    """The journeys that have a charter, by id."""
    charters = {folder(d): d for d in documents.get("charter", ())}
    found = {folder(d): d for d in documents.get("journey", ())}
    return {id: journey(found[id], charters[id]) for id in sorted(found) if id in charters}


def caller(journey: Journey) -> Caller:
    """What a journey asks at the gate as: what its charter says, and no more."""
    charter = journey.charter
    return Caller(
        kind=CallerKind.JOURNEY,
        id=journey.id,
        roles=charter.roles,
        data=charter.data,
        actions=charter.actions,
        version=journey.version,
        owner=charter.owner,
        summary=charter.summary or journey.summary,
        file=charter.file,
    )


def charter(document: Document) -> Charter:
    said = document.value
    return Charter(
        owner=said["owner"],
        actions=frozenset(said["actions"]),
        data=frozenset(said["data"]),
        roles=frozenset(said["roles"]),
        approvals={action: words.strip() for action, words in said["approvals"].items()},
        exceptions=said["exceptions"],
        success=tuple(Aim(aim["measure"], aim["target"]) for aim in said["success"]),
        counter=tuple(Aim(aim["measure"], aim["target"]) for aim in said["counter"]),
        summary=said.get("summary", "").strip(),
        text=document.body,
        file=document.file,
    )


def journey(document: Document, bounds: Document) -> Journey:
    said = document.value
    say = said.get("say")
    patience = optional_span(said.get("patience"))
    more: dict[str, Any] = {} if patience is None else {"patience": patience}
    return Journey(
        id=said["journey"],
        version=said["version"],
        summary=said["summary"].strip(),
        owner=said["owner"],
        steps=_Steps(document, say).steps(("do",), said["do"]),
        charter=charter(bounds),
        input=said.get("input", {}),
        needs_customer=said.get("customer", "required") == "required",
        start=tuple(_start(document, n, one) for n, one in enumerate(said.get("start", ()))),
        key=tuple(said.get("key", ())),
        mode=Mode(said.get("mode", "act")),
        say=say,
        on_failure=said.get("on_failure", "hand_over"),
        file=document.file,
        line=document.line("journey"),
        **more,
    )


def _start(document: Document, n: int, said: JsonObject) -> Start:
    return Start(
        said["signal"], said.get("when"), arguments(said.get("with")), said.get("customer"), document.line("start", n)
    )


class _Steps:
    """The steps of one file, each with its line."""

    def __init__(self, document: Document, say: str | None) -> None:
        self.document, self.say = document, say
        self.forms: Mapping[str, Callable[[Path, JsonObject, dict[str, Any]], Step]] = {
            "call": self._call,
            "say": lambda at, said, usual: Say(with_=arguments(said["say"]), action=self.say or "", **usual),
            "set": lambda at, said, usual: Assign(values=arguments(said["set"]), **usual),
            "switch": self._switch,
            "fork": self._fork,
            "for": self._for,
            "wait": self._wait,
            "listen": self._listen,
            "try": self._try,
            "emit": self._emit,
            "raise": lambda at, said, usual: Raise(
                error=said["raise"]["error"], text=said["raise"].get("text"), **usual
            ),
            "ask": self._ask,
            "hand_over": self._hand_over,
            "undo": self._undo,
            "goal": self._goal,
            "checkpoint": self._checkpoint,
            "do": lambda at, said, usual: Do(steps=self.steps((*at, "do"), said["do"]), **usual),
        }

    def steps(self, at: Path, steps: list[dict[str, JsonObject]]) -> tuple[Step, ...]:
        """The steps of a list that stands `at` a place of the file."""
        return tuple(self.step((*at, n, name), name, said) for n, one in enumerate(steps) for name, said in one.items())

    def step(self, at: Path, name: str, said: JsonObject) -> Step:
        usual = {
            "name": name,
            "line": self.document.line(*at),
            "summary": said.get("summary", "").strip(),
            "when": said.get("if"),
            "then": said.get("then"),
        }
        if "run" in said:  # `wait` belongs to it
            with_ = arguments(said.get("with"))
            return RunJourney(journey=said["run"], with_=with_, wait=said.get("wait", True), **usual)
        return next(form for word, form in self.forms.items() if word in said)(at, said, usual)

    def _call(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        return Call(
            action=said["call"],
            with_=arguments(said.get("with")),
            recorded=arguments(said.get("recorded")),
            reason=said.get("reason"),
            mode=Mode(said["mode"]) if "mode" in said else None,
            team=said.get("team"),
            patience=optional_span(said.get("patience")),
            **usual,
        )

    def _switch(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        cases = []
        for n, one in enumerate(said["switch"]):
            for name, case in one.items():
                place = (*at, "switch", n, name)
                steps = self.steps((*place, "do"), case.get("do", ()))
                cases.append(Case(name, case.get("when"), steps, case.get("then"), self.document.line(*place)))
        return Switch(cases=tuple(cases), **usual)

    def _fork(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        branches = []
        for n, one in enumerate(said["fork"]["branches"]):
            for name, branch in one.items():
                place = (*at, "fork", "branches", n, name)
                branches.append(Branch(name, self.steps((*place, "do"), branch["do"]), self.document.line(*place)))
        return Fork(until=said["fork"].get("until", "all"), branches=tuple(branches), **usual)

    def _for(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        over = said["for"]
        steps = self.steps((*at, "do"), said["do"])
        return For(each=over.get("each", "item"), in_=over["in"], while_=over.get("while"), steps=steps, **usual)

    def _wait(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        wait = said["wait"]
        return Wait(for_=span(wait), **usual) if isinstance(wait, str) else Wait(until=wait["until"], **usual)

    def _listen(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        listen = said["listen"]
        each = listen.get("any") or listen.get("all") or [listen]
        signals = tuple(Expected(one["signal"], one.get("key"), one.get("where")) for one in each)
        until = "all" if "all" in listen else "any"
        return Listen(until=until, signals=signals, within=optional_span(listen.get("within")), **usual)

    def _try(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        catch = said["catch"]
        return Try(
            steps=self.steps((*at, "try"), said["try"]),
            errors=tuple(catch.get("errors", ())),
            catch_when=catch.get("when"),
            retry=_retry(catch["retry"]) if "retry" in catch else None,
            compensate=catch.get("compensate", False),
            catch=self.steps((*at, "catch", "do"), catch.get("do", ())),
            **usual,
        )

    def _emit(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        emit = said["emit"]
        return Emit(signal=emit["signal"], key=emit.get("key"), data=arguments(emit.get("data")), **usual)

    def _ask(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        ask = said["ask"]
        what = next(word for word in ("approve", "choose", "fill") if word in ask)
        escalate = ask.get("escalate")
        return AskPerson(
            team=ask.get("team", ""),
            person=ask.get("person"),
            what=what,
            text=ask[what],
            choices=tuple(ask.get("choices", ())),
            form=ask.get("form", {}),
            show=arguments(ask.get("show")),
            due=optional_span(ask.get("due")),
            remind=optional_span(ask.get("remind")),
            escalate=Escalation(span(escalate["after"]), escalate["to"]) if escalate else None,
            default=ask.get("default"),
            has_default="default" in ask,
            **usual,
        )

    def _hand_over(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        over = said["hand_over"]
        return HandOver(team=over["team"], text=over.get("text", "''"), wait=over.get("wait", True), **usual)

    def _undo(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        names = said["undo"]
        if names == "all":
            return Undo(**usual)
        return Undo(steps=(names,) if isinstance(names, str) else tuple(names), **usual)

    def _goal(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        goal = said["goal"]
        evidence = arguments(goal.get("evidence"))
        return Goal(goal=goal["name"], achieved=goal.get("achieved", "true"), evidence=evidence, **usual)

    def _checkpoint(self, at: Path, said: JsonObject, usual: dict[str, Any]) -> Step:
        point = said["checkpoint"]
        before = tuple(point.get("before", ()))
        return Checkpoint(check=point["check"], text=point["text"].strip(), before=before, **usual)


def _retry(said: JsonObject) -> Retry:
    usual = Retry()
    return Retry(
        times=said.get("times", usual.times),
        delay=optional_span(said.get("delay")) or usual.delay,
        backoff=float(said.get("backoff", usual.backoff)),
        longest=optional_span(said.get("longest")) or usual.longest,
    )
