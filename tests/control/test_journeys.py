from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.control.load import load
from cxplane.control.release import build
from cxplane.control.shapes import schema_text
from cxplane.control.test import run_tests
from cxplane.control.yaml import front_matter, parse
from cxplane.domain.catalog import Mode
from cxplane.domain.journey import (
    WORDS,
    Aim,
    AskPerson,
    Call,
    Escalation,
    Fork,
    HandOver,
    Journey,
    Listen,
    Retry,
    RunJourney,
    Say,
    Switch,
    Try,
    Undo,
    Wait,
)
from cxplane.domain.people import CallerKind
from tests.control.journey_world import (
    APOLOGY,
    APOLOGY_CHARTER,
    JOURNEYS,
    LATE,
    LATE_CHARTER,
    SEND,
    TAKE_BACK,
    VOUCHER,
)
from tests.control.world import FILES, JOURNEY, REFUND, changed, line_of, mistakes

# fmt: off
# file, what is replaced, by what, the text on whose line the mistake stands, what it says, what the hint says
SHAPE = [
    (LATE, "version: 2", "verson: 2", "verson", "unknown key 'verson'", "did you mean version?"),
    (LATE, "      call: shop.get_order", "      cal: shop.get_order", "order:", "step order has no task word", "did you mean call?"),
    (LATE, "      call: shop.get_order\n      with: {order_id: input.order_id}", "      summary: nothing", "order:", "step order has no task word", "one of do, call, say"),
    (LATE, "      with: {order_id: input.order_id}\n  - paid", "      wait: 1d\n  - paid", "wait: 1d", "step order has several task words: call, wait", "a step of its own"),
    (LATE, "      with: {order_id: input.order_id}\n  - paid", "      wiht: {order_id: input.order_id}\n  - paid", "wiht", "step order: unknown key 'wiht'", "did you mean with?"),
    (LATE, "call: shop.get_order", "call: get_order", "call: get_order", "step order: call must be an action's id, not 'get_order'", "billing.issue_credit"),
    (LATE, "  - order:\n      call: shop.get_order\n      with:", "  - order:\n    call: shop.get_order\n    with:", "- order:", "has several names: order, call, with", "indent what belongs to a step"),
    (LATE, "  - back: {if: false == true, undo: voucher}", "  - back", "- back", "is no step", "- credit: {call:"),
    (LATE, "  - back: {if: false == true, undo: voucher}", "  - back:", "- back", "step back says nothing", "- credit: {call:"),
    (LATE, "  - back: {if:", "  - Take-Back: {if:", "Take-Back", "'Take-Back' is not a name in lower case letters, digits and _", "issue_credit"),
    (LATE, "  - back: {if:", "  - end: {if:", "- end:", "no step is called 'end'", "rename"),
    (LATE, "if: false == true", "if: false", "- back:", "step back: if must be a CEL expression, not false", "quote it"),
    (LATE, "patience: 1h}", "patience: soon}", "voucher:", "step voucher: patience must be a span of time, not 'soon'", "5s"),
    (LATE, "a_day: {wait: 1d}", "a_day: {wait: tomorrow}", "a_day", "step a_day: wait must be a span of time, or {until: a CEL", "2d"),
    (LATE, "later: {wait: {until: now}}", "later: {wait: {til: now}}", "later", "step later: unknown key 'til' in wait", "did you mean until?"),
    (LATE, "        until: any\n", "        until: most\n", "until: most", "step meanwhile: fork.until must be one of all, any, not 'most'", ""),
    (LATE, "{listen: {signal: shop.reply, key: input.order_id, where: signal.data.ok, within: 2d}}", "{listen: {within: 2d}}", "heard:", "step reply: listen must have one of signal, any, all", ""),
    (LATE, "listen: {all: [{signal: shop.a}", "listen: {key: input.why, all: [{signal: shop.a}", "both:", "step both: listen has key, but no signal", ""),
    (LATE, "listen: {all: [{signal: shop.a}", "listen: {signal: shop.c, all: [{signal: shop.a}", "both:", "step both: listen has signal and all", "keep one"),
    (LATE, "person: sam, choose", "person: sam, team: service-team, choose", "ask: {person", "step choice: ask has team and person", "keep one"),
    (LATE, "ask: {person: sam, choose", "ask: {choose", "ask: {choose", "step choice: ask must have one of team, person", ""),
    (LATE, "choices: [gift, none], ", "", "ask: {person", "step choice: ask has choose, but no choices", ""),
    (LATE, "choose: \"'Which?'\"", "fill: \"'x'\", choose: \"'Which?'\"", "ask: {person", "step choice: ask has choose and fill", "keep one"),
    (LATE, "choose: \"'Which?'\", choices: [gift, none], due: 1d, default: none", "due: 1d", "ask: {person", "step choice: ask must have one of approve, choose, fill", ""),
    (LATE, "due: 1d, default: none", "default: none", "ask: {person", "step choice: ask has default, but no due", ""),
    (LATE, "backoff: 3", "backoff: 0.5", "retry:", "step pay_back: catch.retry.backoff must be at least 1", ""),
    (LATE, "      catch:", "      cach:", "cach:", "step pay_back: unknown key 'cach'", "did you mean catch?"),
    (LATE, "text: Only what was paid comes back., ", "", "checkpoint:", "step paid: checkpoint has no 'text'", "add it"),
    (LATE, "hand_over: {team: service-team, text", "hand_over: {text", "over:", "step over: hand_over has no 'team'", "billing-care"),
    (LATE, "do: [{oops: {raise: {error: too_late, text: \"'x'\"}}}]", "do: []", "block:", "step block: do must be a list of steps, and there is none", "- credit"),
    (LATE, "do: [{a_day: {wait: 1d}}]", "do: {a_day: {wait: 1d}}", "waited:", "step meanwhile: do must be a list of steps", "- credit"),
    (LATE, "mode: person", "mode: alone", "mode: alone", "step refund: mode must be one of person, propose, act", ""),
    (LATE, "on_failure: compensate", "on_failure: undo", "on_failure", "on_failure must be one of hand_over, compensate, fail", ""),
    (LATE_CHARTER, "counter: [{measure: refunds, target: \"<= 0.1\"}]\n", "", None, "the file has no 'counter'", "add it"),
    (LATE_CHARTER, "success: [{measure: made_good, target: \">= 0.9\"}]", "success: []", "success", "success must have at least 1 item", ""),
    (LATE_CHARTER, "exceptions: service-team\n", "", None, "the file has no 'exceptions'", "add it"),
    (LATE_CHARTER, 'target: ">= 0.9"', "target: many", "success", "success[0].target must be a comparison with a number, not 'many'", ">= 0.8"),
    (LATE_CHARTER, "---\njourney", "journey", None, "the charter is missing", "between two lines of ---"),
]

