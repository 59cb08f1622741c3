"""Journeys that between them use every task word and every way on."""

from __future__ import annotations

from datetime import timedelta

from cxplane.domain.catalog import Mode
from cxplane.domain.journey import (
    Aim,
    AskPerson,
    Assign,
    Branch,
    Call,
    Case,
    Charter,
    Checkpoint,
    Do,
    Emit,
    Escalation,
    Expected,
    For,
    Fork,
    Goal,
    HandOver,
    Journey,
    Listen,
    Raise,
    Retry,
    RunJourney,
    Say,
    Start,
    Step,
    Switch,
    Try,
    Undo,
    Wait,
)

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def charter(*actions: str) -> Charter:
    return Charter(
        owner="billing-care",
        actions=frozenset(actions),
        data=frozenset({"billing", "contact"}),
        roles=frozenset({"journey"}),
        approvals={"billing.issue_credit": "above 20.00 a supervisor"},
        exceptions="billing-care",
        success=(Aim("disputes_settled_first_time", ">= 0.8"),),
        counter=(Aim("credits_reversed", "<= 0.02"),),
        summary="Disputed lines",
    )


DISPUTE = Journey(
    id="billing_dispute",
    version=2,
    summary="A disputed invoice line is settled in billing, CRM and cases.",
    owner="billing-care",
    charter=charter("billing.issue_credit", "cases.add_note", "cases.close", "crm.flag", "crm.send_message"),
    input={"type": "object", "required": ["dispute_id"], "properties": {"dispute_id": {"type": "string"}}},
    start=(Start("billing.dispute_opened", when="signal.data.amount > 0", customer="signal.data.customer_id"),),
    key=("dispute_id",),
    say="crm.send_message",
    steps=(
        Call("note_opened", action="cases.add_note", with_={"text": "'Dispute ' + input.dispute_id + ' opened'"}),
        Say("tell_customer", with_={"text": "'We look into it'"}, action="crm.send_message"),
        Switch(
            "size",
            cases=(
                Case("small", "input.amount <= 20.0", steps=(Assign("accept", values={"credit": "input.amount"}),)),
                Case(
                    "large",
                    "input.amount <= 500.0",
                    steps=(
                        AskPerson(
                            "judge",
                            summary="Is the customer right?",
                            team="billing-care",
                            what="approve",
                            text="'Credit ' + string(input.amount) + '?'",
                            due=2 * DAY,
                            remind=DAY,
                            escalate=Escalation(DAY, "supervisors"),
                        ),
                    ),
                ),
                Case("otherwise", None, then="by_hand"),
            ),
        ),
        Try(
            "settle",
            errors=("unavailable", "failed"),
            retry=Retry(times=3, delay=10 * MINUTE),
            compensate=True,
            steps=(
                Fork(
                    "book",
                    until="all",
                    branches=(
                        Branch(
                            "billing",
                            (
                                Call(
                                    "credit",
                                    action="billing.issue_credit",
                                    with_={
                                        "amount": "has(vars.credit) ? vars.credit : input.amount",
                                        "reason": "'overcharge'",
                                    },
                                ),
                            ),
                        ),
                        Branch("crm", (Call("flag", action="crm.flag", with_={"on": "true"}),)),
                    ),
                ),
                Wait("let_it_book", for_=2 * HOUR),
            ),
            catch=(Say("say_sorry", with_={"text": "'It takes longer'"}, action="crm.send_message"),),
        ),
        Goal(
            "settled",
            goal="dispute_settled",
            achieved="has(steps.credit)",
            evidence={"credit": "steps.credit.credit_id"},
        ),
        Call("close", action="cases.close", with_={"case_id": "input.case_id"}, then="end"),
        HandOver("by_hand", team="billing-care", text="'Too much to settle alone'", wait=True),
    ),
)

