from __future__ import annotations

import pytest

from cxplane.control.load import load
from cxplane.domain.catalog import ConfirmWhen, ReadFact
from cxplane.domain.errors import ControlError
from tests.control.world import (
    AGENT,
    BUDGET,
    FILES,
    ORDER,
    PEOPLE,
    PLANE,
    POLICIES,
    REFUND,
    SYSTEM,
    TESTS,
    changed,
    line_of,
    mistakes,
)

# fmt: off
# file, what is replaced, by what, the text on whose line the mistake stands, what it says, what the hint says
SHAPE = [
    (PLANE, "currency: EUR", "currency: euro", "currency:", "an ISO 4217 code", "EUR"),
    (PLANE, "currency: EUR", "curency: EUR", "curency", "unknown key 'curency'", "did you mean currency?"),
    (PLANE, "time_zone: Europe/Berlin", "time_zone: Europe/Berln", "time_zone", "is unknown", "Europe/Berlin"),
    (PLANE, "languages: [en]", "languages: english", "languages", "must be a list", "[english]"),
    (PLANE, "segment: String", "segment: Text", "customer", "must be one of Bool", ""),
    (PLANE, "confidence: 0.7", "confidence: 70", "confidence", "at most 1", "0.8"),
    (PLANE, "[check, test, conformance]", "[check, tests]", "release", "must be one of check", "did you mean test?"),
    (PLANE, "  record: [", "  recrod: [", "recrod", "unknown key 'recrod' in access", "did you mean record?"),
    (REFUND, "version: 1", "version: 1.5", "version", "must be a version", "whole number"),
    (REFUND, "summary: Give back part or all of what an order cost.", "summary: ''", "summary", "must not be empty", ""),
    (REFUND, "owner: service-team\n", "", None, "has no 'owner'", "add it: owner: billing-care"),
    (REFUND, "risk: high", "risk: higgh", "risk", "must be one of low, medium, high", "did you mean high?"),
    (REFUND, "risk: high", "risk:", "risk", "must be one of", ""),
    (REFUND, "timeout: 5s", "timeout: 5 seconds", "limits", "a span of time", "500ms, 5s"),
    (REFUND, "attempts: 4", "attempts: 4, rate: fast", "limits", "a rate", "50/s"),
    (REFUND, "attempts: 4", "attempts: 4, rate: 0/s", "limits", "a rate", "50/s"),
    (REFUND, "attempts: 4", "attempts: 0", "limits", "at least 1", ""),
    (REFUND, "left: {cel: order.paid - order.refunded, type: Long}", "left: {value: 5}", "left:", "must have one of read", ""),
    (REFUND, "type: Long", "type: Integer", "left:", "must be one of Bool, Long", ""),
    (REFUND, "type: Long", "type: Long, max_age: 5s", "left:", "unknown key 'max_age' in facts.left", "known: cel"),
    (REFUND, "  left:", "  left over:", "left over:", "is not a word", "account"),
    (REFUND, "method: POST", "method: POTS", "via", "must be one of GET", "did you mean POST?"),
    (REFUND, 'path: "/orders', 'path: "orders', "via", "a path that begins with /", "/credits"),
    (REFUND, "undo: {none: money that was paid out comes back only if the customer sends it}", "undo: {}", "undo", "must have one of call, none", ""),
    (REFUND, "key: [order_id]", "key: []", "key:", "at least 1 item", ""),
    (REFUND, "key: [order_id]", "key: [order_id, order_id]", "key:", "names something twice", ""),
    (REFUND, "expect: request.key in result.refund_keys", "expect: ''", "confirm", "must not be empty", ""),
    (SYSTEM, "http://127.0.0.1:9100", "127.0.0.1:9100", "base_url", "an address", "https://"),
    (SYSTEM, "open_for: 10s", "open_for: ten", "breaker", "a span of time", "5s"),
    (PEOPLE, "{id: sam, roles", "{id: 7, roles", "id: 7", "must be an id", 'quote it: "7"'),
    (BUDGET, "window: day", "window: daily", "window", "must be one of hour", "did you mean day?"),
    (BUDGET, "limit: {money: 50000, count: 100}", "limit: {}", "limit", "at least 1 key", ""),
    (BUDGET, "money: 50000", "money: 500.00", "limit", "whole minor units", "500.00 EUR is 50000"),
    (BUDGET, "per: [caller]", "per: [team]", "per", "must be one of caller", ""),
    (TESTS, "expect: {decision: allow, reasons: [small-refund]}", "expect: {decision: allow}", "decision: allow}", "has no 'reasons'", "add it"),
    (TESTS, "decision: hold", "decision: held", "held", "must be one of allow, hold", "did you mean hold?"),
    (AGENT, "version: 1", "version: one", "version", "must be a version", "1"),
    (AGENT, "data: [orders]\n", "", "agent:", "has no 'data'", "add it"),
]