REFERENCES = [
    (LATE, "journey: late_order", "journey: late_ordr", "journey:", "the file's place says 'late_order'", "rename"),
    (LATE_CHARTER, "journey: late_order", "journey: late", "journey:", "the file's place says 'late_order'", "rename"),
    (LATE, "owner: service-team", "owner: servce-team", "owner", "the team 'servce-team' is unknown", "service-team?"),
    (LATE_CHARTER, "owner: service-team", "owner: servce-team", "owner", "the team 'servce-team' is unknown", "service-team?"),
    (LATE_CHARTER, "exceptions: service-team", "exceptions: nobody", "exceptions", "the team 'nobody' is unknown", "known:"),
    (LATE_CHARTER, "roles: [service-agent]", "roles: [servce-agent]", "roles", "the role 'servce-agent' is unknown", "service-agent?"),
    (LATE_CHARTER, "[shop.get_order,", "[shop.get_order, shop.vouchr,", "actions", "the action 'shop.vouchr' is unknown", "shop.voucher?"),
    (LATE_CHARTER, "data: [orders]", "data: [contact]", "data:", "touches orders, which is outside the data scope", "add it to data"),
    (LATE_CHARTER, 'approvals: {shop.refund_order: "above 50.00 a supervisor"}', "approvals: {}", "approvals", "approvals do not say when a person approves shop.refund_order, whose risk is high", "add shop.refund_order:"),
    (LATE_CHARTER, "approvals: {", "approvals: {shop.refund_ordr: never, ", "approvals", "approvals name shop.refund_ordr, which is not in actions", "shop.refund_order?"),
    (LATE_CHARTER, ", shop.take_voucher_back]", "]", "actions", "shop.take_voucher_back, which takes shop.voucher back, is not in actions", "add it"),
    (LATE_CHARTER, "shop.get_order, ", "", None, "shop.get_order is not among the actions that the charter allows", f"add it to actions in {LATE_CHARTER}"),
    (LATE, "call: shop.get_order", "call: shop.get_ordr", "get_ordr", "step order: the action 'shop.get_ordr' is unknown", "shop.get_order?"),
    (LATE, "      with: {order_id: input.order_id}\n  - paid", "      with: {ordr_id: input.order_id}\n  - paid", "ordr_id", "step order: shop.get_order takes no 'ordr_id'", "order_id?"),
    (LATE, "with: {order_id: input.order_id, amount: input.amount}", "with: {order_id: input.order_id}", "            with:", "step refund: shop.refund_order needs 'amount'", "add amount:"),
    (LATE, "            team: service-team\n", "", "call: shop.refund_order", "step refund: mode person, and no team says who does it", "people/"),
    (LATE, "say: shop.send_message\n", "", "told:", "step told: the journey names no action to say it by", "add `say:"),
    (LATE, "say: shop.send_message", "say: shop.send_mesage", "say:", "the action 'shop.send_mesage' is unknown", "shop.send_message?"),
    (LATE, "{say: {text:", "{say: {txt:", "told:", "step told: shop.send_message takes no 'txt'", "did you mean text?"),
    (LATE, "        team: service-team\n        approve", "        team: servce-team\n        approve", "servce-team", "step may_i: the team 'servce-team' is unknown", "service-team?"),
    (LATE, "to: service-team}", "to: boss}", "escalate", "step may_i: the team 'boss' is unknown", "known:"),
    (LATE, "ask: {person: sam", "ask: {person: sma", "sma", "step choice: the person 'sma' is unknown", "did you mean sam?"),
    (LATE, "hand_over: {team: service-team", "hand_over: {team: nobody", "over:", "step over: the team 'nobody' is unknown", "known:"),
    (LATE, "  - back: {", "  - order: {", "  - order: {", "two steps are named order", "the other is on line 22"),
    (LATE, "then: may_i", "then: may_y", "then: may_y", "step how_much: then: 'may_y' is no step", "did you mean may_i?"),
    (LATE, "then: may_i", "then: refund", "then: refund", "step how_much: then: 'refund' is in another list of steps", "same list"),
    (LATE, "evidence: {amount: input.amount}}, then: end", "evidence: {amount: input.amount}}, then: ends", "made_good: {", "step made_good: then: 'ends' is no step", "did you mean end?"),
    (LATE, "little: {when: input.amount <= 5000, do", "little: {do", "little:", "step how_much: the case little has no `when`", "let it be the last"),
    (LATE, "        - much:", "        - little:", "then: may_i", "step how_much: two cases are named little", "rename"),
    (LATE, "          - waited:", "          - heard:", "a_day", "step meanwhile: two branches are named heard", "rename"),
    (LATE, "{signal: shop.b}", "{signal: shop.a}", "both:", "step both: two signals are named shop.a", ""),
    (LATE, "for: {each: number", "for: {each: steps", "for:", "step each_line: each item is called steps, which means something else", "item"),
    (LATE, "errors: [refused, too_late]", "errors: [refusd]", "errors:", "step pay_back: the error 'refusd' is raised by no step", "refused?"),
    (LATE, "errors: [refused, too_late]", "errors: [[]]", "errors:", "step pay_back: catch.errors[0] must be the name of an error", "refused"),
    (LATE, "errors: [refused, too_late]", "errors: [checkpoint]", "errors:", "step pay_back: no catch takes the error checkpoint", "a person"),
    (LATE, "        remind: 1d", "        remind: 3d", "remind", "step may_i: remind: 3d never comes, as it is due after 2d", "shorter"),
    (LATE, "        default: false", "        default: maybe", "default: maybe", "step may_i: default: 'maybe' is no answer", ""),
    (LATE, "due: 1d, default: none", "due: 1d, default: pony", "pony", "step choice: default: 'pony' is none of the choices gift, none", ""),
    (LATE, "required: [why]}}", "required: [why]}, due: 1d, default: {}}", "default: {}", "step form: default does not fit the form: 'why' is a required property", ""),
    (LATE, "form: {type: object, properties: {why: {type: string}}", "form: {type: object, properties: {why: {type: text}}", "type: text", "is no JSON Schema", "json-schema"),
    (LATE, "undo: voucher", "undo: vouchr", "undo:", "step back: undo: 'vouchr' is no step", "did you mean voucher?"),
    (LATE, "undo: voucher", "undo: [voucher, may_i]", "undo:", "step back: undo: 'may_i' is no call", ""),
    (LATE, "undo: voucher", "undo: refund", "undo:", "step back: shop.refund_order, which refund calls, cannot be taken back: its entry says undo: none", "person"),
    (LATE, "undo: voucher", "undo: order", "undo:", "step back: shop.get_order, which order calls, cannot be taken back: it is a read", ""),
    (LATE, "before: [shop.refund_order]", "before: [shop.take_voucher_back]", "checkpoint:", "step paid: no step calls shop.take_voucher_back", ""),
    (LATE, "before: [shop.refund_order]", "before: [shop.refnd_order]", "checkpoint:", "step paid: the action 'shop.refnd_order' is unknown", "shop.refund_order?"),
    (LATE, "run: apology", "run: apolgy", "run:", "step sorry: the journey 'apolgy' is unknown", "did you mean apology?"),
    (LATE, "      run: apology\n      with: {order_id: input.order_id}", "      run: apology", "- sorry", "step sorry: the journey apology needs 'order_id'", "add order_id:"),
    (APOLOGY, "do:\n", "do:\n  - again: {run: late_order, with: {order_id: input.order_id, amount: 1}}\n", "again:", "step again: the journey apology starts itself: apology → late_order → apology", "emit a signal"),
    (APOLOGY, "do:\n", "do:\n  - again: {run: apology, with: {order_id: input.order_id}}\n", "again:", "the journey apology starts itself: apology → apology", ""),
    (APOLOGY, "say: shop", "customer: none\nsay: shop", "sorry: {", "step sorry: shop.send_message is about a customer, and the journey has none", "customer: required"),
    (LATE, "key: [order_id]", "key: [ordr_id]", "key:", "key: the input has no 'ordr_id'", "did you mean order_id?"),
    (LATE, "    amount: {type: integer}", "    amount: {type: money}", "amount:", "is no JSON Schema", "json-schema"),
    (LATE, "required: [order_id, amount]", "required: [order_id, amout]", "required:", "input requires 'amout', which it does not describe", "amount?"),
    (LATE, "with: {order_id: signal.data.order_id, amount: 500}", "with: {order_id: signal.data.order_id}", "    with:", "the journey late_order needs 'amount'", "add amount:"),
    (REFUND, "risk: high", "risk: high\nmode: person", None, "step refund: only a person may do shop.refund_order, says its entry", "add mode: person"),
]
# fmt: on


