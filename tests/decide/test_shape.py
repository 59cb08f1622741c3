from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.decide.shape import Contract, not_plain
from tests.decide import world as w

INPUT = Contract(w.CREDIT_INPUT, closed=True)
GOOD: dict[str, Any] = {"account_id": "A1", "dispute_id": "D1", "amount": 100}


def test_an_input_that_fits_the_contract_is_right() -> None:
    assert INPUT.wrong({**GOOD, "reason": "outage", "share": 0.5, "tags": ["a"], "address": {"city": "B"}}) == []


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"amount": 5.0}, "/amount", "whole number"),
        ({"amount": True}, "/amount", "type integer"),
        ({"amount": "5"}, "/amount", "type integer"),
        ({"amount": 0}, "/amount", "at least 1"),
        ({"amount": 2**53}, "/amount", "beyond 2^53"),
        ({"amount": -(2**53)}, "/amount", "beyond 2^53"),
        ({"share": float("nan")}, "/share", "finite"),
        ({"share": float("-inf")}, "/share", "finite"),
        ({"reason": "Erika"}, "/reason", '"outage"'),
        ({"account_id": "Erika"}, "/account_id", "must match ^A"),
        ({"amout": 1}, "", "did you mean 'amount'?"),
        ({"Erika Mustermann": 1}, "", "has unknown properties; known:"),
        ({"address": {"city": "B", "zip": "1"}}, "/address", "unknown properties (zip)"),
        ({"lines": [{"n": 1}, {"m": 1}]}, "/lines/1", "unknown properties (m)"),
        ({"tags": ["a", 1]}, "/tags/1", "type string"),
        ({"address": {}}, "/address", "needs 'city'"),
        ({"a/b": {"c~d": float("nan")}}, "/a~1b/c~0d", "finite"),
        ({"dispute_id": "\ud800"}, "/dispute_id", "lone surrogates"),
        ({"tags": {"a"}}, "/tags", "no JSON value"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_without_its_value(
    changes: dict[str, Any], where: str, said: str
) -> None:
    (reason,) = INPUT.wrong({**GOOD, **changes})
    assert (reason.code, reason.where) == ("input", where)
    assert said in reason.text
    assert "Erika" not in reason.text


def test_every_missing_property_is_named() -> None:
    (reason, *_) = INPUT.wrong({})
    assert "account_id" in reason.text
    assert {r.code for r in INPUT.wrong({})} == {"input"}


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_only_an_object_is_an_input(value: Any) -> None:
    assert INPUT.wrong(value)


def test_what_is_nested_too_deep_is_refused_and_does_not_overflow() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    (reason,) = INPUT.wrong({**GOOD, "tags": deep})
    assert "deep" in reason.text


@pytest.mark.parametrize(
    ("schema", "value", "right"),
    [
        ({"type": "object", "additionalProperties": True}, {"x": 1}, True),
        ({"type": "object"}, {"x": 1}, False),
        ({"type": "object", "patternProperties": {"^x": {}}}, {"x": 1}, True),
        ({"type": "object", "properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]}, {"a": 1, "b": 2}, True),
        ({"type": "object", "properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]}, {"c": 1}, False),
        ({"$defs": {"p": {"properties": {"a": {}}}}, "type": "object", "$ref": "#/$defs/p"}, {"a": 1}, True),
        ({"$defs": {"p": {"properties": {"a": {}}}}, "type": "object", "$ref": "#/$defs/p"}, {"b": 1}, False),
        ({"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}, {"at": "soon"}, False),
        ({"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}, {"at": "2026-01-01T00:00:00Z"}, True),
        ({"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}, {"at": "2026-01-01T00:00:00"}, False),
        ({"type": "object", "properties": {"on": {"type": "string", "format": "date"}}}, {"on": "2026-02-30"}, False),
        ({"type": "object", "properties": {"to": {"type": "string", "format": "email"}}}, {"to": "nobody"}, False),
    ],
)  # fmt: skip
def test_what_a_contract_does_not_name_is_refused_unless_it_says_otherwise(
    schema: dict[str, Any], value: Any, right: bool
) -> None:
    assert Contract(schema, closed=True).fits(value) is right


def test_an_output_may_hold_more_than_its_contract_says() -> None:
    assert Contract(w.ACCOUNT_OUTPUT, closed=False).fits({**w.ACCOUNT, "new": 1})


def test_what_is_no_json_schema_is_told() -> None:
    with pytest.raises(ValueError, match="no JSON Schema at /properties/a/type"):
        Contract({"type": "object", "properties": {"a": {"type": "text"}}}, closed=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_no_input_raises(value: Any) -> None:
    INPUT.wrong(value)


@given(JSON)
def test_what_is_plain_can_be_put_on_record(value: Any) -> None:
    from cxplane.domain.values import canonical

    if not_plain(value) is None:
        canonical(value)
