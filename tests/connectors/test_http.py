from __future__ import annotations

import logging
import time
import traceback
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.choose import Connectors, base_urls_from
from cxplane.connectors.http import HttpConnector
from cxplane.domain.catalog import Breaker, HttpCall
from cxplane.domain.errors import ControlError, FailureKind, SecretMissing, SystemFailure
from tests.connectors.fake import FakeSystem
from tests.connectors.world import (
    ACCOUNT,
    CEL,
    CREDIT,
    CUSTOMER_VALUE,
    FIND,
    KEY,
    SECRET,
    allowed,
    connector,
    system,
)

RETRY, REFUSED, UNKNOWN = FailureKind.RETRY, FailureKind.REFUSED, FailureKind.UNKNOWN
READ_INPUT = {"account_id": CUSTOMER_VALUE}


async def failure_of(fake: FakeSystem | str, *, write: bool, timeout_s: float = 0.3) -> SystemFailure:
    http = connector(fake)
    calling = (
        http.write(CREDIT, allowed(), timeout_s=timeout_s)
        if write
        else http.read(ACCOUNT, READ_INPUT, timeout_s=timeout_s)
    )
    with pytest.raises(SystemFailure) as caught:
        await calling
    await http.aclose()
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.next
    assert SECRET not in told
    assert CUSTOMER_VALUE not in told
    assert "secret" not in told  # the body of an error reply
    return caught.value


async def test_a_write_carries_key_credentials_and_the_rest_of_the_input(billing: FakeSystem) -> None:
    http = connector(billing)
    reply = await http.write(CREDIT, allowed(), timeout_s=1)
    await http.aclose()
    assert reply.output["credit_id"] == "cr-1"
    (call,) = billing.seen
    assert (call.method, call.path) == ("POST", f"/accounts/{CUSTOMER_VALUE}/credits")
    assert call.headers["idempotency-key"] == KEY
    assert call.headers["authorization"] == f"Bearer {SECRET}"
    assert call.body == {"dispute_id": "d1", "amount": 500}


async def test_a_read_carries_no_key_and_sends_the_rest_as_query(billing: FakeSystem) -> None:
    http = connector(billing)
    await http.read(ACCOUNT, {**READ_INPUT, "deep": True, "n": 3, "tag": ["x", "y z"], "none": None}, timeout_s=1)
    await http.aclose()
    (call,) = billing.seen
    assert call.path == f"/accounts/{CUSTOMER_VALUE}?deep=true&n=3&tag=x&tag=y+z"
    assert "idempotency-key" not in call.headers
    assert call.body is None


async def test_query_body_and_output_can_be_mapped(billing: FakeSystem) -> None:
    via = HttpCall(
        "billing",
        "POST",
        "/accounts/{account_id}/credits",
        query={"for": "request.customer"},
        body={"cents": "input.amount", "ref": "request.id"},
        output={"credit_id": "response.credit_id + '!'"},
        headers={"X-Team": "care", "authorization": "mine", "idempotency-KEY": "mine"},
    )
    http = connector(billing)
    reply = await http.write(replace(CREDIT, via=via), allowed(), timeout_s=1)
    await http.aclose()
    assert reply.output == {"credit_id": "cr-1!"}
    (call,) = billing.seen
    assert call.path.endswith("?for=c1")
    assert call.body == {"cents": 500, "ref": "req_1"}
    assert (call.headers["x-team"], call.headers["idempotency-key"]) == ("care", KEY)
    assert call.headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("fault", "on_write", "on_read"),
    [
        ("429", RETRY, RETRY),
        ("503", RETRY, RETRY),
        ("408", RETRY, RETRY),
        ("425", RETRY, RETRY),
        ("400", REFUSED, REFUSED),
        ("409", REFUSED, REFUSED),
        ("404", REFUSED, REFUSED),
        ("410", REFUSED, REFUSED),
        ("401", REFUSED, RETRY),
        ("403", REFUSED, RETRY),
        ("500", UNKNOWN, RETRY),
        ("502", UNKNOWN, RETRY),
        ("504", UNKNOWN, RETRY),
        ("304", UNKNOWN, RETRY),
        ("redirect", UNKNOWN, RETRY),
        ("garbage", UNKNOWN, RETRY),
        ("not_http", UNKNOWN, RETRY),
        ("cut", UNKNOWN, RETRY),
        ("huge", UNKNOWN, RETRY),
        ("nan", UNKNOWN, RETRY),
        ("off_contract", UNKNOWN, RETRY),
        ("a_list", UNKNOWN, RETRY),
        ("gzip", UNKNOWN, RETRY),
        ("hang", UNKNOWN, RETRY),
        ("hang_after_commit", UNKNOWN, RETRY),
        ("drop_before", UNKNOWN, RETRY),
        ("drop_after_commit", UNKNOWN, RETRY),
    ],
)
async def test_every_failure_has_its_class(
    billing: FakeSystem, fault: str, on_write: FailureKind, on_read: FailureKind
) -> None:
    billing.fail("write", fault)
    billing.fail("read", fault)
    wrote, read = await failure_of(billing, write=True), await failure_of(billing, write=False)
    assert (wrote.kind, read.kind) == (on_write, on_read)
    gone = fault in ("404", "410")
    assert (wrote.not_found, read.not_found) == (gone, gone)
    assert len(billing.seen) == 2  # one try each, no redirect followed


