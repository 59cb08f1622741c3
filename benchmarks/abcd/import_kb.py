"""The work flows of ABCD's kb.json as a control repo: one journey each, one catalog entry for each action.

python -m benchmarks.abcd.import_kb --kb ../shared/data/abcd/kb.json --out DIR

kb.json says for each kind of contact (55 of them) which actions a person at the desk takes, in which order.
ontology.json, beside it, says what each action is given: its slots, and the values that a slot may have. No word of
either stands in this program: names and values are read when it runs, and what it writes goes to DIR.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SYSTEM = "abcd"
TEAM, LEAD, ROLE = "contact-centre", "lead", "journey"
NOT_SAID = ""
"""A slot that the contact does not speak of."""

PLANE = f"""# Work flows of a public data set as journeys. Made by benchmarks/abcd/import_kb.py.
plane: abcd
tenant: abcd
owner: {TEAM}
time_zone: Europe/Berlin
currency: USD
access:
  customers: [integration]
  assurance: [integration]
  consents: [integration]
  facts: [integration]
  record: [supervisor]
  journeys: [integration, supervisor]
  signals: [integration]
release: {{gates: [check, test]}}
"""

PEOPLE: Mapping[str, Any] = {
    "roles": [
        {"role": ROLE, "summary": "Journeys"},
        {"role": "supervisor", "summary": "Gets what fails"},
        {"role": "integration", "summary": "What brings the contacts"},
    ],
    "teams": [{"team": TEAM, "lead": LEAD}],
    "persons": [{"id": LEAD, "roles": ["supervisor"], "team": TEAM}],
    "services": [{"id": "contacts", "roles": ["integration"]}],
}


@dataclass(frozen=True, slots=True)
class Slot:
    """What an action may be given. `values` empty: any text."""

    name: str
    values: tuple[str, ...]

    @property
    def schema(self) -> dict[str, Any]:
        if not self.values:
            return {"type": "string", "maxLength": 200}
        return {"type": "string", "enum": [*self.values, NOT_SAID]}

    @property
    def example(self) -> str:
        return self.values[0] if self.values else "as said"


@dataclass(frozen=True, slots=True)
class Work:
    """One action of the data set."""

    name: str
    kind: str  # the group that the ontology puts it in
    slots: tuple[Slot, ...]

    @property
    def action(self) -> str:
        return f"{SYSTEM}.{self.name}"


@dataclass(frozen=True, slots=True)
class Flow:
    """One kind of contact, and what is done about it."""

    name: str
    steps: tuple[Work, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        found = {slot.name: slot for work in self.steps for slot in work.slots}
        return tuple(found[name] for name in sorted(found))

    def example(self, contact: str) -> dict[str, str]:
        """An input with which it runs."""
        return {"contact": contact, **{slot.name: slot.example for slot in self.slots}}


class NotThatFile(Exception):
    """A file does not have the form that the data set's has; the text says which and how."""


def read(kb: Path, ontology: Path | None = None) -> list[Flow]:
    """The work flows. `ontology`: beside kb.json if not given. NotThatFile, OSError."""
    flows, said = _json(kb), _json(ontology or kb.with_name("ontology.json"))
    try:
        values = {slot: tuple(map(str, found)) for slot, found in said["values"]["enumerable"].items()}
        kinds = {name: (kind, slots) for kind, actions in said["actions"].items() for name, slots in actions.items()}
    except (KeyError, AttributeError, TypeError):
        raise NotThatFile("the ontology has no actions by kind, or no values.enumerable") from None
    if not all(isinstance(steps, list) and steps for steps in flows.values()):
        raise NotThatFile(f"{kb.name} must map each work flow to a list of actions")

    def work(name: str) -> Work:
        if name not in kinds:
            raise NotThatFile(f"{kb.name} names an action that the ontology does not have")
        kind, slots = kinds[name]
        return Work(name, kind, tuple(Slot(slot, values.get(slot, ())) for slot in slots))

    return [Flow(_word(name), tuple(work(step) for step in steps)) for name, steps in flows.items()]


