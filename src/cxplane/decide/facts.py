"""Having the facts that a decision needs: read, computed, looked up or recorded; never guessed.

Only what the action's policies and money read is had (and what confirm and undo will need), each as soon as what it
needs is there, reads in parallel. A fact that cannot be had is a failure that names the fact, never a value.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cxplane.decide.fact_graph import FactRule
from cxplane.decide.rulebook import ActionRules, Rulebook
from cxplane.decide.shape import not_plain
from cxplane.decide.standing import objections
from cxplane.domain.catalog import ComputedFact, OnError, ReadFact, RecordedFact, TableFact
from cxplane.domain.customer import Situation
from cxplane.domain.decision import FactValue, Reason
from cxplane.domain.errors import ExpressionError, FactFailure, FailureKind, SystemFailure
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json, JsonObject, digest
from cxplane.ports.expressions import Expression

Reader = Callable[[str, JsonObject], Awaitable[JsonObject]]

AT_ONCE = 8  # reads in parallel for one `each`
MOST_ITEMS = 200  # items of one `each`


@dataclass(frozen=True, slots=True)
class NotHad:
    """A fact that could not be had, and what that leads to. `why` holds no customer data. `later`: its system does not answer now."""

    name: str
    why: str
    on_error: OnError
    later: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known for one request."""

    values: tuple[FactValue, ...] = ()
    not_had: tuple[NotHad, ...] = ()
    money: int | None = None

    def as_map(self) -> dict[str, Json]:
        return {fact.name: fact.value for fact in self.values}


class _Absent(Exception):
    """An optional fact that is not there."""


async def gather(
    rulebook: Rulebook,
    request: ActionRequest,
    situation: Situation,
    reader: Reader,
    now: datetime,
    given: Mapping[str, Json] | None = None,
    only: Iterable[str] | None = None,
    *,
    against: Sequence[Reason] | None = None,
    tick: Callable[[], float] = time.monotonic,
) -> Facts:
    """Have the facts. `reader(action, input)` answers or raises SystemFailure.

    `given` (policy tests): values of facts that are then not read or computed, and no read goes out at all.
    `only`: these facts, with what they need, instead of those that the action's policies use.
    A request that is refused whatever the facts are (`against`: see `standing.objections`) gets none, and nothing is read for it.
    """
    rules = rulebook.rules.get(request.action)
    if against is None:
        against = objections(rulebook, request, situation)
    if rules is None or against:
        return Facts()
    if only is not None:
        names = rules.facts.with_needs(only)
    else:
        names = rules.gathered if given is None else rules.facts.with_needs(rules.needed, given)
    if not names and rules.facts.money is None:
        return Facts()
    return await _Gathering(rulebook, rules, request, situation, reader, now, given, tick).all(names)


