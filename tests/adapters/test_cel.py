from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.adapters.cel import DEEPEST, LONGEST, CelExpressions
from cxplane.adapters.cel_functions import FUNCTIONS, functions
from cxplane.adapters.cel_names import rounds
from cxplane.domain.errors import ExpressionError

CEL = CelExpressions()
NOON = datetime(2024, 5, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("input.amount <= 20", {"input": {"amount": 20}}, True),
        ("sum(xs.filter(c, c.age <= 30).map(c, c.n))", {"xs": [{"age": 3, "n": 5}, {"age": 31, "n": 7}]}, 5),
        ("sum([])", {}, 0),
        ("min([3, 1, 2])", {}, 1),
        ("max(['a', 'c', 'b'])", {}, "c"),
        ("join(['a', 'b'], ', ')", {}, "a, b"),
        ("days_between('2026-01-31', '2026-03-01')", {}, 29),
        ("days_between(now, timestamp('2024-05-17T11:00:00Z'))", {"now": NOON}, 1),
        ("days_between('2024-05-17', now)", {"now": NOON}, -2),
        ("money('12.34')", {}, 1234),
        ("money(19.99)", {}, 1999),
        ("distinct(['b', 'a', 'b'])", {}, ["b", "a"]),
        ("distinct([1, true, 1])", {}, [1, True]),
        ("now - timestamp('2024-05-14T20:00:00Z') <= duration('24h')", {"now": NOON}, True),
        ("now", {"now": NOON}, NOON),
        ("has(facts.reason) && facts.reason == 'weather'", {"facts": {}}, False),
        ("table[user.tier][cabin]", {"table": {"gold": {"eco": 2}}, "user": {"tier": "gold"}, "cabin": "eco"}, 2),
        ("false && missing", {}, False),
    ],
)
def test_what_facts_need_can_be_said(text: str, variables: dict[str, Any], expected: object) -> None:
    assert CEL.compile(text).value(variables) == expected


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("xs.exists(x, x > 1) && x == 2", {"xs", "x"}),
        ("xs.map(x, ys.filter(y, y > x).map(z, z + x)).size() + y", {"xs", "ys", "y"}),
        ("xs.map(x, x)[0] + x", {"xs", "x"}),
        ("a.map", {"a"}),
        ("{'k': v, k2: 1}", {"v", "k2"}),
        ("type(x) == int", {"x"}),
        ("'x.y z' == \"a\" // x\n&& b", {"b"}),
        ("has(facts.reason)", {"facts"}),
        ("ok ? a.ok : b", {"ok", "a", "b"}),
        ("xs.all(x, x in ys)", {"xs", "ys"}),
        ("sum(xs)", {"xs"}),
        ("1 + 2", set()),
    ],
)
def test_names_are_the_variables_read_from_outside(text: str, names: set[str]) -> None:
    assert CEL.compile(text).names == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f(", "bad syntax"),
        ("", "nothing to compute"),
        ("shell('x')", "unknown function shell"),
        ("xs.reduce(1)", "unknown function reduce"),
        ("cel.bind(x, 1, x)", "unknown function bind"),
        (".a", "leading dot"),
        ("a." * 1500 + "a", f"more than {LONGEST}"),
        ("(" * 40 + "1" + ")" * 40, f"more than {DEEPEST}"),
        ("!" * 50 + "true", f"more than {DEEPEST}"),
        ("a ? 1 : " * 40 + "2", f"more than {DEEPEST}"),
        (r"r'\d'", "raw string"),
    ],
)
def test_what_cannot_be_run_safely_does_not_compile(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said.replace("(", r"\(")):
        CEL.compile(text)