async def test_a_system_that_is_not_there_was_certainly_not_called() -> None:
    assert (await failure_of("http://127.0.0.1:1", write=True)).kind is RETRY
    assert (await failure_of("http://127.0.0.1:1", write=False)).kind is RETRY


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("-3", 0.0), ("1e9", 3600.0), ("soon", None), ("nan", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
async def test_retry_after_is_read(billing: FakeSystem, header: str, seconds: float | None) -> None:
    billing.extra_headers = f"Retry-After: {header}\r\n"
    billing.fail("read", "429")
    assert (await failure_of(billing, write=False)).retry_after_s == seconds


async def test_a_listed_status_is_a_no_and_on_a_read_means_not_found(billing: FakeSystem) -> None:
    http = connector(billing)
    assert isinstance(ACCOUNT.via, HttpCall)
    read = replace(ACCOUNT, via=replace(ACCOUNT.via, refused=(503,)))
    billing.fail("read", "503")
    with pytest.raises(SystemFailure) as caught:
        await http.read(read, READ_INPUT, timeout_s=1)
    await http.aclose()
    assert (caught.value.kind, caught.value.not_found) == (REFUSED, True)


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "../admin", "a/b", "a\\b", "a%2fb", "%2e%2e", "a\nb", "a\x00b", None, True, 1.5, ["x"], {"x": "y"}],
)
async def test_a_value_cannot_leave_its_place_in_the_path(billing: FakeSystem, value: Any) -> None:
    http = connector(billing)
    with pytest.raises(SystemFailure, match="it was not called") as wrote:
        await http.write(CREDIT, allowed(account_id=value, amount=5), timeout_s=1)
    with pytest.raises(SystemFailure) as read:
        await http.read(ACCOUNT, {"account_id": value}, timeout_s=1)
    await http.aclose()
    assert billing.seen == []
    assert wrote.value.kind is REFUSED
    assert read.value.kind is RETRY  # "cannot be asked" is not "there is none"
    assert not read.value.not_found


@pytest.mark.parametrize("value", ["ä b", "a?x=1", "a#b", "a;b", "a:b@c", "100%", "日本"])
async def test_odd_values_arrive_as_they_are(billing: FakeSystem, value: str) -> None:
    via = HttpCall("billing", "GET", "/accounts/{account_id}")
    http = connector(billing)
    reply = await http.read(
        replace(ACCOUNT, via=via, output={"properties": {"account_id": {"const": value}}}),
        {"account_id": value},
        timeout_s=1,
    )
    await http.aclose()
    assert reply.output["account_id"] == value


async def test_a_read_cannot_be_used_to_write(billing: FakeSystem) -> None:
    http = connector(billing)
    with pytest.raises(ValueError, match="needs an Allowed"):
        await http.read(CREDIT, {}, timeout_s=1)
    with pytest.raises(TypeError, match="only an Allowed"):
        await http.write(CREDIT, allowed().request, timeout_s=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a write"):
        await http.write(CREDIT, allowed(FIND), timeout_s=1)
    with pytest.raises(ValueError, match="needs a key"):
        await http.write(CREDIT, msgspec.structs.replace(allowed(), key=None), timeout_s=1)
    await http.aclose()
    assert billing.seen == []


async def test_a_missing_or_unusable_secret_is_said_by_name_only(billing: FakeSystem) -> None:
    for environ in ({}, {"BILLING_TOKEN": f"{SECRET}\r\nX-Evil: 1"}):
        http = HttpConnector(system(billing), CEL, EnvironmentVault(environ))
        with pytest.raises(SecretMissing) as caught:
            await http.write(CREDIT, allowed(), timeout_s=1)
        await http.aclose()
        assert "BILLING_TOKEN" in str(caught.value)
        assert SECRET not in str(caught.value) + caught.value.next
    assert billing.seen == []


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"header": "X-Api-Key", "secret": "BILLING_TOKEN"}, "x-api-key", SECRET),
        ({"basic": "BILLING_TOKEN"}, "authorization", "Basic dG9rLTVlMWYtcGxhbnRlZA=="),
        ({}, "authorization", None),
    ],
)
async def test_credentials_of_other_kinds(
    billing: FakeSystem, auth: dict[str, str], header: str, value: str | None
) -> None:
    http = connector(billing, auth=auth)
    await http.read(ACCOUNT, READ_INPUT, timeout_s=1)
    await http.aclose()
    assert billing.seen[0].headers.get(header) == value