REFERENCES = [
    (PLANE, "owner: service-team", "owner: servce-team", "owner", "the team 'servce-team' is unknown", "did you mean service-team?"),
    (PLANE, "  customers: [integration]", "  customers: [integrations]", "customers", "the role 'integrations'", "integration?"),
    (REFUND, "owner: service-team", "owner: nobody", "owner", "the team 'nobody' is unknown", "known: service-team"),
    (REFUND, "action: shop.refund_order", "action: shop.refund", "action", "the file's place says 'shop.refund_order'", "rename"),
    (REFUND, "order: {read: shop.get_order", "order: {read: shop.get_ordr", "order: {", "the action 'shop.get_ordr'", "shop.get_order?"),
    (REFUND, "order: {read: shop.get_order", "order: {read: shop.refund_order", "order: {", "is a write", "name a read"),
    (REFUND, "with: {order_id: input", "with: {ordr_id: input", "order: {", "takes no 'ordr_id'", "did you mean order_id?"),
    (REFUND, "with: {order_id: input.order_id}", "with: {}", "order: {", "needs 'order_id'", "to `with`"),
    (REFUND, "left: {cel", "fee: {table: fees, row: a, column: b, type: Long}\n  left: {cel", "fee:", "the table 'fees' is unknown", "tables/"),
    (REFUND, "confirm: {read: shop.get_order", "confirm: {read: shop.gone", "confirm", "the action 'shop.gone'", "shop.get_order?"),
    (REFUND, "undo: {none", "undo: {call: shop.get_order, with: {order_id: input.order_id}} #", "undo", "is a read", "name a write"),
    (REFUND, "undo: {none", "undo: {call: shop.unrefund} #", "undo", "the action 'shop.unrefund' is unknown", ""),
    (REFUND, "system: shop", "system: shopp", "via", "the system 'shopp' is unknown", "did you mean shop?"),
    (REFUND, "{order_id}/refunds", "{id}/refunds", "via", "the path names 'id'", "known:"),
    (REFUND, "key: [order_id]", "key: [ordr_id]", "key", "the input has no 'ordr_id'", "did you mean order_id?"),
    (REFUND, "key: [order_id] #", "#", "effect: write", "a write without key", "add key:"),
    (REFUND, "confirm: {read", "# {read", "effect: write", "a write without confirm", "confirm: {none: why"),
    (REFUND, "undo: {none", "# {none", "effect: write", "a write without undo", "undo: {none: why"),
    (ORDER, "effect: read", "effect: read\nkey: [order_id]", "key:", "a read with key", "effect: write"),
    (ORDER, "method: GET", "method: DELETE", "via", "a read that is sent as DELETE", "GET"),
    (REFUND, "amount: {type: integer", "amount: {type: number", "amount: {", "is money, and its type is number", "type: integer; money is counted in whole minor units"),
    (REFUND, "money: input.amount", "money: input.amout", "money:", "the input has no 'amout'", "did you mean amount?"),
    (REFUND, "money: input.amount", "money: 500", "money:", "must be a CEL expression", "quote it"),
    (REFUND, "refund_id: {type: string}", "refund_id: {type: text}", "refund_id", "is no JSON Schema", "json-schema"),
    (REFUND, "input:\n  type: object", "input:\n  type: array", "input:", "must say type: object", ""),
    (REFUND, "required: [order_id, amount]", "required: [order_id, amout]", "required", "input requires 'amout'", "amount?"),
    (REFUND, "refund_id: {type: string}", 'refund_id: {$ref: "http://elsewhere/x.json"}', "refund_id", "points outside", ""),
    (REFUND, "refund_id: {type: string}", "refund_id: {type: string, format: iban}", "refund_id", "format 'iban' is not checked here; known: date", ""),
    (SYSTEM, "system: shop", "system: store", "system", "the file's place says 'shop'", "rename"),
    (SYSTEM, "shop.refund_order:", "shop.refnd_order:", "refnd_order", "the action 'shop.refnd_order'", "shop.refund_order?"),
    (SYSTEM, "shop.refund_order:", "shop.get_order:", "get_order", "is a read", "samples are for writes"),
    (PEOPLE, "lead: sam", "lead: sma", "lead", "the person 'sma' is unknown", "did you mean sam?"),
    (PEOPLE, "roles: [integration]", "roles: [integrator]", "crm-sync", "the role 'integrator'", "did you mean integration?"),
    (PEOPLE, "  - {role: supervisor,", "  - {role: service-agent, summary: again}\n  - {role: supervisor,", "again", "'service-agent' is here twice", "first in people/people.yaml:3"),
    (AGENT, "agent: helper", "agent: helpr", "agent: helpr", "the file's place says 'helper'", "rename"),
    (AGENT, "roles: [service-agent]", "roles: [servce-agent]", "roles", "the role 'servce-agent'", "service-agent?"),
    (BUDGET, "actions: [shop.refund_order]", "actions: [shop.refund]", "applies", "the action 'shop.refund'", "shop.refund_order?"),
    (BUDGET, "actions: [shop.refund_order]", "actions: [shop.get_order]", "applies", "is a read", "writes only"),
    (BUDGET, "kinds: [agent]", 'callers: ["agent:helpr"]', "applies", "the caller 'agent:helpr'", "agent:helper?"),
    (BUDGET, "approvers: [supervisor]", "approvers: [boss]", "approvers", "the role 'boss' is unknown", "known:"),
    (BUDGET, "approvers: [supervisor]", "", "exhausted", "nobody may approve", "exhausted: refuse"),
    (TESTS, "action: shop.refund_order", "action: shop.refund_ordr", "refund_ordr", "the action 'shop.refund_ordr'", "shop.refund_order?"),
    (TESTS, 'by: "agent:helper"', 'by: "agent:helpr"', "helpr", "the caller 'agent:helpr'", "agent:helper?"),
    (TESTS, "facts: {order:", "facts: {ordr:", "ordr:", "has no fact 'ordr'", "did you mean order?"),
    (TESTS, "reasons: [small-refund]", "reasons: [smal-refund]", "smal-refund", "the policy or code 'smal-refund'", "small-refund?"),
    (TESTS, "approvers: [supervisor]", "approvers: [boss]", "boss", "the role 'boss'", "known:"),
]

