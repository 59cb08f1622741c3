"""What the files say of each other: every name that one uses, another must give. Works on texts, before anything is built.

The catalog's own checks are in `contracts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from cxplane.control.shapes import short, suggest
from cxplane.control.yaml import Document
from cxplane.domain.errors import Mistake
from cxplane.domain.retention import CLASSES
from cxplane.domain.values import Json, JsonObject

CALLERS = "people/, agents/ or journeys/"
_POLICY_OWNER = re.compile(r'^[^/\n]*@owner\s*\(\s*"([^"]*)"\s*\)', re.MULTILINE)
_POLICY_ID = re.compile(r'@id\s*\(\s*"([^"]+)"\s*\)')
CODES = frozenset(
    {"policy", "no_policy", "policy_error", "input", "caller", "customer", "conversation", "fact", "scope"}
    | {"consent", "budget", "mode", "confidence", "key", "approver", "action"}
)


def as_map(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def as_list(value: Json) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(slots=True)
class Names:
    """Everything that files can refer to, and what is said of it. A file that has mistakes still gives its names."""

    documents: Mapping[str, list[Document]]  # kind -> documents
    policies: Mapping[str, str]  # file -> text
    mistakes: list[Mistake]
    actions: dict[str, Document] = field(default_factory=dict)
    systems: dict[str, Document] = field(default_factory=dict)
    tables: dict[str, Document] = field(default_factory=dict)
    journeys: dict[str, Document] = field(default_factory=dict)
    charters: dict[str, Document] = field(default_factory=dict)  # by journey
    roles: dict[str, str] = field(default_factory=dict)  # name -> "file:line"
    teams: dict[str, str] = field(default_factory=dict)
    callers: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, str] = field(default_factory=dict)
    policy_ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, key, known in (
            ("action", "action", self.actions),
            ("system", "system", self.systems),
            ("table", "table", self.tables),
            ("journey", "journey", self.journeys),
            ("charter", "journey", self.charters),
        ):
            for document in self.documents.get(kind, ()):
                known.setdefault(self._own_name(kind, key, document), document)
        for document in self.documents.get("table", ()):
            first = self.tables[PurePosixPath(document.file).stem]
            if first is not document:
                self.wrong(
                    document,
                    ("table",),
                    f"the table {PurePosixPath(document.file).stem!r} is in {first.file} too",
                    "rename one",
                )
        for document in self.documents.get("agent", ()):
            self._give(self.callers, f"agent:{self._own_name('agent', 'agent', document)}", document, "agent")
        for journey, document in self.journeys.items():
            self._give(self.callers, f"journey:{journey}", document, "journey")
        for document in self.documents.get("budget", ()):
            if name := text(as_map(document.value).get("budget")):
                self._give(self.budgets, name, document, "budget")
        for document in self.documents.get("people", ()):
            self._people(document)
        for file, cedar in self.policies.items():
            for found in _POLICY_ID.finditer(cedar):
                self.policy_ids.setdefault(found[1], f"{file}:{cedar.count(chr(10), 0, found.start()) + 1}")

    def wrong(self, document: Document, path: tuple[str | int, ...], what: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(document.file, document.line(*path), what, hint))

    def _own_name(self, kind: str, key: str, document: Document) -> str:
        """The id that the path gives; the file must say the same."""
        path = PurePosixPath(document.file)
        name = f"{path.parent.name}.{path.stem}" if kind == "action" else path.stem
        if kind in ("journey", "charter"):
            name = path.parent.name
        said = as_map(document.value).get(key)
        if isinstance(said, str) and said != name:
            self.wrong(
                document, (key,), f"{key} is {short(said)}, but the file's place says {name!r}", "rename one of them"
            )
        return name

    def _people(self, document: Document) -> None:
        said = as_map(document.value)
        for part, key, known, prefix in (
            ("roles", "role", self.roles, ""),
            ("teams", "team", self.teams, ""),
            ("persons", "id", self.callers, "person:"),
            ("services", "id", self.callers, "system:"),
        ):
            for n, item in enumerate(as_list(said.get(part))):
                if name := text(as_map(item).get(key)):
                    self._give(known, prefix + name, document, part, n)

    def _give(self, known: dict[str, str], name: str, document: Document, *path: str | int) -> None:
        if name in known:
            self.wrong(document, path, f"{name!r} is here twice", f"first in {known[name]}; keep one")
        else:
            known[name] = f"{document.file}:{document.line(*path)}"

    def must_be(
        self,
        document: Document,
        path: tuple[str | int, ...],
        value: Json,
        known: Mapping[str, Any],
        what: str,
        where: str,
    ) -> bool:
        """A name that must exist; False (and a mistake) if it does not. Values of another type are the schema's matter."""
        if not isinstance(value, str) or value in known:
            return isinstance(value, str)
        if where.startswith("people/") and any(d.value is None for d in self.documents.get("people", ())):
            return True  # it may well be in the file that could not be read
        self.wrong(
            document, path, f"{what} {short(value)} is unknown", suggest(value, list(known)) or f"add it in {where}"
        )
        return False

    def owner(self, document: Document) -> None:
        self.must_be(document, ("owner",), as_map(document.value).get("owner"), self.teams, "the team", "people/")

    def all_roles(self, document: Document, path: tuple[str | int, ...], value: Json) -> None:
        for n, role in enumerate(as_list(value)):
            self.must_be(document, (*path, n), role, self.roles, "the role", "people/")