async def test_preview_sends_nothing_and_shows_no_secret(billing: FakeSystem) -> None:
    http = connector(billing)
    shown = await http.preview(CREDIT, allowed().request.input)
    await http.aclose()
    assert billing.seen == []
    assert shown["method"] == "POST"
    assert shown["body"] == {"dispute_id": "d1", "amount": 500}
    assert SECRET not in str(shown)


async def test_no_log_line_holds_an_address_or_a_secret(billing: FakeSystem, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    http = connector(billing)
    await http.write(CREDIT, allowed(), timeout_s=1)
    await http.read(FIND, {"key": KEY}, timeout_s=1)
    await http.aclose()
    assert SECRET not in caplog.text
    assert CUSTOMER_VALUE not in caplog.text


async def test_a_proxy_of_the_environment_is_not_used(billing: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    http = connector(billing)
    await http.read(ACCOUNT, READ_INPUT, timeout_s=1)
    await http.aclose()
    assert len(billing.seen) == 1


async def test_a_slow_trickle_ends_with_the_time_limit(billing: FakeSystem) -> None:
    billing.fail("write", "hang")
    began = time.monotonic()
    assert (await failure_of(billing, write=True, timeout_s=0.2)).kind is UNKNOWN
    assert time.monotonic() - began < 2


async def test_the_environment_overrules_an_address(billing: FakeSystem) -> None:
    systems = {"billing": system("http://127.0.0.1:1")}
    urls = base_urls_from({"CXPLANE_SYSTEM_BILLING_URL": billing.url}, systems)
    assert urls == {"billing": billing.url}
    dashed = replace(systems["billing"], id="field-service")
    assert base_urls_from({"CXPLANE_SYSTEM_FIELD_SERVICE_URL": "http://x"}, {dashed.id: dashed}) == {
        dashed.id: "http://x"
    }
    connectors = Connectors(systems, CEL, EnvironmentVault({"BILLING_TOKEN": SECRET}), base_urls=urls)
    await connectors.read(ACCOUNT, READ_INPUT, timeout_s=1)
    assert await connectors.health() == {"billing": None}
    await connectors.aclose()
    assert len(billing.seen) == 1


@pytest.mark.parametrize("url", ["", "ftp://x", "//x", "file:///etc/passwd", "http://"])
def test_a_system_without_a_usable_address_is_a_mistake_of_the_control_repo(url: str) -> None:
    with pytest.raises(ControlError, match="no usable address"):
        connector(url)


async def test_a_system_that_the_release_does_not_know_is_named(billing: FakeSystem) -> None:
    connectors = Connectors({}, CEL, EnvironmentVault({}))
    with pytest.raises(ControlError, match="no system 'billing'"):
        await connectors.read(ACCOUNT, READ_INPUT, timeout_s=1)


async def test_a_new_release_moves_a_system_and_keeps_what_it_does_not_name(billing: FakeSystem) -> None:
    old = system("http://127.0.0.1:1")
    connectors = Connectors({"billing": old}, CEL, EnvironmentVault({"BILLING_TOKEN": SECRET}))
    with pytest.raises(SystemFailure):
        await connectors.read(ACCOUNT, READ_INPUT, timeout_s=1)
    connectors.use({"billing": system(billing)})
    await connectors.read(ACCOUNT, READ_INPUT, timeout_s=1)
    connectors.use({"crm": replace(old, id="crm")})
    await connectors.read(ACCOUNT, READ_INPUT, timeout_s=1)
    await connectors.aclose()
    assert len(billing.seen) == 2


async def test_all_systems_together_keep_their_limits(billing: FakeSystem) -> None:
    one = system(billing, breaker=Breaker(failures=1, open_for=timedelta(seconds=60)))
    connectors = Connectors({"billing": one}, CEL, EnvironmentVault({"BILLING_TOKEN": SECRET}))
    billing.fail("read", "500")
    with pytest.raises(SystemFailure):
        await connectors.read(ACCOUNT, READ_INPUT, timeout_s=1)
    with pytest.raises(SystemFailure, match="in a row"):
        await connectors.read(ACCOUNT, READ_INPUT, timeout_s=1)
    await connectors.aclose()
