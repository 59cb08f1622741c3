"""What looks like personal data is masked, and what only resembles it is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.domain.masking import iban, luhn, mask, masked


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ursula.marker+x@mail.example.co.uk", "email"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("NO9386011117947", "iban"),
        ("4111 1111 1111 1111", "card"),
        ("5500-0000-0000-0004", "card"),
        ("378282246310005", "card"),
        ("219-09-9999", "ssn"),
        ("+49 151 2345 6789", "phone"),
        ("+1 (415) 555-2671", "phone"),
        ("0049/30/1234567", "phone"),
        ("030 1234567", "phone"),
        ("203.0.113.77", "ip"),
        ("2001:db8:85a3::8a2e:370:7334", "ip"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "said {}, then", "({})", '{{"a": "{}"}}', "x={}\n"])
def test_personal_data_is_masked_wherever_it_stands(text: str, kind: str, around: str) -> None:
    assert mask(around.format(text)) == around.format(f"[{kind}]")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T13:16:12.123456+00:00",
        "2026-11-21 13:16:12,123 INFO cxplane.store: moving",
        "req_01a1fe68b8e8020dc7c2a3cc250206ef",
        "req_0194123456789012345678901234",
        "order 4111111111111112",  # no card: its checksum does not hold
        "DE00370400440532013000",
        "GET /v1/requests/req_1 200 in 12.5 ms",
        "127.0.0.1:8080",
        "::1",
        "999.999.1.1",
        "version 1.2.3",
        "666-12-1234",
        "3 keys, 1000000 entries",
        "cxe1:WVk3rxGkLxJZ:abc",
        "tenant@",
        "a::b",
        "0123456789abcdef",
        "12:30:45",
    ],
)
def test_what_only_resembles_it_stays(text: str) -> None:
    assert mask(text) == text


@given(st.text(max_size=200))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


@given(st.integers(10**11, 10**17))
def test_a_card_needs_its_check_digit(number: int) -> None:
    digits = [d for d in range(10) if luhn(f"{number}{d}")]
    assert len(digits) == 1


def test_an_iban_needs_its_check_digits() -> None:
    assert [n for n in range(100) if iban(f"DE{n:02}370400440532013000")] == [89]


@pytest.mark.parametrize("text", ["1" * 100_000, "a@" * 50_000, "a." * 50_000 + "@", "1:" * 50_000, "+1" + " 2" * 50_000, "DE89 " * 20_000])  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    mask(text)
    assert time.process_time() - began < 5  # a bound on the kind of growth, not on the machine


def test_values_of_any_depth_are_masked_and_names_are_not() -> None:
    told = masked({"a@b.de": ["x a@b.de", {"n": 5, "t": ("+49 151 2345 6789",)}], "none": None})
    assert told == {"a@b.de": ["x [email]", {"n": 5, "t": ["[phone]"]}], "none": None}
