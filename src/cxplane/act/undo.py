"""What takes a done request back: another action, judged and carried out like any other."""

from __future__ import annotations

from cxplane.act.plan import CallPlan, words
from cxplane.domain.decision import FactValue
from cxplane.domain.errors import Conflict, ExpressionError
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import JsonObject


def undo_request(
    plan: CallPlan,
    request: ActionRequest,
    output: JsonObject,
    *,
    key: str | None = None,
    facts: tuple[FactValue, ...] = (),
) -> JsonObject:
    """The input of the action under `undo.call`. Conflict if the entry has none, or it cannot be computed."""
    undo = plan.action.undo
    if undo is None or undo.call is None:
        why = undo.none if undo is not None and undo.none else "its entry names no undo"
        raise Conflict(f"{plan.action.id} cannot be undone: {why}", next="Ask the owner of the action what to do.")
    try:
        return plan.undo_input(words(request, key, output=output, facts=facts))
    except ExpressionError as problem:
        raise Conflict(
            f"what {undo.call} needs to undo {plan.action.id} cannot be computed: {problem}",
            next="Undo it in the system by hand, or mend `undo.with` in the catalog entry.",
        ) from None
