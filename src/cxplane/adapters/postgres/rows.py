"""Rows of Postgres as words of the domain, and cursors of lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from cxplane.domain.customer import Assurance, Consent, Customer, Identity, Recorded
from cxplane.domain.errors import Malformed
from cxplane.domain.record import ApprovalRow, Entry, Fence, KeyRow, Mail, OpenIntent, RequestRow, TakenRun, Wanted
from cxplane.domain.run import RunRow, TaskRow

_RELEASE = "(select n.hash from cxplane.release_name n where n.id = release) as release"
REQUEST = (
    f"id, action, caller, customer, conversation, verdict, status, key, input_hash, body_hash, {_RELEASE}, at,"
    " updated_at, approval, error, replaced_by, undone_by, run"
)
ENTRY = f"position, tenant, kind, stream, at, actor, body, private, {_RELEASE}, cause"
APPROVAL = (
    "id, request, action, customer, proposed_by, approver_sets, four_eyes, status, opened_at, expires_at, fallback,"
    " decided_by, decided_at, comment, replaced_by"
)
RUN = (
    f"id, journey, {_RELEASE}, status, started_at, updated_at, started_by, customer, conversation, key, parent, at, waits,"
    " error, next_due"
)
TASK = (
    "id, run, journey, step, what, team, status, opened_at, customer, person, action, told, due, escalated, reminded_at,"
    " answered_by, answered_at, answer"
)
CUSTOMER = "id, attributes, identities, assurances, consents"
KEY = "id, caller, created_at, created_by, expires_at, revoked_at, scope, actions, replaces"


COMMON = ("request", "decision", "intent", "outcome")  # every other kind has an index of its own


def wanted(which: Wanted, values: list[Any]) -> str:
    """More conditions on `cxplane.entry e`; what they compare with is added to `values`."""
    where = ""
    for column, by, value in (
        ("kind", "= any(${})", list(which.kinds)),
        ("at", ">= ${}", which.since),
        ("at", "< ${}", which.until),
    ):
        if value:
            values.append(value)
            where += f" and e.{column} {by.format(len(values))}"
    if which.kinds and not set(which.kinds) & set(COMMON):
        where += f" and e.kind not in {COMMON}"  # said in so many words, so that the index serves
    return where


def request_row(row: Any) -> RequestRow:
    return RequestRow(*row)


def entry(row: Any) -> Entry:
    return Entry(*row)


def approval_row(row: Any, comment: str | None) -> ApprovalRow:
    values = list(row)
    values[13] = comment
    values[5] = tuple(tuple(s) for s in values[5])
    return ApprovalRow(*values)


def intent(row: Any) -> OpenIntent:
    return OpenIntent(row["request"], row["action"], row["key"], row["due"], row["tries"])


def key_row(row: Any) -> KeyRow:
    values = list(row)
    values[6:8] = (None if one is None else frozenset(one) for one in values[6:8])
    return KeyRow(*values)


def run_row(row: Any, waits: Sequence[str]) -> RunRow:
    values = list(row)[:15]
    values[11], values[12] = tuple(values[11]), tuple(waits)
    return RunRow(*values)


def task_row(row: Any, told: Mapping[str, Any] | None, answer: Mapping[str, Any] | None) -> TaskRow:
    told, answer = told or {}, answer or {}
    return TaskRow(
        id=row["id"],
        run=row["run"],
        journey=row["journey"],
        step=row["step"],
        what=row["what"],
        team=row["team"],
        status=row["status"],
        opened_at=row["opened_at"],
        customer=row["customer"],
        person=row["person"],
        action=row["action"],
        text=told.get("text", ""),
        choices=tuple(told.get("choices", ())),
        form=told.get("form", {}),
        show=told.get("show", {}),
        due=row["due"],
        escalated=row["escalated"],
        reminded_at=row["reminded_at"],
        answered_by=row["answered_by"],
        answered_at=row["answered_at"],
        answer=answer.get("answer"),
        comment=answer.get("comment"),
    )


KNOWN = (
    "c.id, c.attributes, c.identities, c.assurances, c.consents,"
    " v.id is not null as known, v.customer as talks_to, v.recorded, k.id as key_id, k.wrapped, k.wrapped_by,"
    " concat(c.version, '/', v.version) as version"
)
# what is known of the customer and the conversation of each row w (tenant, customer, conversation); one by one by their key
# (offset 0): with policies in the way, an early plan would hash all customers
KNOWN_OF = (
    " left join lateral (select *, xmin as version from cxplane.customer where tenant = w.tenant and id = w.customer offset 0) c"
    " on true"
    " left join lateral (select id, wrapped, wrapped_by from cxplane.subject_key where tenant = w.tenant"
    " and subject = w.customer and shelf = '' and wrapped is not null offset 0) k on c.id is not null"
    " left join lateral (select *, xmin as version from cxplane.conversation where tenant = w.tenant and id = w.conversation"
    " offset 0) v on true"
)


def taken_run(
    tenant: str, found: Mapping[str, Any], input: Any, state: Any, privates: Sequence[Any], *, known: object
) -> TakenRun:
    """From what `cxplane.take_runs` answers; `privates`: those of the mail."""
    return TakenRun(
        fence=Fence(found["i"], found["e"]),
        before=found["o"],
        row=RunRow(
            id=found["i"],
            journey=found["j"],
            release=found["l"],
            status=found["s"],
            started_at=datetime.fromisoformat(found["a"]),
            updated_at=datetime.fromisoformat(found["u"]),
            started_by=found["b"],
            customer=found["c"],
            conversation=found["v"],
            key=found["k"],
            parent=found["p"],
        ),
        input=input or {},
        state=state,
        mail=tuple(Mail(ref, body, private) for (ref, body, _), private in zip(found["m"], privates, strict=True)),
        known=known,
    )


def customer(row: Any, attributes: Mapping[str, Any], identities: Sequence[Mapping[str, str]]) -> Customer:
    return Customer(
        id=row["id"],
        attributes=attributes,
        identities=tuple(dict.fromkeys(Identity(i["kind"], i["value"]) for i in identities)),
        assurances=tuple(
            Assurance(a["level"], a["method"], datetime.fromisoformat(a["until"])) for a in row["assurances"]
        ),
        consents=tuple(
            Consent(
                purpose=c["purpose"],
                granted=c["granted"],
                at=datetime.fromisoformat(c["at"]),
                source=c["source"],
                channel=c["channel"],
                data=frozenset(c["data"]),
            )
            for c in row["consents"]
        ),
    )


def recorded(values: Mapping[str, Any]) -> dict[str, Recorded]:
    """What was erased has no value any more, and counts as never recorded."""
    return {
        name: Recorded(name, v["value"], v["by"], datetime.fromisoformat(v["at"]))
        for name, v in values.items()
        if "value" in v
    }


def cursor(*parts: datetime | str) -> str:
    """Where the next page starts; opaque to callers."""
    texts = [p.isoformat() if isinstance(p, datetime) else p for p in parts]
    return base64.urlsafe_b64encode(msgspec.json.encode(texts)).rstrip(b"=").decode()


def from_cursor(text: str, count: int) -> list[str]:
    """Raises Malformed for what is not a cursor of ours."""
    try:
        parts = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=list[str])
        if len(parts) != count or any("\x00" in part for part in parts):
            raise ValueError(count)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Malformed(
            "the cursor is not one of ours", where="/cursor", next="Start again without a cursor."
        ) from None
    return parts


def time_cursor(text: str) -> tuple[datetime, str]:
    """(time, id) of the last row seen."""
    at, id = from_cursor(text, 2)
    try:
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError(at)
        return moment.astimezone(UTC), id
    except (ValueError, OverflowError):
        raise Malformed(
            "the cursor is not one of ours", where="/cursor", next="Start again without a cursor."
        ) from None
