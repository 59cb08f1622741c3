"""Entries of journeys that are written outside a leg. What each carries is in `domain/entries.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cxplane.domain.decision_body import lean
from cxplane.domain.record import NewEntry, subject_of


def run_started(
    id: str,
    *,
    journey: str,
    key: str | None,
    customer: str | None,
    conversation: str | None,
    input: Mapping[str, Any],
    started_by: str,
    at: datetime,
    release: str,
    parent: str | None = None,
    cause: str | None = None,
    depth: int = 0,
    root: str | None = None,
) -> NewEntry:
    """`parent`: the run that started it and waits for its end. `depth`: see `Run`. `root`: the run that all this began with."""
    return NewEntry(
        "run.started",
        id,
        at,
        started_by,
        lean(
            {
                "run": id,
                "journey": journey,
                "key": key,
                "customer": customer,
                "conversation": conversation,
                "parent": parent,
                "started_by": started_by,
                "depth": depth or None,
                "root": root,
            }
        ),
        {"input": dict(input)} if input else None,
        release=release,
        cause=cause,
        subject=subject_of(customer, conversation),
    )


def run_told(
    id: str,
    *,
    what: str,
    by: str,
    at: datetime,
    subject: str | None,
    comment: str = "",
    private: Mapping[str, Any] | None = None,
    **more: Any,
) -> NewEntry:
    """A person or system steers a run; `more`: step, compensate, positions, release."""
    kept = lean({"comment": comment, **(private or {})})
    body = lean({"run": id, "what": what, "by": by, **more})
    return NewEntry("run.told", id, at, by, body, kept or None, subject=subject)


def signal_entry(
    stream: str,
    *,
    type: str,
    source: str,
    id: str,
    key: str,
    data: Any,
    at: datetime,
    actor: str,
    subject: str | None,
    cause: str | None = None,
) -> NewEntry:
    body = {"type": type, "source": source, "id": id, "key": key}
    private = {"data": data} if data is not None else None
    return NewEntry("signal", stream, at, actor, body, private, cause=cause, subject=subject)


def task_answered(
    task: str,
    run: str,
    *,
    by: str,
    how: str,
    answer: Mapping[str, Any],
    at: datetime,
    subject: str | None,
    comment: str = "",
) -> NewEntry:
    """`how`: answered | defaulted."""
    body = {"task": task, "run": run, "by": by, "how": how}
    private = lean({"answer": dict(answer), "comment": comment})
    return NewEntry("task.answered", run, at, by, body, private, subject=subject)
