"""From checked files to the words of the domain. Everything here may trust the shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cxplane.control import journeys
from cxplane.control.values import arguments, optional_arguments, optional_span
from cxplane.control.yaml import Document
from cxplane.domain.budget import Budget, Window
from cxplane.domain.catalog import (
    Action,
    Breaker,
    ComputedFact,
    Confirm,
    ConfirmWhen,
    Effect,
    FactSpec,
    HttpCall,
    Limits,
    Mode,
    OnError,
    PythonCall,
    ReadFact,
    RecordedFact,
    Risk,
    System,
    Table,
    TableFact,
    Undo,
    Via,
)
from cxplane.domain.journey import Bounds
from cxplane.domain.people import Caller, CallerKind, Role, Team
from cxplane.domain.release import ControlRepo, Plane, PolicyFile
from cxplane.domain.retention import kept_for
from cxplane.domain.values import Json, JsonObject, rate_per_second

GATES = ("check", "test", "conformance")


def build(
    documents: Mapping[str, list[Document]], policies: Mapping[str, str], files: Mapping[str, str]
) -> ControlRepo:
    """The control repo. `documents`: by kind, each of the right shape."""
    actions = [action(d) for d in documents.get("action", ())]
    tables = [table(d) for d in documents.get("table", ())]
    systems = [system(d) for d in documents.get("system", ())]
    people = list(documents.get("people", ()))
    chartered = journeys.journeys(documents)
    callers = [
        *(agent(d) for d in documents.get("agent", ())),
        *(member for d in people for member in members(d)),
        *(journeys.caller(journey) for journey in chartered.values()),
    ]
    return ControlRepo(
        plane=plane(documents["plane"][0]),
        actions={a.id: a for a in sorted(actions, key=lambda a: a.id)},
        systems={s.id: s for s in sorted(systems, key=lambda s: s.id)},
        tables={t.name: t for t in sorted(tables, key=lambda t: t.name)},
        policies=tuple(PolicyFile(file, policies[file]) for file in sorted(policies)),
        budgets=tuple(sorted((budget(d) for d in documents.get("budget", ())), key=lambda b: b.id)),
        roles={r["role"]: Role(r["role"], r.get("summary", "")) for r in _items(people, "roles")},
        teams={t["team"]: Team(t["team"], t.get("lead"), t.get("summary", "")) for t in _items(people, "teams")},
        callers={c.name: c for c in sorted(callers, key=lambda c: c.name)},
        journeys=chartered,
        policy_tests=tuple(test for d in documents.get("policy-tests", ()) for test in tests(d)),
        files=dict(sorted(files.items())),
    )


def _items(documents: Iterable[Document], part: str) -> list[dict[str, Any]]:
    return [item for d in documents for item in d.value.get(part, ())]


def plane(document: Document) -> Plane:
    said = document.value
    jwt = said.get("auth", {}).get("jwt")
    return Plane(
        name=said["plane"],
        tenant=said["tenant"],
        owner=said["owner"],
        time_zone=said["time_zone"],
        currency=said["currency"],
        languages=tuple(said.get("languages", ("en",))),
        customer_attributes=dict(said.get("customer", {}).get("attributes", {})),
        caller_attributes=dict(said.get("callers", {}).get("attributes", {})),
        jwt=dict(jwt) if jwt else None,
        gates=tuple(said.get("release", {}).get("gates", GATES)),
        confidence=said.get("confidence"),
        access={permission: frozenset(roles) for permission, roles in said.get("access", {}).items()},
        retention={name: kept_for(lasts) for name, lasts in said.get("retention", {}).items()},
        journeys=_bounds(said.get("journeys", {})),
        sources={name: tuple(sources) for name, sources in said.get("sources", {}).items()},
    )


def _bounds(said: JsonObject) -> Bounds:
    usual = Bounds()
    return Bounds(
        depth=said.get("depth", usual.depth),
        runs=said.get("runs", usual.runs),
        steps=said.get("steps", usual.steps),
        within=optional_span(said.get("within")) or usual.within,
    )


def action(document: Document) -> Action:
    said = document.value
    risk = Risk(said["risk"])
    return Action(
        id=said["action"],
        version=said["version"],
        summary=said["summary"].strip(),
        owner=said["owner"],
        effect=Effect(said["effect"]),
        risk=risk,
        input=said["input"],
        output=said["output"],
        via=_via(said["via"]),
        key=tuple(said.get("key", ())),
        facts={name: _fact(document, name, fact) for name, fact in said.get("facts", {}).items()},
        money=said.get("money"),
        data=frozenset(said.get("data", ())),
        purpose=said.get("purpose", "service"),
        needs_customer=said.get("customer", "required") == "required",
        confirm=_confirm(said.get("confirm"), risk),
        undo=_undo(said.get("undo")),
        mode=Mode(said.get("mode", "act")),
        confidence=said.get("confidence"),
        limits=_limits(said.get("limits", {})),
        file=document.file,
        line=document.line("action"),
    )


def _fact(document: Document, name: str, said: JsonObject) -> FactSpec:
    line = document.line("facts", name)
    on_error, optional = OnError(said.get("on_error", "refuse")), bool(said.get("optional", False))
    if "read" in said:
        return ReadFact(
            name=name,
            read=said["read"],
            with_=arguments(said.get("with")),
            each=said.get("each"),
            item=said.get("as", "item"),
            max_age=optional_span(said.get("max_age")),
            on_error=on_error,
            optional=optional,
            line=line,
        )
    if "cel" in said:
        return ComputedFact(name, said["cel"], said.get("type"), optional, on_error, line)
    if "table" in said:
        return TableFact(name, said["table"], said["row"], said["column"], said["type"], optional, on_error, line)
    type_ = said.get("type", "String")
    return RecordedFact(name, said["recorded"], type_, optional, optional_span(said.get("max_age")), on_error, line)


def _confirm(said: JsonObject | None, risk: Risk) -> Confirm | None:
    if said is None or "read" not in said:
        return None
    usual = ConfirmWhen.ALWAYS if risk in (Risk.HIGH, Risk.IRREVERSIBLE) else ConfirmWhen.UNKNOWN
    return Confirm(said["read"], arguments(said.get("with")), said["expect"], ConfirmWhen(said.get("when", usual)))


def _undo(said: JsonObject | None) -> Undo | None:
    if said is None:
        return None
    return Undo(call=said.get("call"), with_=arguments(said.get("with")), none=said.get("none"))


def _via(said: JsonObject) -> Via:
    if "python" in said:
        return PythonCall(said["python"]["system"], said["python"]["callable"])
    http = said["http"]
    return HttpCall(
        system=http["system"],
        method=http["method"],
        path=http["path"],
        query=optional_arguments(http.get("query")),
        body=optional_arguments(http.get("body")),
        output=optional_arguments(http.get("output")),
        headers=dict(http.get("headers", {})),
        refused=tuple(http.get("refused", ())),
    )


def _limits(said: JsonObject) -> Limits:
    usual = Limits()
    return Limits(
        timeout=optional_span(said.get("timeout")) or usual.timeout,
        attempts=said.get("attempts", usual.attempts),
        rate=_rate(said),
        concurrency=said.get("concurrency"),
    )


def _rate(said: JsonObject) -> float | None:
    return rate_per_second(said["rate"]) if "rate" in said else None


def table(document: Document) -> Table:
    return Table(document.value["table"], document.value["rows"], document.file)


def system(document: Document) -> System:
    said = document.value
    http, limits, breaker, usual = said.get("http", {}), said.get("limits", {}), said.get("breaker", {}), Breaker()
    return System(
        id=said["system"],
        owner=said["owner"],
        base_url=http.get("base_url"),
        auth=dict(http.get("auth", {})),
        key_header=http.get("key_header", "Idempotency-Key"),
        health=http.get("health"),
        rate=_rate(limits),
        concurrency=limits.get("concurrency"),
        breaker=Breaker(
            breaker.get("failures", usual.failures), optional_span(breaker.get("open_for")) or usual.open_for
        ),
        conform=said.get("conform", {}),
        file=document.file,
    )


def agent(document: Document) -> Caller:
    said = document.value
    return Caller(
        kind=CallerKind.AGENT,
        id=said["agent"],
        roles=frozenset(said["roles"]),
        team=said.get("team"),
        data=frozenset(said["data"]),
        attributes=dict(said.get("attributes", {})),
        version=said["version"],
        owner=said["owner"],
        summary=said.get("summary", ""),
        instructions=document.body,
        file=document.file,
    )


def members(document: Document) -> list[Caller]:
    """The persons and services of one file in people/."""
    found = []
    for part, kind in (("persons", CallerKind.PERSON), ("services", CallerKind.SYSTEM)):
        for one in document.value.get(part, ()):
            data = one.get("data")
            found.append(
                Caller(
                    kind=kind,
                    id=one["id"],
                    roles=frozenset(one["roles"]),
                    team=one.get("team"),
                    data=frozenset(data) if data is not None else None,
                    attributes=dict(one.get("attributes", {})),
                    summary=one.get("summary", ""),
                    file=document.file,
                )
            )
    return found


def budget(document: Document) -> Budget:
    said = document.value
    applies, limit = said.get("applies", {}), said["limit"]
    return Budget(
        id=said["budget"],
        owner=said["owner"],
        window=Window(said["window"]),
        money=limit.get("money"),
        count=limit.get("count"),
        risk=limit.get("risk"),
        per=tuple(said.get("per", ())),
        actions=frozenset(applies.get("actions", ())),
        kinds=frozenset(applies.get("kinds", ())),
        callers=frozenset(applies.get("callers", ())),
        roles=frozenset(applies.get("roles", ())),
        exhausted=said.get("exhausted", "hold"),
        approvers=tuple(said.get("approvers", ())),
        file=document.file,
        line=document.line("budget"),
    )


def tests(document: Document) -> list[dict[str, Json]]:
    """The tests of one file, each with `file` and `line`."""
    return [
        {**test, "file": document.file, "line": document.line("tests", n)}
        for n, test in enumerate(document.value["tests"])
    ]
