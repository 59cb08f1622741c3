"""What people answer, checked against what was asked."""

from __future__ import annotations

from cxplane.decide.shape import Contract, not_plain
from cxplane.domain.errors import Malformed
from cxplane.domain.run import TaskRow
from cxplane.domain.values import JsonObject

FREEING = ("retry", "skip", "cancel", "fail")


def checked(task: TaskRow, answer: JsonObject) -> JsonObject:
    """The answer as it is kept. Malformed says what an answer to this task looks like."""
    if (problem := not_plain(dict(answer))) is not None:
        raise Malformed(f"the answer{problem}", where="/answer")
    match task.what:
        case "approve" | "do" | "propose":
            _only(answer, {"approved"} | ({"input"} if task.what != "approve" else set()))
            if not isinstance(answer.get("approved"), bool):
                raise _looks('{"approved": true} or {"approved": false}')
            if "input" in answer and not isinstance(answer["input"], dict):
                raise Malformed("input is a map", where="/answer/input")
        case "choose":
            _only(answer, {"choice"})
            if answer.get("choice") not in task.choices:
                raise _looks(f'{{"choice": …}} with one of {", ".join(task.choices)}')
        case "fill":
            _only(answer, {"values"})
            values = answer.get("values")
            if not isinstance(values, dict):
                raise _looks('{"values": {…}} as the form of the task says')
            for reason in Contract(task.form, closed=False).wrong(values):
                raise Malformed(reason.text, where=f"/answer/values{reason.where or ''}")
        case "stuck":
            _only(answer, {"do"})
            if answer.get("do") not in FREEING:
                raise _looks(f'{{"do": …}} with one of {", ".join(FREEING)}')
        case _:
            _only(answer, {"done", "note"})
            if answer.get("done") is not True:
                raise _looks('{"done": true} when you are finished')
    return dict(answer)


def _only(answer: JsonObject, known: set[str]) -> None:
    if extra := sorted(set(answer) - known):
        raise Malformed(f"an answer to this task has no {extra[0]!r}", where=f"/answer/{extra[0]}")


def _looks(like: str) -> Malformed:
    return Malformed("this is no answer to what was asked", where="/answer", next=f"Answer {like}.")