# fmt: on


@pytest.mark.parametrize(("file", "old", "new", "stands", "what", "hint"), SHAPE + REFERENCES)
def test_a_mistake_names_its_file_and_line_and_hints_at_the_repair(
    file: str, old: str, new: str, stands: str | None, what: str, hint: str
) -> None:
    files = changed(file, old, new)
    found = [m for m in mistakes(files) if what in m.what]
    assert found, [str(m) for m in mistakes(files)]
    assert (found[0].file, found[0].line) == (file, line_of(files, file, stands) if stands else 1)
    assert hint in found[0].hint


def test_two_tests_of_one_name_are_a_mistake() -> None:
    files = changed(
        TESTS, "a large refund waits for a supervisor", "a small refund of the customer's own order goes ahead"
    )
    (found,) = mistakes(files)
    assert "two tests are named" in found.what
    assert "the other is on line 3" in found.hint


def test_all_mistakes_come_at_once_and_in_order() -> None:
    files = changed(REFUND, "owner: service-team", "ownr: service-team")
    files = changed(REFUND, "order: {read: shop.get_order", "order: {read: shop.gone", files)
    files = changed(BUDGET, "window: day", "window: daily", files)
    files = changed(PEOPLE, "lead: sam", "lead: tom", files)
    files = changed(AGENT, "---\n", "", files)
    files["catalog/shop/broken.yaml"] = "action: [\n"
    files["polices/new.cedar"] = "permit (principal, action, resource);"
    found = mistakes(files)
    assert list(found) == sorted(found)
    assert {m.file for m in found} == {REFUND, BUDGET, PEOPLE, AGENT, "catalog/shop/broken.yaml", "polices/new.cedar"}
    assert len([m for m in found if m.file == REFUND]) == 3  # unknown key, no owner, dangling read


def test_a_file_that_cannot_be_read_does_not_make_others_wrong() -> None:
    for file in (REFUND, ORDER, SYSTEM, PEOPLE, AGENT):
        found = mistakes({**FILES, file: "a: [\n"})
        assert {m.file for m in found} == {file}, [str(m) for m in found]


def test_a_secret_is_a_mistake_and_is_never_shown() -> None:
    for secret in ("sk_live_51H8abcdef", "AKIAIOSFODNN7EXAMPLE", "hunter2", "{a: hunter2}", "12345"):
        files = changed(SYSTEM, "SHOP_TOKEN", secret)
        found = mistakes(files)
        assert found
        assert not any(word in str(m) for m in found for word in ("sk_live", "AKIA", "hunter2", "12345"))
    for address in ("http://user:hunter2@127.0.0.1", "http://127.0.0.1/?token=hunter2"):
        found = mistakes(changed(SYSTEM, "http://127.0.0.1:9100", address))
        assert found and not any("hunter2" in str(m) for m in found)


def test_a_header_that_carries_a_secret_is_a_mistake() -> None:
    (found,) = mistakes(changed(REFUND, "method: POST", "headers: {Authorization: Bearer x}, method: POST"))
    assert "carries a secret" in found.what