EVERYTHING = Journey(
    id="everything_there_is",
    version=1,
    summary="Every task word once, & every way on: <forwards>, backwards and to the end.",
    owner="claims",
    charter=charter("crm.send_message", "claims.open", "claims.pay", "claims.add_document"),
    say="crm.send_message",
    mode=Mode.ACT,
    patience=2 * DAY,
    on_failure="compensate",
    steps=(
        Checkpoint(
            "sanctions", check="facts.sanctions == 'clear'", text="Sanctions are checked", before=("claims.pay",)
        ),
        Do(
            "intake",
            summary="What we know so far",
            steps=(
                Call(
                    "open_claim",
                    action="claims.open",
                    with_={"policy": "input.policy", "amount": "3"},
                    recorded={"photo": "input.photo"},
                    reason="'reported by phone'",
                    mode=Mode.PROPOSE,
                    team="claims-desk",
                    patience=6 * HOUR,
                ),
                Assign("count", when="input.again == true", values={"asked": "0", "missing": "input.documents"}),
            ),
        ),
        For(
            "each_document",
            each="document",
            in_="vars.missing",
            while_="vars.asked < 5",
            steps=(
                Say("ask_for_it", with_={"text": "'Please send ' + document"}, action="crm.send_message"),
                Listen(
                    "await_document",
                    until="any",
                    signals=(
                        Expected("documents.received", key="input.claim_id", where="signal.data.name == document"),
                    ),
                    within=2 * DAY,
                ),
            ),
        ),
        Listen("both_reports", until="all", signals=(Expected("police.report"), Expected("garage.report"))),
        AskPerson(
            "assess",
            team="assessors",
            what="choose",
            text="'What is it?'",
            choices=("pay", "decline", "more"),
            show={"claim": "input.claim_id"},
            due=3 * DAY,
            default="more",
            has_default=True,
        ),
        Switch(
            "which_way",
            cases=(
                Case("more_documents", "steps.assess.choice == 'more'", then="each_document"),
                Case(
                    "pay",
                    "steps.assess.choice == 'pay'",
                    steps=(
                        AskPerson(
                            "iban",
                            person="person:lena.brandt",
                            team="claims-desk",
                            what="fill",
                            text="'Where to?'",
                            form={"type": "object", "properties": {"iban": {"type": "string"}}},
                        ),
                        Call("pay_out", action="claims.pay", with_={"iban": "steps.iban.values.iban"}),
                    ),
                ),
                Case("declined", "steps.assess.choice == 'decline'", then="end"),
            ),
        ),
        Fork(
            "whoever_is_first",
            until="any",
            branches=(
                Branch("time", (Wait("until_friday", until="timestamp('2026-11-27T12:00:00Z')"),)),
                Branch("signal", (Listen("cancelled", signals=(Expected("claims.cancelled"),)),)),
                Branch(
                    "child",
                    (RunJourney("after_care", journey="after_care", with_={"claim_id": "input.claim_id"}, wait=False),),
                ),
            ),
        ),
        Try(
            "tidy",
            errors=("timeout",),
            catch_when="error.step == 'tell_all'",
            steps=(Emit("tell_all", signal="claims.settled", key="input.claim_id", data={"paid": "true"}),),
            catch=(Undo("take_back", steps=("pay_out",)), Raise("give_up", error="not_settled", text="'gave up'")),
        ),
        HandOver("inform_desk", team="claims-desk", text="'done'", wait=False),
        Goal("paid", goal="claim_paid", achieved="steps.pay_out.ok"),
    ),
)

LONG_NAMES = Journey(
    id="a_journey_with_a_name_that_is_longer_than_what_the_standard_allows_for_one",
    version=1,
    summary="Long " * 40,
    owner="claims",
    charter=charter("crm.send_message"),
    say="crm.send_message",
    needs_customer=False,
    steps=(
        Say(
            "a_step_whose_name_goes_on_and_on_beyond_what_any_box_can_hold_at_a_time",
            summary="And a summary that goes on as well, <with> “signs” & all that one should not trust to markup",
            with_={"text": "'hello'"},
            action="crm.send_message_through_the_channel_that_the_customer_likes_best",
        ),
        Undo("everything_back"),
        Wait("a_moment", for_=timedelta(seconds=90, milliseconds=250)),
    ),
)

DEEP = Journey(
    id="case_within_case",
    version=3,
    summary="Blocks in blocks in blocks.",
    owner="claims",
    charter=charter("claims.pay"),
    steps=(
        Try(
            "outer",
            steps=(
                For(
                    "lines",
                    in_="input.lines",
                    each="line",
                    steps=(
                        Switch(
                            "kind",
                            when="line.amount > 0",
                            cases=(
                                Case(
                                    "goods",
                                    "line.kind == 'goods'",
                                    steps=(
                                        Try(
                                            "inner",
                                            steps=(Call("pay", action="claims.pay"),),
                                            errors=("refused",),
                                            catch=(HandOver("look_at_it", team="claims"),),
                                        ),
                                    ),
                                ),
                                Case("service", "line.kind == 'service'", steps=(Wait("pause", for_=HOUR),)),
                                Case("free", None, steps=()),
                            ),
                        ),
                    ),
                ),
            ),
            retry=Retry(times=2, backoff=1.0),
        ),
        Call("again", action="claims.pay", then="outer", when="vars.more"),
        Assign("finished", values={"done": "true"}),
    ),
)

ALL: tuple[Journey, ...] = (DISPUTE, EVERYTHING, LONG_NAMES, DEEP)


def wide(steps: int) -> Journey:
    """A journey of so many steps: switches and forks within tries, one after the other."""
    made: list[Step] = []
    n = 0
    while n < steps:
        made.append(
            Try(
                f"try_{n}",
                steps=(
                    Switch(
                        f"switch_{n}",
                        cases=(
                            Case("one", "true", steps=(Call(f"call_{n}", action="claims.pay"),)),
                            Case("two", None, steps=(Wait(f"wait_{n}", for_=DAY),)),
                        ),
                    ),
                    Fork(
                        f"fork_{n}",
                        branches=(
                            Branch("a", (Call(f"a_{n}", action="claims.pay"), Wait(f"aw_{n}", for_=DAY))),
                            Branch("b", (Call(f"b_{n}", action="claims.pay"),)),
                        ),
                    ),
                ),
                errors=("failed",),
                catch=(HandOver(f"hand_{n}", team="claims"), Undo(f"undo_{n}", steps=(f"call_{n}",))),
            )
        )
        n += 10
    return Journey(
        id="wide",
        version=1,
        summary="Wide",
        owner="claims",
        charter=charter("claims.pay"),
        steps=tuple(made),
    )
