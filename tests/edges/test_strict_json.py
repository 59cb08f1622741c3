"""Two readers can never disagree about a body that the edge takes."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.domain.errors import Malformed
from cxplane.edges.http.bodies import RequestBody
from cxplane.edges.http.strict_json import DEPTH, NotJson, parse, shaped

TEXTS = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"]), max_size=20)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53 - 1), 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_json_comes_through_as_it_is(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_clear_no(body: bytes) -> None:
    with contextlib.suppress(Malformed):
        parse(body)


@pytest.mark.parametrize(
    ("body", "says", "where"),
    [
        (b"", "not JSON", ""),
        (b'{"a": 1,}', "line 1, column 9", ""),
        (b"{'a': 1}", "not JSON", ""),
        (b"\xff\xfe", "not UTF-8", ""),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON", ""),
        (b'{"input": {"amount": NaN}}', "NaN is not JSON", "/input/amount"),
        (b'{"input": [Infinity]}', "Infinity is not JSON", "/input/0"),
        (b"[-Infinity]", "-Infinity is not JSON", "/0"),
        (b'{"a": {"b": 1, "b": 2}}', '"b" is given twice', "/a"),
        (b'{"a": "tab\there"}', "not JSON", ""),
    ],
)
def test_what_is_no_json_cannot_be_read(body: bytes, says: str, where: str) -> None:
    with pytest.raises(NotJson) as caught:
        parse(body)
    assert says in str(caught.value)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("body", "says", "where"),
    [
        (b'{"input": {"amount": 9007199254740992}}', "beyond 2^53", "/input/amount"),
        (b'{"a~b/c": -9007199254740992}', "beyond 2^53", "/a~0b~1c"),
        (b"[" + b"9" * 5000 + b"]", "beyond 2^53", "/0"),
        (b'{"a": 1e999}', "too large", "/a"),
        (b'{"a": "x\\u0000y"}', "U+0000", "/a"),
        (b'["\\ud800"]', "surrogate", "/0"),
        (b"[" * 60 + b"]" * 60, "nested deeper", "/0" * DEPTH),
        (b"[" * 100_000, "nested deeper", ""),
    ],
)
def test_what_readers_disagree_about_is_refused_with_its_place(body: bytes, says: str, where: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(body)
    assert says in str(caught.value)
    assert caught.value.where == where


def test_the_largest_safe_integers_are_taken() -> None:
    assert parse(b"[9007199254740991, -9007199254740991]") == [2**53 - 1, -(2**53 - 1)]


def test_a_float_stays_a_float_so_that_judging_can_refuse_it_as_money() -> None:
    assert [type(v) for v in parse(b"[19.99, 100.0, 1e2, 100]")] == [float, float, float, int]


@pytest.mark.parametrize(
    ("body", "says", "where"),
    [
        ({}, "missing field `action`", "/action"),
        ({"action": 5}, "got `int`", "/action"),
        ({"action": ""}, "length >= 1", "/action"),
        ({"action": "a\nb"}, "control characters", "/action"),
        ({"action": "a", "inputs": {}}, "there is no field `inputs`", "/inputs"),
        ({"action": "a", "input": []}, "got `array`", "/input"),
        ({"action": "a", "dry_run": "yes"}, "got `str`", "/dry_run"),
        ({"action": "a", "confidence": 1.1}, "<= 1.0", "/confidence"),
        ({"action": "a", "confidence": True}, "got `bool`", "/confidence"),
        (
            {"action": "a", "candidates": [{"action": "b"}, {"score": 1}]},
            "missing field `action`",
            "/candidates/1/action",
        ),
        ([], "got `array`", ""),
    ],
)
def test_a_body_of_the_wrong_shape_names_the_place(body: object, says: str, where: str) -> None:
    with pytest.raises(Malformed) as caught:
        shaped(body, RequestBody)
    assert says in str(caught.value)
    assert caught.value.where == where


def test_the_message_never_shows_a_value() -> None:
    for body in (
        b'{"action": "a", "customer": 4111111111111111}',
        b'{"action": ["secret-name"]}',
        b'{"action": "secret-name\\u0000"}',
    ):
        with pytest.raises(Malformed) as caught:
            shaped(parse(body), RequestBody)
        assert "4111" not in str(caught.value)
        assert "secret" not in str(caught.value)
