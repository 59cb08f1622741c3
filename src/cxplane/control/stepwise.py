"""What each step of a journey must hold beside its shape: the people, actions, steps and journeys that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from cxplane.control.contracts import good_schema, misfits
from cxplane.control.references import Names, as_list, as_map, text
from cxplane.control.shapes import fits, short, suggest
from cxplane.control.steps import RawStep, walk
from cxplane.control.yaml import Document, Path
from cxplane.domain.journey import UNCAUGHT
from cxplane.domain.values import Json, JsonObject, span

_NAMES = frozenset({"input", "steps", "vars", "run", "customer", "now", "error", "signal"})


def called(journey: JsonObject) -> set[str]:
    """The actions that the steps of a journey ask for."""
    say = text(journey.get("say"))
    found = {text(step.said.get("call")) for step in walk(journey)}
    found |= {say for step in walk(journey) if "say" in step.said}
    return {action for action in found if action}


class StepRules:
    def __init__(self, names: Names, document: Document, steps: Sequence[RawStep], errors: Sequence[str]) -> None:
        self.names, self.document, self.steps, self.errors = names, document, steps, errors
        self.journey = as_map(document.value)
        self.forms: Mapping[str, Callable[[RawStep], None]] = {
            "call": self._call,
            "say": self._say,
            "switch": self._switch,
            "fork": self._fork,
            "for": self._for,
            "listen": self._listen,
            "try": self._try,
            "ask": self._ask,
            "hand_over": lambda step: self._team(
                step, ("hand_over", "team"), as_map(step.said["hand_over"]).get("team")
            ),
            "undo": self._undo,
            "checkpoint": self._checkpoint,
            "run": self._run,
        }

    def check(self, step: RawStep) -> None:
        """Mistakes are added to the names."""
        self._target(step, ("then",), step.said.get("then"))
        if (rule := self.forms.get(step.word or "")) is not None:
            rule(step)

    def wrong(self, step: RawStep, path: Path, what: str, hint: str = "") -> None:
        self.names.wrong(self.document, (*step.path, *path), f"step {step.name}: {what}", hint)

    def known(self, step: RawStep, path: Path, value: Json, known: Mapping[str, object], what: str, where: str) -> bool:
        return self.names.must_be(self.document, (*step.path, *path), value, known, f"step {step.name}: {what}", where)

    def _team(self, step: RawStep, path: Path, team: Json) -> None:
        self.known(step, path, team, self.names.teams, "the team", "people/")

    def _target(self, step: RawStep, path: Path, target: Json) -> None:
        """`then` goes on in the same list."""
        beside = [other.name for other in self.steps if other.within == step.within]
        if isinstance(target, str) and target != "end" and target not in beside:
            there = any(other.name == target for other in self.steps)
            what = f"then: {short(target)} is {'in another list of steps' if there else 'no step'}"
            self.wrong(
                step, path, what, "name a step of the same list, or end" if there else suggest(target, [*beside, "end"])
            )

    def _inputs(self, step: RawStep, at: Path, who: str, schema: JsonObject, given: Json) -> None:
        for name, what, hint in misfits(who, schema, as_map(given)):
            self.wrong(
                step,
                at if name is None else (*at, name),
                what,
                hint if at[-1] == "with" else hint.replace("`with`", str(at[-1])),
            )

    def _call(self, step: RawStep) -> None:
        action, said = step.said.get("call"), step.said
        self._team(step, ("team",), said.get("team"))
        mode = said.get("mode", self.journey.get("mode", "act"))
        if mode in ("person", "propose") and "team" not in said:
            who = "does it" if mode == "person" else "agrees to it"
            self.wrong(step, ("call",), f"mode {mode}, and no team says who {who}", "add team: a team of people/")
        if self.known(step, ("call",), action, self.names.actions, "the action", "catalog/"):
            entry = as_map(self.names.actions[str(action)].value)
            if entry.get("mode") == "person" and mode != "person":
                hint = "add mode: person, and team: who does it"
                self.wrong(step, ("call",), f"only a person may do {action}, says its entry", hint)
            self._entry(step, ("call",), str(action), entry)
            self._inputs(step, ("with",), str(action), as_map(entry.get("input")), said.get("with"))

    def _say(self, step: RawStep) -> None:
        action = self.journey.get("say")
        if action is None:
            hint = "add `say: crm.send_message`, or what your catalog has, at the head of the journey"
            self.wrong(step, ("say",), "the journey names no action to say it by", hint)
        elif isinstance(action, str) and action in self.names.actions:
            entry = as_map(self.names.actions[action].value)
            self._entry(step, ("say",), action, entry)
            self._inputs(step, ("say",), action, as_map(entry.get("input")), step.said.get("say"))

    def _entry(self, step: RawStep, path: Path, action: str, entry: JsonObject) -> None:
        if self.journey.get("customer") == "none" and entry and entry.get("customer", "required") == "required":
            hint = "say customer: required at the head of the journey"
            self.wrong(step, path, f"{action} is about a customer, and the journey has none", hint)

    def _switch(self, step: RawStep) -> None:
        cases = [
            (n, name, as_map(case))
            for n, one in enumerate(as_list(step.said["switch"]))
            for name, case in as_map(one).items()
        ]
        self._twice(step, "cases", [(("switch", n, name), name) for n, name, _ in cases])
        for n, name, case in cases:
            self._target(step, ("switch", n, name, "then"), case.get("then"))
            if "when" not in case and n < len(cases) - 1:
                what = f"the case {name} has no `when`, so no case after it is ever looked at"
                self.wrong(step, ("switch", n, name), what, "add when:, or let it be the last")

    def _fork(self, step: RawStep) -> None:
        branches = as_list(as_map(step.said["fork"]).get("branches"))
        self._twice(
            step,
            "branches",
            [(("fork", "branches", n, name), name) for n, one in enumerate(branches) for name in as_map(one)],
        )

    def _twice(self, step: RawStep, what: str, named: list[tuple[Path, str]]) -> None:
        seen: set[str] = set()
        for path, name in named:
            if name in seen:
                self.wrong(step, path, f"two {what} are named {name}", "rename one")
            seen.add(name)

    def _for(self, step: RawStep) -> None:
        each = text(as_map(step.said["for"]).get("each"))
        if each in _NAMES:
            self.wrong(step, ("for", "each"), f"each item is called {each}, which means something else", "like item")

    def _listen(self, step: RawStep) -> None:
        listen = as_map(step.said["listen"])
        types = [(n, text(as_map(one).get("signal"))) for n, one in enumerate(as_list(listen.get("all")))]
        self._twice(step, "signals", [(("listen", "all", n), name) for n, name in types if name])

    def _try(self, step: RawStep) -> None:
        for n, error in enumerate(as_list(as_map(step.said.get("catch")).get("errors"))):
            place: Path = ("catch", "errors", n)
            if not isinstance(error, str):  # the shape is checked elsewhere
                continue
            if error in UNCAUGHT:
                self.wrong(step, place, f"no catch takes the error {error}", "delete it: a person gets the run then")
            elif error not in self.errors:
                what = f"the error {short(error)} is raised by no step"
                self.wrong(step, place, what, suggest(error, [e for e in self.errors if e not in UNCAUGHT]))

    def _ask(self, step: RawStep) -> None:
        ask = as_map(step.said["ask"])
        self._team(step, ("ask", "team"), ask.get("team"))
        persons = {name.removeprefix("person:"): "" for name in self.names.callers if name.startswith("person:")}
        self.known(step, ("ask", "person"), ask.get("person"), persons, "the person", "people/")
        escalate = as_map(ask.get("escalate"))
        self._team(step, ("ask", "escalate", "to"), escalate.get("to"))
        usable = True
        if isinstance(form := ask.get("form"), Mapping):
            usable = good_schema(self.names, self.document, (*step.path, "ask", "form"), form)
        due = _span(ask.get("due"))
        for place, said in (
            (("ask", "remind"), ask.get("remind")),
            (("ask", "escalate", "after"), escalate.get("after")),
        ):
            if due is not None and (after := _span(said)) is not None and after >= due:
                self.wrong(
                    step, place, f"{place[-1]}: {said} never comes, as it is due after {ask['due']}", "make it shorter"
                )
        if "default" in ask and usable:
            for what in _default(ask):
                self.wrong(step, ("ask", "default"), what)

    def _undo(self, step: RawStep) -> None:
        said = step.said["undo"]
        names = [said] if isinstance(said, str) else as_list(said)
        for n, name in enumerate(names):
            if not isinstance(name, str) or said == "all":
                continue
            place: Path = ("undo",) if isinstance(said, str) else ("undo", n)
            target = next((other for other in self.steps if other.name == name), None)
            calls = [other.name for other in self.steps if other.word in ("call", "say")]
            if target is None or target.name not in calls:
                what = f"undo: {short(name)} is {'no step' if target is None else 'no call'}"
                self.wrong(step, place, what, suggest(name, calls) or "only calls can be taken back")
                continue
            action = text(target.said.get("call", self.journey.get("say")))
            entry = as_map(self.names.actions[action].value) if action in self.names.actions else {}
            if entry and "call" not in as_map(entry.get("undo")):
                why = "it is a read" if entry.get("effect") == "read" else "its entry says undo: none"
                self.wrong(
                    step,
                    place,
                    f"{action}, which {name} calls, cannot be taken back: {why}",
                    "hand it over to a person",
                )

    def _checkpoint(self, step: RawStep) -> None:
        asked = called(self.journey)
        mended = asked <= self.names.actions.keys()  # else what is called comes first
        for n, action in enumerate(as_list(as_map(step.said["checkpoint"]).get("before"))):
            place: Path = ("checkpoint", "before", n)
            if (
                self.known(step, place, action, self.names.actions, "the action", "catalog/")
                and mended
                and action not in asked
            ):
                hint = suggest(str(action), sorted(asked)) or "name an action that it calls"
                self.wrong(step, place, f"no step calls {action}, so nothing waits for this checkpoint", hint)

    def _run(self, step: RawStep) -> None:
        child = step.said["run"]
        if not self.known(step, ("run",), child, self.names.journeys, "the journey", "journeys/"):
            return
        entry = as_map(self.names.journeys[str(child)].value)
        self._inputs(step, ("with",), f"the journey {child}", as_map(entry.get("input")), step.said.get("with"))
        if self.journey.get("customer") == "none" and entry and entry.get("customer", "required") == "required":
            hint = "say customer: required at the head of the journey"
            self.wrong(step, ("run",), f"the journey {child} is about a customer, and this one has none", hint)


def _span(said: Json) -> float | None:
    try:
        return span(said).total_seconds() if isinstance(said, str) else None
    except ValueError:
        return None


def _default(ask: JsonObject) -> Iterator[str]:
    """What is wrong with the answer that is taken when nobody gave one."""
    default = ask["default"]
    if "approve" in ask and not isinstance(default, bool):
        yield f"default: {short(default)} is no answer: it is approved (true) or not (false)"
    elif isinstance(choices := ask.get("choices"), list) and default not in choices:
        yield f"default: {short(default)} is none of the choices {', '.join(map(str, choices))}"
    elif isinstance(form := ask.get("form"), Mapping) and (problem := fits(form, default)) is not None:
        yield f"default does not fit the form: {problem}"