def test_a_table_is_found_by_its_name_and_may_be_there_once() -> None:
    table = "table: fees\nrows: {gold: {parcel: 0}, basic: {parcel: 499}}\n"
    files = changed(REFUND, "  left:", "  fee: {table: fees, row: order.status, column: channel, type: Long}\n  left:")
    files["catalog/shop/tables/fees.yaml"] = table
    assert load(files).tables["fees"].rows["basic"] == {"parcel": 499}
    files["catalog/other/tables/fees.yaml"] = table
    (found,) = mistakes(files)
    assert "is in catalog/other/tables/fees.yaml too" in found.what


def test_the_words_of_the_domain_come_out() -> None:
    repo = load(FILES)
    refund = repo.actions["shop.refund_order"]
    assert refund.confirm is not None
    assert refund.confirm.when is ConfirmWhen.ALWAYS  # risk high
    assert refund.undo is not None and refund.undo.call is None and refund.undo.none
    order = refund.facts["order"]
    assert isinstance(order, ReadFact) and order.with_ == {"order_id": "input.order_id"}
    assert order.line == line_of(FILES, REFUND, "order: {read")
    assert repo.callers["agent:helper"].instructions.startswith("You help customers")
    assert repo.callers["system:crm-sync"].roles == {"integration"}
    assert repo.plane.access["record"] == {"supervisor"}
    assert repo.budgets[0].money == 50000
    assert set(repo.files) == {file for file in FILES if not file.startswith(("schemas/", "README"))}


def test_low_risk_is_confirmed_only_when_unknown() -> None:
    refund = load(changed(REFUND, "risk: high", "risk: low")).actions["shop.refund_order"]
    assert refund.confirm is not None
    assert refund.confirm.when is ConfirmWhen.UNKNOWN


def test_a_write_may_say_why_nothing_confirms_it() -> None:
    files = changed(
        REFUND,
        "confirm: {read: shop.get_order, with: {order_id: input.order_id}, expect: request.key in result.refund_keys}",
        "confirm: {none: the shop tells nobody}",
    )
    assert load(files).actions["shop.refund_order"].confirm is None


def test_numbers_and_truth_values_may_stand_for_their_expression() -> None:
    files = changed(REFUND, "via: {http: {", "via: {http: {body: {amount: input.amount, notify: true, copies: 2}, ")
    via = load(files).actions["shop.refund_order"].via
    assert getattr(via, "body", None) == {"amount": "input.amount", "notify": "true", "copies": "2"}


def test_the_keys_of_a_token_issuer_belong_to_the_release() -> None:
    files = changed(PLANE, "release:", "auth: {jwt: {issuer: i, audience: a, jwks: keys/jwks.json}}\nrelease:")
    (found,) = mistakes(files)
    assert "there is no file 'keys/jwks.json'" in found.what
    files["keys/jwks.json"] = '{"keys": []}'
    assert load(files).files["keys/jwks.json"] == '{"keys": []}'
    assert "keys/jwks.json" in load(load(files).files).files


def test_a_folder_that_is_not_there_is_told_as_a_mistake(tmp_path: object) -> None:
    with pytest.raises(ControlError, match="no such folder"):
        load(f"{tmp_path}/nowhere")


def test_an_empty_repo_says_how_to_begin() -> None:
    (found,) = mistakes({})
    assert "no plane.yaml" in found.what and "cxplane init" in found.hint


def test_the_owner_of_a_policy_is_a_team() -> None:
    files = changed(POLICIES, '@id("small-refund")\n', '@id("small-refund")\n@owner("service-team")\n')
    assert mistakes(files) == ()
    files = changed(POLICIES, '@owner("service-team")', '@owner("servce-team")', files)
    (found,) = mistakes(files)
    assert (found.file, found.line) == (POLICIES, line_of(files, POLICIES, "@owner"))
    assert "did you mean service-team?" in found.hint


def test_an_input_that_is_described_elsewhere_may_have_other_names() -> None:
    for more in ("additionalProperties: true", "patternProperties: {'^x': {}}", "anyOf: [{properties: {x: {}}}]"):
        files = changed(ORDER, "input:\n", f"input:\n  {more}\n")
        files = changed(
            REFUND, "with: {order_id: input.order_id}", "with: {order_id: input.order_id, x: input.order_id}", files
        )
        assert mistakes(files) == ()
    files = changed(ORDER, "input:\n", "input:\n  additionalProperties: false\n")
    files = changed(
        REFUND, "with: {order_id: input.order_id}", "with: {order_id: input.order_id, x: input.order_id}", files
    )
    assert "takes no 'x'" in mistakes(files)[0].what