SECRET = "Erika Mustermann"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input.nope", "no field 'nope'"),
        ("input[input.name]", "no such key"),
        ("input.name + 1", "types"),
        ("1 / input.zero", "division by zero"),
        ("1.0 / 0.0", "not finite"),
        ("input.list[7]", "beyond the end"),
        ("input.big + 1", "too large"),
        ("sum(input.name)", r"sum\(\) takes"),
        ("sum([true])", r"sum\(\) takes"),
        ("min([])", "at least one"),
        ("max([1, 'a'])", "of numbers, of texts"),
        ("join([1], '')", r"join\(\)"),
        ("days_between(input.name, '2024-01-01')", r"days_between\(\)"),
        ("money(input.name)", r"money\(\) takes"),
        ("money('1.999')", "at most 2"),
        ("money(true)", r"money\(\)"),
        ("int(input.name)", "could not be computed"),
        ("timestamp(input.name)", "could not be computed"),
        ("missing", "no value for 'missing'"),
        ("duration('1h')", "facts cannot hold"),
        ("{1: 2}", "keys are not texts"),
        ("input.name.matches('(')", "could not be computed"),
    ],
)
def test_what_goes_wrong_is_said_without_the_values(text: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    variables = {"input": {"name": SECRET, "zero": 0, "list": [SECRET], "big": 2**63 - 1}}
    with caplog.at_level(logging.DEBUG), pytest.raises(ExpressionError, match=said) as caught:
        CEL.compile(text).value(variables)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert SECRET not in caplog.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
        lambda deeper: st.lists(deeper) | st.dictionaries(st.sampled_from(["b", "c", "size"]), deeper),
    ),
    st.sampled_from(["a", "a.b", "a.b.c", "a.size", "missing", "missing.b"]),
)
def test_a_path_is_what_the_engine_says_it_is(value: Any, path: str) -> None:
    def said(text: str) -> object:
        try:
            return CEL.compile(text).value({"a": value})
        except ExpressionError as problem:
            return problem.why

    one, other = said(path), said(f"({path})")
    assert one == other
    assert type(one) is type(other)


def test_the_same_text_is_compiled_once() -> None:
    assert CEL.compile("input.a + 1") is CEL.compile("input.a + 1")


@pytest.mark.parametrize(("currency", "minor"), [("EUR", 1200), ("JPY", 12), ("KWD", 12000)])
def test_money_counts_in_the_currency_s_smallest_unit(currency: str, minor: int) -> None:
    assert CelExpressions(currency=currency).compile("money('12')").value({}) == minor


def test_every_function_is_documented() -> None:
    assert functions(2).keys() == FUNCTIONS.keys()


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_money_is_exact_for_any_amount_of_cents(cents: int) -> None:
    sign, whole, rest = "-" if cents < 0 else "", abs(cents) // 100, abs(cents) % 100
    assert CEL.compile("money(t)").value({"t": f"{sign}{whole}.{rest:02d}"}) == cents


@given(st.text(max_size=40))
def test_no_text_breaks_the_compiler(text: str) -> None:
    try:
        CEL.compile(text).value({})
    except ExpressionError:
        pass


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("a + 1", 0),
        ("map(a)", 0),
        ("'a.map(x, y)'", 0),
        ("a.map(x, x).filter(y, y)", 1),
        ("(a).exists(x, [x].all(y, y in b.filter(z, z)))", 3),
    ],
)
def test_it_is_known_how_deep_an_expression_goes_through_lists(text: str, deep: int) -> None:
    assert rounds(text) == deep


@pytest.mark.parametrize(
    ("text", "items"),
    [("a.map(x, x).size()", 100_000), ("a.map(x, a.map(y, x + y)).size()", 300), ("a.filter(x, x in a)", 30_000)],
)
def test_a_list_too_long_to_go_through_is_an_error_and_takes_no_time(text: str, items: int) -> None:
    with pytest.raises(ExpressionError, match="too many to go through"):
        CEL.compile(text).value({"a": list(range(items))})
    assert CEL.compile(text).value({"a": [1, 2, 3]})


def test_long_texts_count_where_they_are_copied() -> None:
    with pytest.raises(ExpressionError, match="too many"):
        CEL.compile("a.map(x, a.map(y, x + y)).size()").value({"a": ["z" * 4000] * 100})


def test_a_result_does_not_grow_without_end() -> None:
    with pytest.raises(ExpressionError, match="more than"):
        CEL.compile("a + a").value({"a": "z" * 600_000})
    with pytest.raises(ExpressionError, match="more than"):
        CEL.compile("a + a").value({"a": [0] * 150_000})


def test_distinct_takes_a_hundred_thousand_values_and_tells_types_apart() -> None:
    many = CEL.compile("distinct(a).size()").value({"a": list(range(100_000)) * 2})
    assert many == 100_000
    odd = [1, 1.0, True, "1", [1], [1.0], {"a": [1]}, {"a": [1]}, None, None]
    assert CEL.compile("distinct(a)").value({"a": odd}) == [1, 1.0, True, "1", [1], {"a": [1]}, None]