def reference_mistakes(names: Names) -> None:
    """Check everything but the catalog; mistakes are added to `names`."""
    for kind, check in (
        ("plane", _plane),
        ("system", _system),
        ("people", _people),
        ("agent", _agent),
        ("budget", _budget),
        ("policy-tests", _tests),
    ):
        for document in names.documents.get(kind, ()):
            if isinstance(document.value, Mapping):
                check(names, document)
    for file, cedar in names.policies.items():
        if not cedar.strip():
            names.mistakes.append(Mistake(file, 0, "the policy file is empty", "write a policy, or delete it"))
        for owner in _POLICY_OWNER.finditer(cedar):
            place = Document(file, None, {(): cedar.count("\n", 0, owner.end()) + 1})
            names.must_be(place, (), owner[1], names.teams, "the team", "people/")


def _plane(names: Names, document: Document) -> None:
    names.owner(document)
    said = as_map(document.value)
    if (zone := text(said.get("time_zone"))) is not None:
        try:
            ZoneInfo(zone)
        except Exception:  # zoneinfo raises much: unknown, a folder, a path that leaves the database
            names.wrong(document, ("time_zone",), f"the time zone {short(zone)} is unknown", _zones(zone))
    for permission, roles in as_map(said.get("access")).items():
        names.all_roles(document, ("access", permission), roles)
    _retention(names, document, as_map(said.get("retention")))
    for caller in as_map(said.get("sources")):
        names.must_be(document, ("sources", caller), caller, names.callers, "the caller", "people/")
    jwks = text(as_map(as_map(said.get("auth")).get("jwt")).get("jwks"))
    if jwks is not None and jwks.startswith("http://") and not re.match(r"http://(localhost|127\.|\[::1\])", jwks):
        names.wrong(
            document,
            ("auth", "jwt", "jwks"),
            "jwks is fetched without encryption",
            "use https://, or a file in the repo",
        )


def _retention(names: Names, document: Document, said: JsonObject) -> None:
    """A class that nothing belongs to is a slip of the pen, and what was meant would go by `default`."""
    classes = (c for action in names.actions.values() for c in as_list(as_map(action.value).get("data")))
    known = {*CLASSES, *(c for c in classes if isinstance(c, str))}
    for name in said:
        if name not in known:
            hint = suggest(name, sorted(str(k) for k in known))
            names.wrong(document, ("retention", name), f"no action has the data class {short(name)}", hint)


def _zones(zone: str) -> str:
    from zoneinfo import available_timezones

    return suggest(zone, sorted(available_timezones()), say_all=False) or "like Europe/Berlin"


def _system(names: Names, document: Document) -> None:
    names.owner(document)
    said = as_map(document.value)
    http = as_map(said.get("http"))
    base = text(http.get("base_url"))
    if base is not None and re.match(r"^https?://[^/]*@", base):
        names.wrong(
            document,
            ("http", "base_url"),
            "base_url holds a user or password",
            "name the secret under auth: {basic: NAME}",
        )
    for form, name in as_map(http.get("auth")).items():
        if form != "header" and isinstance(name, str) and _looks_secret(name):
            what = f"http.auth.{form} looks like a secret itself (not shown here)"
            names.wrong(
                document, ("http", "auth", form), what, "write only its name, like BILLING_TOKEN, and change the secret"
            )
    for action in as_map(as_map(said.get("conform")).get("samples")):
        place = ("conform", "samples", action)
        if names.must_be(document, place, action, names.actions, "the action", "catalog/"):
            entry = as_map(names.actions[action].value)
            if entry.get("effect") == "read":
                names.wrong(
                    document, place, f"{action} is a read", "samples are for writes; conformance tests only those"
                )


