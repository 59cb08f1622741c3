"""What each kind of entry carries: the contract between those who append and the store that folds.

kind                    stream        body keys that projections are folded from
request                 request id    id action version caller customer conversation channel purpose key input_hash body_hash
                                      dry_run replaces undoes run        private: input reason recorded candidates
decision                request id    verdict status due reasons determined_by tiers facts obligations … (see `decision_body`);
                                      key where the request's own entry does not tell it  private: facts (name -> value), context
outcome                 request id    status error kind confirmed_by attempts             private: output comment
approval.opened         request id    approval request action customer proposed_by approver_sets four_eyes expires_at default
approval.decided        request id    approval request status decided_by replaced_by      private: comment
customer.changed        customer id   (nothing: all is personal)         private: attributes identities
customer.assurance      customer id   level method until
customer.consent        customer id   purpose granted channel data source
customer.erased         customer id   keys (id, proof) entries reason     (written by the erasure itself)
customer.hold           customer id   on reason
retention.applied       retention     keys classes proof                 (written by the step that destroys keys)
conversation.opened     conversation  customer channel
fact.recorded           conversation  name                               private: value
release.made            release hash  hash note gates requested
release.live            release hash  hash previous
key.created             key id        id caller hash expires_at scope actions replaces replaced_ends
key.revoked             key id        id
seal.key                seal          key endorsed                       (a key that signs checkpoints; folded by nobody)
run.started             run id        run journey key customer conversation parent depth root started_by private: input
run.advanced            run id        run status event went at waits error next_due; only where they changed: timers listens;
                                      took idle result                                               private: state texts
run.told                run id        run what by step …                                             private: comment input
signal                  signal id     type source id key keep starts                                 private: data
task.opened             run id        task run journey step what team person customer action due     private: text choices form show
task.moved              run id        task how team
task.answered           run id        task by how                                                    private: answer comment
store.restored          store         taken_at position sha256           (written by a restore; what was after `position` is lost)
store.redone            store         restored upto                      (what the lost time took away was done again; no `upto`: by hand)
data.opened             record        how case only since until after    (personal data was opened for somebody: the actor)

Folding rules:
- `request` inserts the request row (status `running` until a decision says otherwise).
- `decision` sets verdict and status; verdict allow on a write takes the claim and reservations of its Write.
- `due` in a decision is the **intent**: what it allows will be done, and its outcome is looked for from then on. It opens an intent;
  `outcome` closes it unless its status is `unknown` (then the intent stays open, `due` moves) or `stuck` (closed for the
  sweeper, listed for people). Records from before schema 0006 have the intent as an entry of its own, `intent` (request action
  key due), and the request's id in the bodies of `decision` and `outcome` too.
- `outcome` with status failed, and `approval.decided` with status rejected, edited or expired, free the request's claim and give back its
  reservations.
- `approval.decided` with status rejected, expired or edited sets the request's status to rejected, expired or replaced (and
  `replaced_by`); with status approved it leaves the status to the decision that comes with it.
- an `outcome` sets the request's status and error; done on a request that `undoes` another sets that one's `undone_by`.
- within one Write the frees come before the claim: a claim held by the request named in `expect` may be taken over by this Write.
- a repeated `customer.changed` merges attributes and identities (a null attribute removes it).
- `release.live` makes that release the live one.
- `run.started`, `run.told`, `task.answered`, a `signal` that somebody listens for, the end of a journey that another one started,
  and whatever settles a request that a run asked for put a line into the run's mailbox; if the run rests, it is woken. A `signal`
  that a journey listens for (`keep`) is kept for a week for runs that come to listen later: each hears it once, and one from
  before the run began only if nobody has heard it. What the holder of the run appends itself (`leg` in
  `takes`) is no news to it.
- `run.advanced` sets state, status, timers and listens of the run and removes from the mailbox what it `took`; with `idle` the
  run rests, unless something came meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from cxplane.domain.decision import (
    Allowed,
    Decision,
    FactValue,
    Grounds,
    Held,
    Obligations,
    Reason,
    Tier,
    Verdict,
)
from cxplane.domain.decision_body import fact_body, lean, obligations_body, over_body, reason_body, untold
from cxplane.domain.outcome import Attempt, Outcome, Status
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import BudgetExhausted, Entry, NewEntry, subject_of
from cxplane.domain.request import ActionRequest, Candidate
from cxplane.domain.values import kept


def request_entry(
    request: ActionRequest,
    *,
    version: int,
    key: str | None,
    body_hash: str | None = None,
    data: Collection[str] = (),
) -> NewEntry:
    """`data`: data classes of the action."""
    return NewEntry(
        kind="request",
        stream=request.id,
        at=request.at,
        actor=request.caller.name,
        body=lean(
            {
                "id": request.id,
                "action": request.action,
                "version": version,
                "caller": request.caller.name,
                "roles": sorted(request.caller.roles),
                "team": request.caller.team,
                "data": None if request.caller.data is None else sorted(request.caller.data),
                "customer": request.customer,
                "conversation": request.conversation,
                "channel": request.channel,
                "purpose": request.purpose,
                "confidence": request.confidence,
                "key": key,
                "input_hash": request.input_hash,
                "body_hash": body_hash,
                "dry_run": request.dry_run or None,
                "replaces": request.replaces,
                "undoes": request.undoes,
                "run": request.run,
            }
        ),
        private=lean(
            {
                "input": dict(request.input) or None,
                "reason": request.reason,
                "recorded": dict(request.recorded),
                "candidates": [
                    lean({"action": c.action, "score": c.score, "why_not": c.why_not}) for c in request.candidates
                ],
            }
        ),
        cause=request.cause,
        subject=subject_of(request.customer, request.conversation),
        data=tuple(data),
    )


def request_from(entry: Entry) -> ActionRequest:
    """The request as it was asked, from its entry."""
    body, private = entry.body, entry.private or {}
    kind, _, name = body["caller"].partition(":")
    return ActionRequest(
        id=body["id"],
        tenant=entry.tenant,
        action=body["action"],
        input=kept(private.get("input", {})),
        caller=Caller(
            kind=CallerKind(kind),
            id=name,
            roles=frozenset(body.get("roles", ())),
            team=body.get("team"),
            data=frozenset(body["data"]) if "data" in body else None,
        ),
        at=entry.at,
        customer=body.get("customer"),
        conversation=body.get("conversation"),
        channel=body.get("channel", "api"),
        purpose=body.get("purpose"),
        confidence=body.get("confidence"),
        reason=private.get("reason", ""),
        candidates=tuple(
            Candidate(c["action"], c.get("score"), c.get("why_not", "")) for c in private.get("candidates", ())
        ),
        recorded=kept(private.get("recorded", {})),
        dry_run=body.get("dry_run", False),
        replaces=body.get("replaces"),
        undoes=body.get("undoes"),
        cause=entry.cause,
        run=body.get("run"),
    )


def decision_status(decision: Decision) -> Status:
    if decision.request.dry_run:
        return Status.PREVIEWED
    return {Verdict.ALLOW: Status.RUNNING, Verdict.HOLD: Status.HELD, Verdict.REFUSE: Status.REFUSED}[decision.verdict]


def decision_entry(
    decision: Decision,
    *,
    at: datetime | None = None,
    data: Collection[str] = (),
    due: datetime | None = None,
    keyed: bool = True,
) -> NewEntry:
    """`at` is the time by the wall; what judging saw as `now` is kept beside it where the two differ.

    `due`: the intent to do it, and from when on its outcome is looked for. `keyed`: False where the request's entry tells the key.
    """
    grounds = decision.grounds
    at = at or grounds.at
    body = lean(
        {
            "verdict": decision.verdict.value,
            "status": decision_status(decision).value,
            "due": due.isoformat() if due else None,
            "key": decision.key if keyed and isinstance(decision, (Allowed, Held)) else None,
            "determined_by": grounds.determined_by,
            "reasons": [reason_body(r) for r in grounds.reasons],
            "tiers": [
                lean({"action": t.action, "outcome": t.outcome, "policies": list(t.policies), "errors": list(t.errors)})
                for t in grounds.tiers
            ],
            "facts": {f.name: fact_body(f, grounds.at) for f in grounds.facts},
            "obligations": obligations_body(grounds.obligations),
            "mode": grounds.mode if grounds.mode != "act" else None,
            "money": grounds.money,
            "approver": grounds.approver,
            "took_ms": round(grounds.took_ms, 2),
            "facts_ms": round(grounds.facts_ms, 2) or None,
            "over": over_body(grounds.over),
            "now": grounds.at.isoformat() if grounds.at != at else None,
        }
    )
    if isinstance(decision, Held):
        body["approver_sets"] = [sorted(s) for s in decision.approver_sets]
        body["expires_at"] = decision.expires_at.isoformat()
        body["default"] = decision.default
    return NewEntry(
        kind="decision",
        stream=decision.request.id,
        at=at,
        actor="cxplane",
        body=body,
        private=lean({"facts": {f.name: f.value for f in grounds.facts}, "context": untold(decision)}),
        release=grounds.release,
        subject=subject_of(decision.request.customer, decision.request.conversation),
        data=tuple(data),
    )


def judged_at(entry: Entry) -> datetime:
    """What judging saw as `now`; the entry itself tells the time by the wall."""
    return datetime.fromisoformat(entry.body["now"]) if "now" in entry.body else entry.at


def grounds_from(entry: Entry) -> Grounds:
    """What led to the decision, from its entry. Of its context, what is kept (`SEEN`)."""
    body, private = entry.body, entry.private or {}
    obligations = body.get("obligations", {})
    values = kept(private.get("facts", {}))
    now = judged_at(entry)
    return Grounds(
        release=entry.release or "",
        at=now,
        reasons=tuple(
            Reason(
                code=r["code"],
                text=r["text"],
                effect=Verdict(r["effect"]),
                policy=r.get("policy"),
                file=r.get("file"),
                line=r.get("line"),
                where=r.get("where"),
            )
            for r in body.get("reasons", ())
        ),
        determined_by=body["determined_by"],
        facts=tuple(
            FactValue(
                name,
                values.get(name),
                f["source"],
                datetime.fromisoformat(f["as_of"]) if "as_of" in f else now,
                f.get("age_s", 0.0),
            )
            for name, f in body.get("facts", {}).items()
        ),
        tiers=tuple(
            Tier(t["action"], t["outcome"], tuple(t.get("policies", ())), tuple(t.get("errors", ())))
            for t in body.get("tiers", ())
        ),
        obligations=Obligations(
            approvers=frozenset(r for s in obligations.get("approver_sets", ()) for r in s),
            approver_sets=tuple(frozenset(s) for s in obligations.get("approver_sets", ())),
            require=frozenset(obligations.get("require", ())),
            cites=frozenset(obligations.get("cites", ())),
            expires_s=obligations.get("expires_s"),
            default=obligations.get("default", "refuse"),
        ),
        context=kept(private.get("context", {})),
        mode=body.get("mode", "act"),
        money=body.get("money"),
        approver=body.get("approver"),
        took_ms=body.get("took_ms", 0.0),
        facts_ms=body.get("facts_ms", 0.0),
        over=BudgetExhausted(**body["over"]) if "over" in body else None,
    )


def request_of(entry: Entry) -> str | None:
    """The request that an entry is about, or None."""
    if entry.kind in ("request", "decision", "outcome"):
        return entry.stream
    named: str | None = entry.body.get("request")
    return named


def is_intent(entry: Entry) -> bool:
    """Whether what it tells of is going to be done: an outcome must follow."""
    return entry.kind == "intent" or (entry.kind == "decision" and "due" in entry.body)


def key_from(entries: Iterable[Entry]) -> str | None:
    """The business key of a request, from its entries: of its last decision, else as it was asked for."""
    said = [e.body["key"] for e in entries if e.kind in ("request", "decision") and "key" in e.body]
    return said[-1] if said else None


def outcome_entry(
    outcome: Outcome,
    *,
    release: str,
    subject: str | None,
    data: Collection[str] = (),
    due: datetime | None = None,
    actor: str = "cxplane",
    comment: str = "",
) -> NewEntry:
    """`due` says when to look again, for an outcome that is still unknown; `comment` is a person's who settled it."""
    return NewEntry(
        kind="outcome",
        stream=outcome.request,
        at=outcome.at,
        actor=actor,
        body=lean(
            {
                "status": outcome.status.value,
                "confirmed_by": outcome.confirmed_by,
                "error": outcome.error,
                "kind": outcome.kind,
                "attempts": [
                    lean({"at": a.at.isoformat(), "took_ms": round(a.took_ms, 2), "result": a.result, "said": a.said})
                    for a in outcome.attempts
                ],
                "due": due.isoformat() if due else None,
            }
        ),
        private=lean({"output": None if outcome.output is None else dict(outcome.output), "comment": comment}) or None,
        release=release,
        subject=subject,
        data=tuple(data),
    )