@pytest.mark.parametrize(("file", "old", "new", "stands", "what", "hint"), SHAPE + REFERENCES)
def test_a_mistake_names_its_file_line_and_step_and_hints_at_the_repair(
    file: str, old: str, new: str, stands: str | None, what: str, hint: str
) -> None:
    files = changed(file, old, new, JOURNEYS)
    found = [m for m in mistakes(files) if what in m.what]
    assert found, [str(m) for m in mistakes(files)]
    if stands is not None:
        assert (found[0].file, found[0].line) == (file, line_of(files, file, stands))
    assert hint in found[0].hint


@pytest.mark.parametrize(("file", "old", "new", "stands", "what", "hint"), SHAPE)
def test_a_wrong_shape_is_told_once(file: str, old: str, new: str, stands: str | None, what: str, hint: str) -> None:
    places = [(m.file, m.line, m.what) for m in mistakes(changed(file, old, new, JOURNEYS))]
    assert len([place for place in places if what in place[2]]) == 1


def test_a_journey_needs_a_charter_and_a_charter_a_journey() -> None:
    (found,) = mistakes({path: text for path, text in JOURNEYS.items() if path != APOLOGY_CHARTER})
    assert (found.file, found.line, found.what) == (APOLOGY, 1, "the journey apology has no charter")
    assert found.hint.startswith("write journeys/apology/charter.md: owner, actions")
    files = {path: text for path, text in FILES.items() if path != JOURNEY}
    assert ["a charter without a journey" in m.what for m in mistakes(files)].count(True) == 1


