from datetime import timedelta

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from cxplane.domain.values import Money, canonical, derived_id, digest, new_id, rate_per_second, span, spelled


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("5s", timedelta(seconds=5)),
        ("10m", timedelta(minutes=10)),
        ("4h", timedelta(hours=4)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
        ("1.5h", timedelta(minutes=90)),
    ],
)
def test_a_span_is_read_with_its_unit(text: str, expected: timedelta) -> None:
    assert span(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5sec", "1h30m"])
def test_anything_else_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="written like"):
        span(text)


def test_a_rate_is_counted_per_second() -> None:
    assert rate_per_second("50/s") == 50
    assert rate_per_second("600/m") == 10


@pytest.mark.parametrize("text", ["0/s", "50", "/s", "50/d"])
def test_a_rate_without_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        rate_per_second(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 2, {"a": [float("-inf")]}, {1: 2}])
def test_what_readers_of_json_disagree_on_has_no_canonical_bytes(value: object) -> None:
    with pytest.raises(ValueError, match="canonical"):
        canonical(value)


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**53) + 1, 2**53 - 1), max_size=5))
def test_the_order_of_keys_does_not_change_the_digest(value: dict[str, int]) -> None:
    assert digest(value) == digest(dict(reversed(list(value.items()))))


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_canonical_bytes_are_those_of_the_standard_whichever_way_they_are_made(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["\ud800", ["a", {"b": "\udfff"}], 2**53, -(2**53), {"n": [2**60]}])
def test_what_is_nearly_plain_has_no_canonical_bytes_either(value: object) -> None:
    with pytest.raises(ValueError, match="canonical"):
        canonical(value)


def test_names_are_sorted_as_the_standard_says_where_code_points_say_otherwise() -> None:
    assert canonical({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


def test_money_is_counted_in_whole_minor_units() -> None:
    assert Money(1250, "EUR").minor == 1250
    for wrong in (12.5, True, "12"):
        with pytest.raises(ValueError, match="whole minor units"):
            Money(wrong, "EUR")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ISO 4217"):
        Money(1, "eur")


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1250, "EUR"), "12.50 EUR"),
        (Money(5, "EUR"), "0.05 EUR"),
        (Money(-120, "EUR"), "-1.20 EUR"),
        (Money(1500, "JPY"), "1500 JPY"),
        (Money(1, "KWD"), "0.001 KWD"),
    ],
)
def test_money_is_read_with_the_decimal_places_of_its_currency(money: Money, text: str) -> None:
    assert money.text == text


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = [new_id("req") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(i.startswith("req_") for i in ids)


def test_the_same_parts_give_the_same_id_and_parts_do_not_run_together() -> None:
    assert derived_id("req", "a", "b") == derived_id("req", "a", "b")
    assert derived_id("req", "ab", "") != derived_id("req", "a", "b")


@pytest.mark.parametrize("text", ["500ms", "0s", "1.5s", "90s", "90m", "4h", "14d", "36h"])
def test_a_span_is_spelled_as_it_can_be_read_again(text: str) -> None:
    assert span(spelled(span(text))) == span(text)
    assert spelled(span("336h")) == "14d" and spelled(span("2w")) == "14d" and spelled(span("90s")) == "90s"
