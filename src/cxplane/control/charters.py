"""What a journey and its charter say of each other, of the catalog and of people. Works on texts, like `references.py`.

What expressions say, and which step comes before which, is looked at in `journeys.check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cxplane.control.contracts import good_schema, misfits, missing
from cxplane.control.references import Names, as_list, as_map, text
from cxplane.control.shapes import short, suggest
from cxplane.control.steps import RawStep, walk
from cxplane.control.stepwise import StepRules, called
from cxplane.control.yaml import Document
from cxplane.domain.journey import ERRORS
from cxplane.domain.values import JsonObject

_PARTS = "owner, actions, data, roles, approvals, exceptions, success, counter"


def journey_mistakes(names: Names) -> set[str]:
    """Check every journey and charter; mistakes are added to `names`. Gives the files whose input is no JSON Schema."""
    unusable: set[str] = set()
    for name, document in names.journeys.items():
        if name not in names.charters:
            what, hint = f"the journey {name} has no charter", f"write journeys/{name}/charter.md: {_PARTS}"
            names.wrong(document, ("journey",), what, hint)
        if isinstance(document.value, Mapping) and not _Journey(names, name, document).check():
            unusable.add(document.file)
    for name, document in names.charters.items():
        if name not in names.journeys:
            what = f"a charter without a journey: there is no journeys/{name}/journey.yaml"
            names.wrong(document, ("journey",), what, "write the journey, or delete the charter")
        if isinstance(document.value, Mapping):
            _charter(names, name, document)
    _circles(names)
    return unusable


class _Journey:
    def __init__(self, names: Names, name: str, document: Document) -> None:
        self.names, self.name, self.document = names, name, document
        self.said = as_map(document.value)
        self.steps = list(walk(self.said))

    def check(self) -> bool:
        names, document, said = self.names, self.document, self.said
        names.owner(document)
        schema = as_map(said.get("input"))
        usable = "input" not in said or not isinstance(said["input"], Mapping)
        usable = usable or good_schema(names, document, ("input",), schema)
        self._keys(schema)
        for n, start in enumerate(as_list(said.get("start"))):
            given = as_map(start).get("with")
            if isinstance(given, Mapping):
                for name, what, hint in misfits(f"the journey {self.name}", schema, given):
                    names.wrong(document, ("start", n, "with", *((name,) if name else ())), what, hint)
        if names.must_be(document, ("say",), said.get("say"), names.actions, "the action", "catalog/"):
            self._chartered(("say",), str(said["say"]))
        self._unique()
        raised = {text(as_map(step.said.get("raise")).get("error")) for step in self.steps}
        errors = [*ERRORS, *sorted(error for error in raised if error)]
        for step in self.steps:
            StepRules(names, document, self.steps, errors).check(step)
            if "call" in step.said and text(action := step.said["call"]) in names.actions:
                self._chartered((*step.path, "call"), str(action))
        return usable

    def _keys(self, schema: JsonObject) -> None:
        for n, key in enumerate(as_list(self.said.get("key"))):
            if isinstance(key, str) and ("input" not in self.said or missing(schema, [key]) is not None):
                known = list(as_map(schema.get("properties")))
                hint = suggest(key, known) or "describe it under input: properties:"
                self.names.wrong(self.document, ("key", n), f"key: the input has no {short(key)}", hint)

    def _unique(self) -> None:
        first: dict[str, RawStep] = {}
        for step in self.steps:
            if step.name in first:
                line = self.document.line(*first[step.name].path)
                what, hint = f"two steps are named {step.name}", f"the other is on line {line}; rename one"
                self.names.wrong(self.document, step.path, what, hint)
            first.setdefault(step.name, step)

    def _chartered(self, path: tuple[str | int, ...], action: str) -> None:
        """What is asked for must be among the charter's allowed decisions."""
        charter = self.names.charters.get(self.name)
        allowed = as_map(charter.value).get("actions") if charter is not None else None
        if charter is not None and isinstance(allowed, list) and action not in allowed:
            what = f"{action} is not among the actions that the charter allows"
            self.names.wrong(self.document, path, what, f"add it to actions in {charter.file}, or do without")


def _charter(names: Names, journey: str, document: Document) -> None:
    said = as_map(document.value)
    names.owner(document)
    names.must_be(document, ("exceptions",), said.get("exceptions"), names.teams, "the team", "people/")
    names.all_roles(document, ("roles",), said.get("roles"))
    actions = as_list(said.get("actions"))
    for n, action in enumerate(actions):
        names.must_be(document, ("actions", n), action, names.actions, "the action", "catalog/")
    entries = {a: as_map(names.actions[a].value) for a in actions if isinstance(a, str) and a in names.actions}
    if isinstance(said.get("data"), list):
        for action, entry in entries.items():
            if beyond := [one for one in as_list(entry.get("data")) if one not in said["data"]]:
                what = f"{action} touches {', '.join(map(str, beyond))}, which is outside the data scope"
                names.wrong(document, ("data",), what, "add it to data, or take the action out of actions")
    approvals = as_map(said.get("approvals"))
    for action in approvals:
        if isinstance(said.get("actions"), list) and action not in actions:
            what, hint = f"approvals name {action}, which is not in actions", suggest(action, [str(a) for a in actions])
            names.wrong(document, ("approvals", action), what, hint)
    used = called(as_map(names.journeys[journey].value)) if journey in names.journeys else set()
    for action, entry in entries.items():
        if action not in used or entry.get("effect") != "write":
            continue
        if entry.get("risk") in ("high", "irreversible") and "approvals" in said and action not in approvals:
            what = f"approvals do not say when a person approves {action}, whose risk is {entry['risk']}"
            names.wrong(document, ("approvals",), what, f'add {action}: "when, and who"')
        undo = as_map(entry.get("undo")).get("call")
        if isinstance(undo, str) and undo in names.actions and undo not in actions:
            what = f"{undo}, which takes {action} back, is not in actions"
            names.wrong(document, ("actions",), what, "add it: what the journey does it must be able to undo")


def _circles(names: Names) -> None:
    """A journey that starts itself, by whatever way, never ends."""
    runs = {name: list(_runs(document)) for name, document in names.journeys.items()}
    for name, document in names.journeys.items():
        for step, child in runs[name]:
            if (way := _way(runs, child, name)) is not None:
                what = f"step {step.name}: the journey {name} starts itself: {' → '.join((name, *way))}"
                names.wrong(document, (*step.path, "run"), what, "take one of these out, or emit a signal instead")


def _runs(document: Document) -> Iterator[tuple[RawStep, str]]:
    for step in walk(document.value):
        if (child := text(step.said.get("run"))) is not None:
            yield step, child


def _way(runs: Mapping[str, list[tuple[RawStep, str]]], start: str, end: str) -> list[str] | None:
    """From one journey to another by what they start; None if there is none."""
    waiting, seen = [[start]], {start}
    while waiting:
        way = waiting.pop(0)
        if way[-1] == end:
            return way
        for _, child in runs.get(way[-1], ()):
            if child not in seen:
                seen.add(child)
                waiting.append([*way, child])
    return None