def test_a_file_beside_a_journey_that_nothing_reads_is_a_mistake() -> None:
    for path in ("journeys/apology/steps.yaml", "journeys/apology.yaml", "journeys/apology/more/journey.yaml"):
        (found,) = mistakes({**JOURNEYS, path: "a: 1\n"})
        assert (found.file, found.what) == (path, "nothing reads this file")
        assert "journeys/<name>/journey.yaml" in found.hint


def test_a_journey_that_cannot_be_read_does_not_make_others_wrong() -> None:
    for file in (APOLOGY, APOLOGY_CHARTER, LATE, LATE_CHARTER, VOUCHER, TAKE_BACK, SEND):
        found = mistakes({**JOURNEYS, file: "---\na: [\n---\n" if file.endswith(".md") else "a: [\n"})
        assert {m.file for m in found} == {file}, [str(m) for m in found]


def test_everything_that_is_wrong_comes_at_once() -> None:
    files = changed(LATE, "call: shop.get_order", "call: shop.get_ordr", JOURNEYS)
    files = changed(LATE, "wait: 1d", "wait: tomorrow", files)
    files = changed(LATE, "hand_over: {team: service-team", "hand_over: {team: nobody", files)
    files = changed(LATE_CHARTER, "roles: [service-agent]", "roles: [boss]", files)
    files = changed(APOLOGY, "version: 1", "version: 0", files)
    found = mistakes(files)
    assert len(found) == 5, [str(m) for m in found]
    assert list(found) == sorted(found)