@dataclass(slots=True)
class _Gathering:
    rulebook: Rulebook
    rules: ActionRules
    request: ActionRequest
    situation: Situation
    reader: Reader
    now: datetime
    given: Mapping[str, Json] | None
    tick: Callable[[], float]
    known: dict[str, FactValue] = field(default_factory=dict)
    failed: dict[str, NotHad] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    reads: dict[tuple[str, str], asyncio.Task[tuple[JsonObject, float]]] = field(default_factory=dict)

    async def all(self, names: tuple[str, ...]) -> Facts:
        self.variables = base_variables(self.rulebook, self.request, self.now)
        self.variables["facts"] = {}
        graph = self.rules.facts.rules
        waiting = list(names)
        running: dict[asyncio.Task[None], str] = {}
        try:
            while waiting or running:
                settled = self.known.keys() | self.failed.keys() | (graph.keys() - set(waiting) - set(running.values()))
                for name in [n for n in waiting if graph[n].needs <= settled]:
                    waiting.remove(name)
                    if self._waits(graph[name]):
                        running[asyncio.ensure_future(self._have(graph[name]))] = name
                        continue
                    await self._have(graph[name])
                    break
                else:
                    if running:
                        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                        for task in done:
                            del running[task]
                            task.result()
        finally:
            for had in running:
                had.cancel()
            for asked in self.reads.values():
                asked.cancel()
        return self._told(names)

    def _waits(self, rule: FactRule) -> bool:
        return isinstance(rule.spec, ReadFact) and not (self.given is not None and rule.name in self.given)

    def _told(self, names: tuple[str, ...]) -> Facts:
        values = tuple(self.known[name] for name in names if name in self.known)
        not_had = tuple(self.failed[name] for name in names if name in self.failed)
        money: int | None = None
        if self.rules.facts.money is not None and not self.rules.facts.money_needs & self.failed.keys():
            try:
                money = self.rulebook.money_of(self.request, self.variables)
            except ExpressionError as problem:
                not_had += (NotHad("money", problem.why, OnError.REFUSE),)
            except ValueError as problem:
                not_had += (NotHad("money", str(problem), OnError.REFUSE),)
        return Facts(values, not_had, money)

    async def _have(self, rule: FactRule) -> None:
        """One fact: known, absent or failed."""
        spec = rule.spec
        try:
            if lacking := sorted(rule.needs & self.failed.keys()):
                later = all(self.failed[name].later for name in lacking)
                raise FactFailure(rule.name, f"it needs {lacking[0]}, which could not be had", later=later)
            fact = await self._value(rule)
            if fact.value is None and spec.optional:
                return
            if (problem := not_plain(_json(fact.value))) is not None:
                raise FactFailure(rule.name, f"the value at {problem}")
        except _Absent:
            if not spec.optional:
                self.failed[rule.name] = NotHad(rule.name, "it is not there", spec.on_error)
            return
        except FactFailure as failure:
            self.failed[rule.name] = NotHad(rule.name, failure.why, spec.on_error, failure.later)
            return
        except ExpressionError as problem:
            missing = rule.bare - self.known.keys()
            if spec.optional and missing:  # it is made of an optional fact that is absent
                return
            why = f"it needs {min(missing)}, which is absent" if missing else problem.why
            self.failed[rule.name] = NotHad(rule.name, why, spec.on_error)
            return
        native = fact.value
        self.known[rule.name] = FactValue(fact.name, _json(native), fact.source, fact.as_of, fact.age_s)
        self.variables[rule.name] = native
        self.variables["facts"] = {**self.variables["facts"], rule.name: native}

    async def _value(self, rule: FactRule) -> FactValue:
        spec, name = rule.spec, rule.name
        if self.given is not None and name in self.given:
            type_ = None if isinstance(spec, ReadFact) else spec.type
            value = typed(name, type_, self.given[name]) if self.given[name] is not None else None
            return FactValue(name, value, "given", self.now)
        match spec:
            case ReadFact():
                if self.given is not None:
                    if spec.optional:
                        raise _Absent
                    raise FactFailure(name, f"the test gives no value for it, and {spec.read} is not read in tests")
                return await self._read(rule, spec)
            case ComputedFact():
                assert rule.cel is not None
                value = rule.cel.value(self.variables)
                if value is None and not spec.optional:
                    raise FactFailure(name, "the expression gives null")
                return FactValue(name, None if value is None else typed(name, spec.type, value), "computed", self.now)
            case TableFact():
                return self._cell(rule, spec)
            case RecordedFact():
                return self._recorded(spec)

    async def _read(self, rule: FactRule, spec: ReadFact) -> FactValue:
        if rule.each is None:
            output, age = await self._once(spec, self._input(rule.with_, self.variables))
            return FactValue(spec.name, output, spec.read, self.now - timedelta(seconds=age), age)
        items = rule.each.value(self.variables)
        if not isinstance(items, list):
            raise FactFailure(spec.name, "`each` is not a list")
        if len(items) > MOST_ITEMS:
            raise FactFailure(spec.name, f"`each` has more than {MOST_ITEMS} items")
        room = asyncio.Semaphore(AT_ONCE)

        async def one(item: Json) -> tuple[JsonObject, float] | None:
            async with room:
                try:
                    return await self._once(spec, self._input(rule.with_, {**self.variables, spec.item: item}))
                except _Absent:
                    if spec.optional:
                        return None
                    raise

        tasks = [asyncio.ensure_future(one(item)) for item in items]
        try:
            found = [reply for reply in await asyncio.gather(*tasks) if reply is not None]
        finally:
            for waiting in tasks:
                waiting.cancel()
        age = max((age for _, age in found), default=0.0)
        return FactValue(spec.name, [output for output, _ in found], spec.read, self.now - timedelta(seconds=age), age)

    @staticmethod
    def _input(with_: Mapping[str, Expression], variables: Mapping[str, Json]) -> JsonObject:
        values = ((parameter, _json(expression.value(variables))) for parameter, expression in with_.items())
        return {parameter: value for parameter, value in values if value is not None}

    async def _once(self, spec: ReadFact, input: JsonObject) -> tuple[JsonObject, float]:
        """(output, age in seconds). The same read is made once for one request, and not at all while one is fresh."""
        tenant = self.request.tenant
        rules = self.rulebook.rules[spec.read]
        if problem := next(iter(rules.input.wrong(input)), None):
            raise FactFailure(spec.name, f"{spec.read} cannot be asked: {problem.text}")
        try:
            mark = digest(input)
        except ValueError:
            raise FactFailure(spec.name, f"{spec.read} cannot be asked with such an input") from None
        if spec.max_age is not None:
            known = self.rulebook.fresh.get(tenant, spec.read, mark, tick=self.tick(), max_age=spec.max_age)
            if known is not None:
                return known[1], known[0]
        task = self.reads.get((spec.read, mark))
        if task is None:
            task = asyncio.ensure_future(self._ask(spec.read, input, mark))
            self.reads[(spec.read, mark)] = task
        try:
            return await asyncio.shield(task)
        except SystemFailure as failure:
            if failure.not_found or (spec.optional and failure.kind is FailureKind.REFUSED):
                raise _Absent from None
            later = failure.kind is FailureKind.RETRY
            raise FactFailure(spec.name, f"{spec.read}: {failure.said} ({failure.kind})", later=later) from None
        except FactFailure as failure:
            raise FactFailure(spec.name, failure.why) from None
        except Exception as problem:
            raise FactFailure(spec.name, f"{spec.read} could not be read ({type(problem).__name__})") from None

    async def _ask(self, read: str, input: JsonObject, mark: str) -> tuple[JsonObject, float]:
        asked = self.tick()  # the answer is at least as young as the moment of asking
        output = await self.reader(read, input)
        if wrong := next(iter(self.rulebook.rules[read].output.wrong(output)), None):
            what = wrong.text.replace("input", "its answer", 1)
            raise FactFailure(read, f"{read} broke its contract: {what}")
        self.rulebook.fresh.put(self.request.tenant, read, mark, output, tick=asked)
        return output, 0.0

    def _cell(self, rule: FactRule, spec: TableFact) -> FactValue:
        assert rule.row is not None and rule.column is not None
        row, column = rule.row.value(self.variables), rule.column.value(self.variables)
        cells = self.rulebook.release.repo.tables[spec.table].rows.get(_cell_name(row))
        if cells is None or _cell_name(column) not in cells:
            raise _Absent
        value = typed(spec.name, spec.type, cells[_cell_name(column)])
        return FactValue(spec.name, value, f"table {spec.table}", self.now)

    def _recorded(self, spec: RecordedFact) -> FactValue:
        """Evidence with this request first, then with the conversation. Its age is what it was when the request was made."""
        asked = self.request.at
        if spec.recorded in self.request.recorded:
            value, by, at = self.request.recorded[spec.recorded], self.request.caller.name, asked
        elif spec.recorded in self.situation.recorded:
            found = self.situation.recorded[spec.recorded]
            value, by, at = found.value, found.by, found.at
        else:
            raise _Absent
        age = max(0.0, (asked - at).total_seconds())
        if value is None or (spec.max_age is not None and age > spec.max_age.total_seconds()):
            raise _Absent
        return FactValue(spec.name, typed(spec.name, spec.type, value), f"recorded by {by}", at, age)