def _json(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise NotThatFile(f"{file.name} must hold a map")
    return found


def _word(text: str) -> str:
    """A name as steps and journeys have it."""
    word = re.sub(r"[^a-z0-9_]", "_", text.lower())
    return word if word[:1].isalpha() else f"f_{word}"


# the files ---------------------------------------------------------------------------------------------------


def control_repo(flows: Sequence[Flow]) -> dict[str, str]:
    """Every file of the control repo: path -> text."""
    works = {work.name: work for flow in flows for work in flow.steps}
    files = {
        "plane.yaml": PLANE,
        "people/people.yaml": _yaml(PEOPLE),
        f"systems/{SYSTEM}.yaml": _yaml(_system(works.values())),
        f"catalog/{SYSTEM}/find_done.yaml": _yaml(FIND),
        "policies/work.cedar": _policies(works.values()),
        "policies/tests/work.yaml": _yaml({"tests": _tests(flows)}),
    }
    for work in works.values():
        files[f"catalog/{SYSTEM}/{work.name}.yaml"] = _yaml(_entry(work))
    for flow in flows:
        files[f"journeys/{flow.name}/journey.yaml"] = _yaml(_journey(flow))
        files[f"journeys/{flow.name}/charter.md"] = _charter(flow)
    return files


FIND: Mapping[str, Any] = {
    "action": f"{SYSTEM}.find_done",
    "version": 1,
    "summary": "What was done under a key.",
    "owner": TEAM,
    "effect": "read",
    "risk": "low",
    "customer": "none",
    "input": {
        "type": "object",
        "required": ["key"],
        "additionalProperties": False,
        "properties": {"key": {"type": "string"}},
    },
    "output": {
        "type": "object",
        "required": ["done_id", "action"],
        "properties": {"done_id": {"type": "string"}, "action": {"type": "string"}},
    },
    "data": ["contact"],
    "via": {"http": {"system": SYSTEM, "method": "GET", "path": "/done"}},
    "limits": {"timeout": "2s", "attempts": 3},
}


def _entry(work: Work) -> dict[str, Any]:
    own = {"contact": {"type": "string", "minLength": 1}, "step": {"type": "string", "minLength": 1}}
    return {
        "action": work.action,
        "version": 1,
        "summary": f"The action {work.name}, as the data set names it.",
        "owner": TEAM,
        "effect": "write",
        "risk": "low",
        "input": {
            "type": "object",
            "required": list(own),
            "additionalProperties": False,
            "properties": own | {slot.name: slot.schema for slot in work.slots},
        },
        "output": {
            "type": "object",
            "required": ["done_id", "action", "contact"],
            "properties": {name: {"type": "string"} for name in ("done_id", "action", "contact")},
        },
        "key": ["contact", "step"],
        "data": ["contact"],
        "confirm": {
            "read": f"{SYSTEM}.find_done",
            "with": {"key": "request.key"},
            "expect": f"result.action == '{work.name}'",
        },
        "undo": {"none": "The data set says nothing of taking it back"},
        "via": {"http": {"system": SYSTEM, "method": "POST", "path": f"/actions/{work.name}"}},
        "limits": {"timeout": "2s", "attempts": 4},
    }


def _system(works: Any) -> dict[str, Any]:
    return {
        "system": SYSTEM,
        "owner": TEAM,
        "http": {"base_url": "http://127.0.0.1:9300", "key_header": "Idempotency-Key", "health": "/health"},
        "limits": {"rate": "1000/s", "concurrency": 50},
        "conform": {
            "faults": {"method": "POST", "path": "/_faults"},
            "samples": {
                work.action: {
                    "input": {"contact": "conform-{run}", "step": f"{_word(work.name)}-{{n}}"},
                    "wrong": {"contact": 1, "step": []},
                }
                for work in works
            },
        },
    }


def _journey(flow: Flow) -> dict[str, Any]:
    said = {slot.name: slot.schema for slot in flow.slots}
    return {
        "journey": flow.name,
        "version": 1,
        "summary": f"The work flow {flow.name}: {len(flow.steps)} actions.",
        "owner": TEAM,
        "input": {
            "type": "object",
            "required": ["contact"],
            "additionalProperties": False,
            "properties": {"contact": {"type": "string", "minLength": 1}, **said},
        },
        "key": ["contact"],
        "do": [{step: _call(step, work)} for step, work in _named(flow)],
    }


def _named(flow: Flow) -> list[tuple[str, Work]]:
    """Its actions with the name of the step of each, unique also where an action comes twice."""
    seen: dict[str, int] = {}
    named = []
    for work in flow.steps:
        word = _word(work.name)
        seen[word] = seen.get(word, 0) + 1
        named.append((word if seen[word] == 1 else f"{word}_{seen[word]}", work))
    return named


def _call(step: str, work: Work) -> dict[str, Any]:
    given = {"contact": "input.contact", "step": f"'{step}'"}
    for slot in work.slots:
        given[slot.name] = f"has(input.{slot.name}) ? input.{slot.name} : '{NOT_SAID}'"
    return {"call": work.action, "with": given}


def _charter(flow: Flow) -> str:
    front = {
        "journey": flow.name,
        "owner": TEAM,
        "actions": sorted({work.action for work in flow.steps}),
        "data": ["contact"],
        "roles": [ROLE],
        "approvals": {},
        "exceptions": TEAM,
        "success": [{"measure": "contacts_resolved_share", "target": ">= 0.9"}],
        "counter": [{"measure": "repeat_contacts_share", "target": "<= 0.1"}],
    }
    text = (
        "Imported from a public set of work flows. It does the actions in the order that the set gives, and no other."
    )
    return f"---\n{_yaml(front)}---\n\n{text}\n"


def _policies(works: Any) -> str:
    kinds: dict[str, list[str]] = {}
    for work in works:
        kinds.setdefault(work.kind, []).append(work.action)
    rules = ["// A journey may take the actions that its charter names; the kinds are the data set's."]
    for kind, actions in kinds.items():
        listed = ",\n        ".join(f'Action::"{action}"' for action in sorted(actions))
        rules.append(
            f'@id("{_policy(kind)}")\n@owner("{TEAM}")\n@reason("A journey may take actions of the kind {kind}")\n'
            f'permit (\n    principal in Role::"{ROLE}",\n    action in [\n        {listed}\n    ],\n    resource\n);'
        )
    return "\n\n".join(rules) + "\n"


def _policy(kind: str) -> str:
    return f"journey-{_word(kind).replace('_', '-')}"


def _tests(flows: Sequence[Flow]) -> list[dict[str, Any]]:
    """Each action once by a journey that may take it, and once by one that may not, where there is one."""
    tests: list[dict[str, Any]] = []
    works = {work.name: work for flow in flows for work in flow.steps}
    for name, work in works.items():
        can = next(flow for flow in flows if work in flow.steps)
        tests.append(_test(f"{can.name} may take {name}", work, can, "allow", _policy(work.kind)))
        cannot = next((flow for flow in flows if work not in flow.steps), None)
        if cannot is not None:
            tests.append(_test(f"{cannot.name} may not take {name}", work, cannot, "refuse", "scope"))
    return tests


def _test(name: str, work: Work, flow: Flow, decision: str, reason: str) -> dict[str, Any]:
    return {
        "name": name,
        "request": {
            "action": work.action,
            "by": f"journey:{flow.name}",
            "customer": "c-1",
            "input": {"contact": "k-1", "step": "s", **{slot.name: slot.example for slot in work.slots}},
        },
        "customer": {"consents": ["service"]},
        "expect": {"decision": decision, "reasons": [reason]},
    }


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True, width=110))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def write(files: Mapping[str, str], out: Path) -> None:
    for path, text in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text, encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="import_kb", description="Work flows of ABCD as a control repo.")
    parser.add_argument("--kb", type=Path, required=True, help="kb.json of the data set")
    parser.add_argument("--ontology", type=Path, help="ontology.json (default: beside kb.json)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the control repo; must be empty or new")
    given = parser.parse_args(words)
    if given.out.exists() and any(given.out.iterdir()):
        print(f"{given.out} is not empty; name another folder", file=sys.stderr)
        return 2
    try:
        flows = read(given.kb, given.ontology)
    except (OSError, ValueError, NotThatFile) as problem:
        print(f"cannot read the work flows: {problem}", file=sys.stderr)
        return 2
    write(control_repo(flows), given.out)
    actions = {work.name for flow in flows for work in flow.steps}
    print(
        f"{len(flows)} journeys over {len(actions)} actions in {given.out}; look at it with `cxplane check {given.out}`"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