def outcome_from(entry: Entry) -> Outcome:
    body = entry.body
    return Outcome(
        request=entry.stream,
        status=Status(body["status"]),
        at=entry.at,
        output=(entry.private or {}).get("output"),
        confirmed_by=body.get("confirmed_by"),
        error=body.get("error"),
        kind=body.get("kind"),
        attempts=tuple(
            Attempt(datetime.fromisoformat(a["at"]), a["took_ms"], a["result"], a.get("said", ""))
            for a in body.get("attempts", ())
        ),
    )


def approval_opened(held: Held, approval: str, *, four_eyes: bool, at: datetime | None = None) -> NewEntry:
    return NewEntry(
        kind="approval.opened",
        stream=held.request.id,
        at=at or held.grounds.at,
        actor="cxplane",
        body=lean(
            {
                "approval": approval,
                "request": held.request.id,
                "action": held.request.action,
                "customer": held.request.customer,
                "proposed_by": held.request.caller.name,
                "approver_sets": [sorted(s) for s in held.approver_sets],
                "four_eyes": four_eyes or None,
                "expires_at": held.expires_at.isoformat(),
                "default": held.default,
            }
        ),
        release=held.grounds.release,
    )


def approval_decided(
    approval: str,
    request: str,
    *,
    status: str,
    by: str,
    at: datetime,
    subject: str | None,
    comment: str = "",
    replaced_by: str | None = None,
) -> NewEntry:
    """`status`: approved | rejected | edited | expired. `by`: caller name, or "cxplane" when it expired."""
    return NewEntry(
        kind="approval.decided",
        stream=request,
        at=at,
        actor=by,
        body=lean(
            {"approval": approval, "request": request, "status": status, "decided_by": by, "replaced_by": replaced_by}
        ),
        private={"comment": comment} if comment else None,
        subject=subject,
    )


def release_made(
    hash: str, *, note: str, gates: Mapping[str, str], at: datetime, actor: str, requested: datetime | None = None
) -> NewEntry:
    """`requested`: when the change was asked for, or written."""
    asked = requested.isoformat() if requested else None
    body = lean({"hash": hash, "note": note, "gates": dict(gates), "requested": asked})
    return NewEntry("release.made", hash, at, actor, body, release=hash)


def release_live(hash: str, *, previous: str | None, at: datetime, actor: str) -> NewEntry:
    return NewEntry("release.live", hash, at, actor, lean({"hash": hash, "previous": previous}), release=hash)
