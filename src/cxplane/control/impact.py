"""What a change of one file or one thing reaches: through reads, tables, systems and policies to all that rests on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cxplane.control.shapes import suggest
from cxplane.domain.budget import Budget
from cxplane.domain.catalog import Action, ReadFact, TableFact
from cxplane.domain.errors import NotFound
from cxplane.domain.journey import AskPerson, Call, Emit, HandOver, Journey, RunJourney
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.release import ControlRepo
from cxplane.ports.policy import Policies, PolicyEngine, PolicyMeta

PARTS = ("actions", "journeys", "policies", "budgets", "callers", "systems", "teams", "tests")


@dataclass(frozen=True, slots=True)
class Impact:
    """What is reached, each with why: id -> words."""

    target: str
    things: tuple[str, ...]  # what the target is: "action billing.issue_credit", "policy small-credit" …
    actions: Mapping[str, str] = field(default_factory=dict)
    journeys: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    budgets: Mapping[str, str] = field(default_factory=dict)
    callers: Mapping[str, str] = field(default_factory=dict)
    systems: Mapping[str, str] = field(default_factory=dict)
    teams: Mapping[str, str] = field(default_factory=dict)  # whom to tell
    tests: Mapping[str, str] = field(default_factory=dict)  # "file:line" -> name

    def as_json(self) -> dict[str, Any]:
        return {"target": self.target, "things": list(self.things)} | {p: dict(getattr(self, p)) for p in PARTS}

    def words(self) -> str:
        lines = [f"{self.target} is {', '.join(self.things)}"]
        for part in PARTS:
            if found := getattr(self, part):
                lines.append(f"{part}:")
                lines += [f"  {id}: {why}" for id, why in found.items()]
        return "\n".join(lines)


def impact(repo: ControlRepo, target: str, engine: PolicyEngine) -> Impact:
    """What a file (path in the control repo) or a thing (an id, a caller's name, or `kind id`) reaches.

    NotFound with the nearest names; ControlError if the policies do not compile.
    """
    policies = engine.compile(repo)
    things = _named(repo, policies, target)
    if not things:
        known = [*repo.files, *(id for _, id in _all(repo, policies))]
        raise NotFound(
            f"the control repo has no {target!r}", next=suggest(target, known, say_all=False) or "Name a file or an id."
        )
    return _Reach(repo, policies, target, things).impact()


Thing = tuple[str, str]  # (kind, id)


def _all(repo: ControlRepo, policies: Policies) -> list[Thing]:
    return [
        *(("action", id) for id in repo.actions),
        *(("system", id) for id in repo.systems),
        *(("table", id) for id in repo.tables),
        *(("journey", id) for id in repo.journeys),
        *(("policy", id) for id in policies.meta),
        *(("budget", budget.id) for budget in repo.budgets),
        *(("role", id) for id in repo.roles),
        *(("team", id) for id in repo.teams),
        *(("caller", id) for id in repo.callers),
    ]


def _named(repo: ControlRepo, policies: Policies, target: str) -> list[Thing]:
    path = target.removeprefix("./")
    if path == "plane.yaml" or path == repo.plane.name:
        return [("plane", repo.plane.name)]
    if path in repo.files:
        return _of_file(repo, policies, path)
    kind, _, id = target.partition(" ")
    found = [thing for thing in _all(repo, policies) if thing[1] == target or thing == (kind, id)]
    if not found and (caller := repo.caller(target)) is not None:
        found = [("caller", caller.name)]
    return found


def _of_file(repo: ControlRepo, policies: Policies, path: str) -> list[Thing]:
    found: list[Thing] = []
    for kind, things in (
        ("action", repo.actions),
        ("system", repo.systems),
        ("table", repo.tables),
        ("policy", policies.meta),
        ("budget", {budget.id: budget for budget in repo.budgets}),
        ("journey", repo.journeys),
        ("caller", {name: caller for name, caller in repo.callers.items() if caller.kind is not CallerKind.JOURNEY}),
    ):
        found += [(kind, id) for id, thing in things.items() if getattr(thing, "file", None) == path]
    found += [("journey", id) for id, journey in repo.journeys.items() if journey.charter.file == path]
    found += [("test", f"{test['file']}:{test['line']}") for test in repo.policy_tests if test["file"] == path]
    if path.startswith("people/"):
        text = repo.files[path]
        for kind, names in (("role", repo.roles), ("team", repo.teams)):
            found += [(kind, id) for id in names if re.search(rf"\b{kind}:\s*[\"']?{re.escape(id)}\b", text)]
    return found or [("file", path)]


class _Reach:
    def __init__(self, repo: ControlRepo, policies: Policies, target: str, things: list[Thing]) -> None:
        self.repo, self.policies, self.things = repo, policies, things
        self.found = Impact(target, tuple(f"{kind} {id}" for kind, id in things), **{part: {} for part in PARTS})

    def impact(self) -> Impact:
        for kind, id in self.things:
            getattr(self, f"_{kind}", lambda _: None)(id)
        return self.found

    def _add(self, part: str, id: str, why: str) -> bool:
        """False if it was reached already."""
        there: dict[str, str] = getattr(self.found, part)
        if id in there:
            return False
        there[id] = why
        return True

    # what each kind of thing reaches

    def _plane(self, id: str) -> None:
        for action in self.repo.actions.values():
            self._reach(action, "every decision uses plane.yaml", follow=False)
        self._add("teams", self.repo.plane.owner, "owns the plane")
        for journey in self.repo.journeys.values():
            self._add("journeys", journey.id, "every run uses plane.yaml")

    def _action(self, id: str) -> None:
        self._reach(self.repo.actions[id], "it is the target")

    def _system(self, id: str) -> None:
        self._add("systems", id, "it is the target")
        self._add("teams", self.repo.systems[id].owner, f"owns the system {id}")
        for action in self.repo.actions.values():
            if action.system == id:
                self._reach(action, f"it is done in {id}")

    def _table(self, id: str) -> None:
        for action in self.repo.actions.values():
            if any(isinstance(fact, TableFact) and fact.table == id for fact in action.facts.values()):
                self._reach(action, f"a fact looks {id} up")

    def _policy(self, id: str) -> None:
        meta = self.policies.meta[id]
        self._add("policies", id, meta.reason)
        if meta.owner:
            self._add("teams", meta.owner, f"owns the policy {id}")
        for action in self.repo.actions.values():
            if any(one.id == id for one in self.policies.policies_for(action.id)):
                self._reach(action, f"the policy {id} covers it", follow=False, policies=False)

    def _budget(self, id: str) -> None:
        budget = next(b for b in self.repo.budgets if b.id == id)
        self._add("budgets", id, "it is the target")
        self._add("teams", budget.owner, f"owns the budget {id}")
        for action in self.repo.actions.values():
            if action.writes and (not budget.actions or action.id in budget.actions):
                self._reach(action, f"the budget {id} counts it", follow=False, policies=False)

    def _role(self, id: str) -> None:
        for caller in self.repo.callers.values():
            if id in caller.roles:
                self._add("callers", caller.name, f"has the role {id}")
        for journey in self.repo.journeys.values():
            if id in journey.charter.roles:
                self._reach_journey(journey, f"asks in the role {id}")
        for meta in self.policies.meta.values():
            if id in meta.obligations.approvers or f'Role::"{id}"' in meta.text:
                self._policy(meta.id)
        for budget in self.repo.budgets:
            if id in budget.roles or id in budget.approvers:
                self._add("budgets", budget.id, f"names the role {id}")

    def _team(self, id: str) -> None:
        self._add("teams", id, "it is the target")
        for action in self.repo.actions.values():
            if action.owner == id:
                self._add("actions", action.id, f"owned by {id}")
        for system in self.repo.systems.values():
            if system.owner == id:
                self._add("systems", system.id, f"owned by {id}")
        for budget in self.repo.budgets:
            if budget.owner == id:
                self._add("budgets", budget.id, f"owned by {id}")
        for caller in self.repo.callers.values():
            if id in (caller.owner, caller.team):
                self._add("callers", caller.name, f"{'owned by' if caller.owner == id else 'in'} {id}")

        for journey in self.repo.journeys.values():
            if why := teams_of(journey).get(id):
                self._reach_journey(journey, f"{id} {why} it")

    def _journey(self, id: str) -> None:
        journey = self.repo.journeys[id]
        self._reach_journey(journey, "it is the target")
        for team, why in teams_of(journey).items():
            self._add("teams", team, f"{why} {id}")
        for action in sorted(journey.charter.actions & self.repo.actions.keys()):
            why = "a step calls it" if action in journey.actions else "the charter allows it"
            if self._add("actions", action, why):
                self._governors(self.repo.actions[action], policies=True, only=self.repo.callers[f"journey:{id}"])
        for step in journey.walk():
            if isinstance(step, RunJourney):
                self._add("journeys", step.journey, f"{id} starts it at {step.name}")
            elif isinstance(step, Emit):
                for other in self.repo.journeys.values():
                    if any(start.signal == step.signal for start in other.start):
                        self._add("journeys", other.id, f"{id} emits {step.signal}, which starts it")
        self._add("callers", f"journey:{id}", f"{id} asks as it")
        self._tests(lambda test: test["request"]["by"] == f"journey:{id}")

    def _caller(self, id: str) -> None:
        caller = self.repo.callers[id]
        if caller.kind is CallerKind.JOURNEY:
            self._journey(caller.id)
            return
        self._add("callers", id, "it is the target")
        for team in filter(None, (caller.owner, caller.team)):
            self._add("teams", team, f"{'owns' if team == caller.owner else 'is the team of'} {id}")
        for action in self.repo.actions.values():
            if may_ask(caller, action.id, self.policies.policies_for(action.id)):
                self._add("actions", action.id, f"{id} may ask for it")
        for budget in self.repo.budgets:
            if id in budget.callers or (budget.roles & caller.roles):
                self._add("budgets", budget.id, f"counts what {id} does")
        self._tests(lambda test: test["request"]["by"] == id)

    def _test(self, id: str) -> None:
        self._tests(lambda test: f"{test['file']}:{test['line']}" == id)

    # along the catalog and the journeys

    def _reach_journey(self, journey: Journey, why: str) -> None:
        """A journey, and those that start it."""
        waiting = [(journey, why)]
        while waiting:
            one, because = waiting.pop()
            if not self._add("journeys", one.id, because):
                continue
            for other in self.repo.journeys.values():
                if any(isinstance(step, RunJourney) and step.journey == one.id for step in other.walk()):
                    waiting.append((other, f"it starts {one.id}"))

    def _reach(self, action: Action, why: str, *, follow: bool = True, policies: bool = True) -> None:
        """An action and what rests on it; `follow`: the actions that use it as well."""
        waiting = [(action, why)]
        while waiting:
            one, because = waiting.pop()
            if not self._add("actions", one.id, because):
                continue
            self._governors(one, policies=policies)
            if follow:
                waiting += [(user, how) for user, how in _users(self.repo.actions.values(), one.id)]

    def _governors(self, action: Action, *, policies: bool, only: Caller | None = None) -> None:
        """What bounds an action, and who may ask for it; `only`: what bounds it for this caller."""
        self._add("teams", action.owner, f"owns {action.id}")
        self._add("systems", action.system, f"does {action.id}")
        covering = self.policies.policies_for(action.id)
        if policies:
            for meta in covering:
                if only is None or meta.effect != "permit" or _permits(meta, only):
                    self._add("policies", meta.id, f"covers {action.id}")
            for budget in self.repo.budgets:
                counted = action.writes and (not budget.actions or action.id in budget.actions)
                if counted and (only is None or _counts(budget, only)):
                    self._add("budgets", budget.id, f"counts {action.id}")
        if only is not None:
            return
        for caller in self.repo.callers.values():
            if may_ask(caller, action.id, covering):
                self._add("callers", caller.name, f"may ask for {action.id}")
        for journey in self.repo.journeys.values():
            if action.id in journey.charter.actions:
                called = action.id in journey.actions
                self._reach_journey(journey, f"calls {action.id}" if called else f"its charter allows {action.id}")
        self._tests(lambda test: test["request"]["action"] == action.id)

    def _tests(self, concerns: Any) -> None:
        for test in self.repo.policy_tests:
            if concerns(test):
                self._add("tests", f"{test['file']}:{test['line']}", test["name"])


def _users(actions: Iterable[Action], id: str) -> list[tuple[Action, str]]:
    found = []
    for action in actions:
        reads = [fact.name for fact in action.facts.values() if isinstance(fact, ReadFact) and fact.read == id]
        if reads:
            found.append((action, f"its fact {reads[0]} reads {id}"))
        elif action.confirm is not None and action.confirm.read == id:
            found.append((action, f"{id} confirms it"))
        elif action.undo is not None and action.undo.call == id:
            found.append((action, f"{id} takes it back"))
    return found


def teams_of(journey: Journey) -> dict[str, str]:
    """The teams of a journey, each with what it is to it."""
    found = {journey.owner: "owns", journey.charter.owner: "owns"}
    found.setdefault(journey.charter.exceptions, "gets what fails in")
    for step in journey.walk():
        if isinstance(step, AskPerson) and step.escalate is not None:
            found.setdefault(step.escalate.team, "is asked late in")
        if isinstance(step, (AskPerson, HandOver, Call)) and step.team:
            found.setdefault(step.team, "works in")
    return found


def may_ask(caller: Caller, action: str, covering: Iterable[PolicyMeta]) -> bool:
    """Whether a permit speaks of this caller and its charter, where it has one, allows the action."""
    return (caller.actions is None or action in caller.actions) and any(_permits(meta, caller) for meta in covering)


def _counts(budget: Budget, caller: Caller) -> bool:
    return (
        (not budget.kinds or caller.kind.value in budget.kinds)
        and (not budget.callers or caller.name in budget.callers)
        and (not budget.roles or bool(budget.roles & caller.roles))
    )


def _permits(meta: PolicyMeta, caller: Caller) -> bool:
    """Whether a permit speaks of this caller, as far as its scope says."""
    if meta.effect != "permit":
        return False
    return (not meta.roles or bool(meta.roles & caller.roles)) and (not meta.kinds or caller.kind.cedar in meta.kinds)