def base_variables(rulebook: Rulebook, request: ActionRequest, now: datetime) -> dict[str, Json]:
    """What every expression may use beside facts."""
    zone = ZoneInfo(rulebook.release.repo.plane.time_zone)
    return {
        "input": dict(request.input),
        "request": {
            "id": request.id,
            "key": rulebook.key_of(request),
            "customer": request.customer,
            "conversation": request.conversation,
            "channel": request.channel,
        },
        "customer": request.customer,
        "channel": request.channel,
        "now": now.astimezone(UTC),
        "today": now.astimezone(zone).date().isoformat(),
    }


def typed(name: str, type_: str | None, value: Json) -> Json:
    """The value as its declared type; FactFailure if it is of another. Datetimes come back as `datetime`."""
    fits = False
    match type_:
        case None:
            return value
        case "Bool" | "Boolean":
            fits = isinstance(value, bool)
        case "Long":
            fits = _whole(value)
        case "String":
            fits = isinstance(value, str)
        case "Decimal":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "Datetime":
            if isinstance(value, str):
                try:
                    value = datetime.fromisoformat(value)
                except ValueError:
                    value = None
            fits = isinstance(value, datetime) and value.tzinfo is not None
        case "Set<String>":
            fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "Set<Long>":
            fits = isinstance(value, list) and all(_whole(item) for item in value)
    if not fits:
        raise FactFailure(name, f"the value is not a {type_}")
    return value


def _whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cell_name(value: Json) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _json(value: Json) -> Json:
    """Moments as text, so that the value can be put on record."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return value
