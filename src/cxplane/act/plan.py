"""What acting needs of one catalog entry, compiled once per release: how to confirm it, how to undo it."""

from __future__ import annotations

from collections.abc import Mapping

from cxplane.domain.catalog import Action, Confirm
from cxplane.domain.decision import FactValue
from cxplane.domain.errors import ControlError, ExpressionError, Mistake
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json, JsonObject
from cxplane.ports.expressions import Expression, Expressions

_OWN_WORDS = frozenset({"input", "request", "output", "result", "facts"})


def words(
    request: ActionRequest,
    key: str | None,
    *,
    output: JsonObject | None = None,
    facts: tuple[FactValue, ...] = (),
) -> dict[str, Json]:
    """The variables of `confirm` and `undo`: facts by name and as `facts`, `request`, `input`, `output` if known."""
    named = {fact.name: fact.value for fact in facts}
    said: dict[str, Json] = {name: value for name, value in named.items() if name not in _OWN_WORDS}
    said["facts"] = named
    said["input"] = dict(request.input)
    said["request"] = {
        "id": request.id,
        "key": key,
        "customer": request.customer,
        "conversation": request.conversation,
    }
    if output is not None:
        said["output"] = dict(output)
    return said


class CallPlan:
    """One entry, ready to be carried out, confirmed and undone."""

    def __init__(self, action: Action, confirm_read: Action | None, compiled: _Compiled) -> None:
        self.action, self.confirm_read = action, confirm_read
        self._compiled = compiled

    @property
    def confirm(self) -> Confirm | None:
        return self.action.confirm

    @property
    def confirm_needs_output(self) -> bool:
        """Whether nothing can be confirmed before a reply told the output."""
        compiled = self._compiled
        asked = [*compiled.confirm_with.values(), *([compiled.expect] if compiled.expect else [])]
        return any("output" in expression.names for expression in asked)

    def confirm_input(self, said: Mapping[str, Json]) -> JsonObject:
        """Raises ExpressionError, also where it needs an `output` that is not known."""
        return {name: expression.value(said) for name, expression in self._compiled.confirm_with.items()}

    def confirmed(self, said: Mapping[str, Json]) -> bool:
        """Whether the read (as `result`) shows the action done. Raises ExpressionError."""
        assert self._compiled.expect is not None
        answer = self._compiled.expect.value(said)
        if not isinstance(answer, bool):
            raise ExpressionError(self._compiled.expect.text, "neither true nor false comes out")
        return answer

    def undo_input(self, said: Mapping[str, Json]) -> JsonObject:
        """Raises ExpressionError."""
        return {name: expression.value(said) for name, expression in self._compiled.undo_with.items()}


class _Compiled:
    def __init__(self, action: Action, expressions: Expressions) -> None:
        confirm, undo = action.confirm, action.undo
        self.expect: Expression | None = expressions.compile(confirm.expect) if confirm else None
        self.confirm_with = {n: expressions.compile(text) for n, text in (confirm.with_ if confirm else {}).items()}
        self.undo_with = {n: expressions.compile(text) for n, text in (undo.with_ if undo else {}).items()}


class CallPlans:
    """The plans of one release. ControlError with every entry whose expressions or references are broken."""

    def __init__(self, actions: Mapping[str, Action], expressions: Expressions) -> None:
        self._plans: dict[str, CallPlan] = {}
        mistakes: list[Mistake] = []
        for action in actions.values():
            read = actions.get(action.confirm.read) if action.confirm else None
            if action.confirm and (read is None or read.writes):
                hint = "name a read of the catalog"
                mistakes.append(
                    Mistake(action.file, action.line, f"confirm.read {action.confirm.read} is no read", hint)
                )
                continue
            try:
                self._plans[action.id] = CallPlan(action, read, _Compiled(action, expressions))
            except ExpressionError as problem:
                mistakes.append(Mistake(action.file, action.line, str(problem), "mend the expression"))
        if mistakes:
            raise ControlError(mistakes)

    def plan(self, action: Action) -> CallPlan:
        return self._plans[action.id]