def late() -> Journey:
    return load(JOURNEYS).journeys["late_order"]


def test_every_task_word_is_read() -> None:
    assert {step.kind for step in late().walk()} == set(WORDS)


def test_each_step_knows_its_line() -> None:
    for step in late().walk():
        assert f"{step.name}:" in JOURNEYS[LATE].split("\n")[step.line - 1]


def test_the_words_of_the_domain_come_out() -> None:
    journey = late()
    steps = {step.name: step for step in journey.walk()}
    assert (journey.version, journey.patience, journey.on_failure) == (2, timedelta(hours=4), "compensate")
    assert (journey.key, journey.say, journey.mode) == (("order_id",), "shop.send_message", Mode.ACT)
    assert journey.start[0].with_ == {"order_id": "signal.data.order_id", "amount": "500"}
    assert journey.start[0].line == line_of(JOURNEYS, LATE, "- signal")
    assert journey.actions == {"shop.get_order", "shop.voucher", "shop.refund_order", "shop.send_message"}
    refund, ask, caught = steps["refund"], steps["may_i"], steps["pay_back"]
    assert isinstance(refund, Call) and refund.mode is Mode.PERSON and refund.recorded == {"days": "4"}
    assert isinstance(ask, AskPerson) and (ask.has_default, ask.default) == (True, False)
    assert ask.escalate == Escalation(timedelta(days=1), "service-team")
    assert isinstance(caught, Try) and caught.retry == Retry(2, timedelta(minutes=1), 3.0, timedelta(minutes=10))
    assert [step.name for step in caught.catch] == ["over"]
    over, switch, fork = steps["over"], steps["how_much"], steps["meanwhile"]
    assert isinstance(over, HandOver) and not over.wait
    assert isinstance(switch, Switch) and [(c.name, c.when, c.then) for c in switch.cases] == [
        ("little", "input.amount <= 5000", None),
        ("much", None, "may_i"),
    ]
    assert isinstance(fork, Fork) and fork.until == "any" and [b.name for b in fork.branches] == ["heard", "waited"]
    assert getattr(steps["noted"], "values", None) == {"little": "true", "tries": "2", "nobody": "null"}
    assert isinstance(steps["told"], Say) and steps["told"].action == "shop.send_message"
    assert isinstance(steps["later"], Wait) and steps["later"].until == "now"
    assert isinstance(steps["both"], Listen) and steps["both"].until == "all" and len(steps["both"].signals) == 2
    assert isinstance(steps["sorry"], RunJourney) and steps["sorry"].wait
    assert isinstance(steps["back"], Undo) and steps["back"].steps == ("voucher",)
    assert isinstance(load(changed(LATE, "undo: voucher", "undo: all", JOURNEYS)).journeys["late_order"], Journey)