def _looks_secret(name: str) -> bool:
    """Well-formed as a name, and yet more like a key: long, without a break, with digits in it."""
    return len(name) >= 16 and "_" not in name and any(c.isdigit() for c in name)


def _people(names: Names, document: Document) -> None:
    said = as_map(document.value)
    persons = {name.removeprefix("person:"): "" for name in names.callers if name.startswith("person:")}
    for n, team in enumerate(as_list(said.get("teams"))):
        names.must_be(document, ("teams", n, "lead"), as_map(team).get("lead"), persons, "the person", "people/")
    for part in ("persons", "services"):
        for n, member in enumerate(as_list(said.get(part))):
            one = as_map(member)
            names.all_roles(document, (part, n, "roles"), one.get("roles"))
            names.must_be(document, (part, n, "team"), one.get("team"), names.teams, "the team", "people/")


def _agent(names: Names, document: Document) -> None:
    names.owner(document)
    said = as_map(document.value)
    names.must_be(document, ("team",), said.get("team"), names.teams, "the team", "people/")
    names.all_roles(document, ("roles",), said.get("roles"))


def _budget(names: Names, document: Document) -> None:
    names.owner(document)
    said = as_map(document.value)
    applies = as_map(said.get("applies"))
    for n, action in enumerate(as_list(applies.get("actions"))):
        place = ("applies", "actions", n)
        if names.must_be(document, place, action, names.actions, "the action", "catalog/"):
            entry = as_map(names.actions[action].value)
            if entry.get("effect") == "read":
                names.wrong(document, place, f"{action} is a read, and reads are not counted", "name writes only")
            elif "money" in as_map(said.get("limit")) and entry and "money" not in entry:
                hint = "add `money:` to its entry, or limit the count"
                names.wrong(document, place, f"{action} says no money, so a limit of money never counts it", hint)
    for n, caller in enumerate(as_list(applies.get("callers"))):
        names.must_be(document, ("applies", "callers", n), caller, names.callers, "the caller", CALLERS)
    names.all_roles(document, ("applies", "roles"), applies.get("roles"))
    names.all_roles(document, ("approvers",), said.get("approvers"))
    if said.get("exhausted", "hold") == "hold" and not as_list(said.get("approvers")) and "approvers" not in said:
        names.wrong(
            document,
            ("exhausted",),
            "it holds when exhausted, but nobody may approve",
            "add approvers: [role], or exhausted: refuse",
        )


def _tests(names: Names, document: Document) -> None:
    seen: dict[str, int] = {}
    for n, test in enumerate(as_list(as_map(document.value).get("tests"))):
        for path, what, hint in _one_test(names, document, as_map(test), n):
            names.wrong(document, ("tests", n, *path), what, hint)
        if name := text(as_map(test).get("name")):
            if name in seen:
                names.wrong(
                    document,
                    ("tests", n, "name"),
                    f"two tests are named {short(name)}",
                    f"the other is on line {seen[name]}",
                )
            seen.setdefault(name, document.line("tests", n, "name"))


def _one_test(
    names: Names, document: Document, test: JsonObject, n: int
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    request, expect = as_map(test.get("request")), as_map(test.get("expect"))
    action, here = text(request.get("action")), ("tests", n)
    if names.must_be(document, (*here, "request", "action"), action, names.actions, "the action", "catalog/"):
        entry = names.actions[action or ""].value
        facts = as_map(as_map(entry).get("facts"))
        for fact in as_map(test.get("facts")) if entry is not None else ():
            if fact not in facts:
                yield (
                    ("facts", fact),
                    f"{action} has no fact {short(fact)}",
                    suggest(fact, list(facts)) or "it has none",
                )
    names.must_be(document, (*here, "request", "by"), request.get("by"), names.callers, "the caller", CALLERS)
    if (approver := text(test.get("approver"))) is not None and f"person:{approver}" not in names.callers:
        names.must_be(document, (*here, "approver"), approver, names.callers, "the person", "people/")
    names.all_roles(document, (*here, "expect", "approvers"), expect.get("approvers"))
    known = {**names.policy_ids, **dict.fromkeys((*CODES, *names.budgets), "")}
    for at, reason in enumerate(as_list(expect.get("reasons"))):
        names.must_be(document, (*here, "expect", "reasons", at), reason, known, "the policy or code", "policies/")
