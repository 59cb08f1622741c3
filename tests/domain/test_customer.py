from datetime import UTC, datetime, timedelta

import pytest

from cxplane.domain.customer import Assurance, Consent, Customer

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)


def said(purpose: str, granted: bool, minutes: int, channel: str | None = None, *data: str) -> Consent:
    return Consent(purpose, granted, NOW + timedelta(minutes=minutes), "form", channel, frozenset(data))


def test_the_strongest_assurance_in_force_counts() -> None:
    weak = Assurance(1, "caller-id", NOW + timedelta(hours=8))
    strong = Assurance(2, "otp", NOW + timedelta(minutes=30))
    customer = Customer("c1", assurances=(weak, strong))
    assert customer.assurance_at(NOW) == strong
    assert customer.assurance_at(NOW + timedelta(hours=1)) == weak
    assert customer.assurance_at(NOW + timedelta(days=1)) is None


def test_assurance_ends_at_its_last_moment() -> None:
    customer = Customer("c1", assurances=(Assurance(2, "otp", NOW),))
    assert customer.assurance_at(NOW) is None


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([], False),
        ([said("service", True, 0)], True),
        ([said("service", True, 0), said("service", False, 1)], False),
        ([said("service", False, 0), said("service", True, 1)], True),
        ([said("service", True, 0, "chat")], True),
        ([said("service", True, 0, "voice")], False),
        ([said("service", True, 0), said("service", False, 1, "voice")], True),
        ([said("service", True, 0), said("service", False, 1, None, "billing")], False),
        ([said("service", True, 0), said("service", False, 1, None, "health")], True),
        ([said("service", True, 0, None, "contact")], False),
        ([said("service", True, 0, None, "billing", "contact")], True),
    ],
)
def test_the_last_word_that_covers_channel_and_data_counts(statements: list[Consent], allowed: bool) -> None:
    customer = Customer("c1", consents=tuple(statements))
    assert ("service" in customer.purposes_allowed("chat", frozenset({"billing"}))) is allowed


def test_every_data_class_needs_its_own_yes() -> None:
    customer = Customer("c1", consents=(said("service", True, 0, None, "billing"),))
    assert customer.purposes_allowed("chat", frozenset({"billing", "health"})) == frozenset()


def test_personal_data_is_not_in_the_text_of_a_customer() -> None:
    customer = Customer("c1", attributes={"name": "Ada Planted"})
    assert "Planted" not in repr(customer)