def test_a_journey_asks_as_a_caller_that_its_charter_bounds() -> None:
    repo = load(JOURNEYS)
    caller = repo.callers["journey:late_order"]
    assert (caller.kind, caller.id, caller.owner) == (CallerKind.JOURNEY, "late_order", "service-team")
    assert caller.actions == repo.journeys["late_order"].charter.actions
    assert (caller.roles, caller.data, caller.file) == ({"service-agent"}, {"orders"}, LATE_CHARTER)
    charter = repo.journeys["late_order"].charter
    assert charter.success == (Aim("made_good", ">= 0.9"),)
    assert charter.counter == (Aim("refunds", "<= 0.1"),)
    assert charter.approvals == {"shop.refund_order": "above 50.00 a supervisor"}
    assert charter.text == "For customers who wait."
    assert repo.journeys["apology"].needs_customer


def test_the_published_schema_takes_good_journeys_and_no_others() -> None:
    schema = Draft202012Validator(json.loads(schema_text("journey")))
    good = parse(LATE, JOURNEYS[LATE], [])
    assert good is not None and schema.is_valid(good.value)
    for file, old, new, _, what, _ in SHAPE:
        if file == LATE and "'end'" not in what:
            document = parse(LATE, changed(LATE, old, new, JOURNEYS)[LATE], [])
            assert document is not None and not schema.is_valid(document.value), what


async def test_what_the_charter_does_not_name_is_refused() -> None:
    test = """\
tests:
  - name: the apology refunds nothing
    request: {action: shop.refund_order, by: "journey:apology", customer: c1, input: {order_id: o1, amount: 100}}
    customer: {assurance: {level: 2}, consents: [service]}
    facts: {order: {order_id: o1, customer_id: c1, paid: 9900, refunded: 0, status: shipped}}
    expect: {decision: refuse, reasons: [scope]}
"""
    files = {**JOURNEYS, "policies/tests/journeys.yaml": test}
    report = await run_tests(build(files), CedarEngine(), CelExpressions())
    assert report.passed, report.words()
    (result,) = [r for r in report.results if r.name == "the apology refunds nothing"]
    assert "the charter of journey:apology does not allow shop.refund_order" in result.because[0]


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        found += places(one, (*path, key))
    return found


def put(value: Any, path: tuple[str | int, ...], new: object) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(copy[path[0]], path[1:], new)
    return copy


GOOD = {
    file: (front_matter if file.endswith(".md") else parse)(file, JOURNEYS[file], []) for file in (LATE, LATE_CHARTER)
}
ODD = st.sampled_from([None, True, 0, -1, 2.5, "", "x", "end", "all", "shop.refund_order", [], [None], ["x"], {}, {"do": None}])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_journey_is_read_or_told(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([LATE, LATE_CHARTER]))
    document = GOOD[file]
    assert document is not None
    said = document.value
    for _ in range(data.draw(st.integers(1, 3))):
        said = put(said, data.draw(st.sampled_from(places(said))), data.draw(ODD))
    text = json.dumps(said)
    found = mistakes({**JOURNEYS, file: f"---\n{text}\n---\n" if file == LATE_CHARTER else text})
    assert all(m.what and m.file in JOURNEYS for m in found)
