from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.adapters.postgres.store import open_store
from cxplane.control.release import (
    GateReport,
    build,
    contract_hash,
    go_live,
    lead_time,
    make_release,
    not_conforming,
    release_named,
    rollback,
    run_gates,
)
from cxplane.domain.errors import Conflict, ControlError, NotFound
from cxplane.domain.release import Release
from cxplane.ports.store import Store
from tests.control.world import CHARTER, FILES, PLANE, POLICIES, REFUND, changed, line_of

ENGINE, EXPRESSIONS = CedarEngine(), CelExpressions()
AT = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
BY = "person:sam"


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    opened = await open_store(dsn, tenant="shop")
    yield opened
    await opened.aclose()


def version(number: int) -> Release:
    return build(changed(POLICIES, "<= 5000", f"<= {5000 + number}"))


async def gates(release: Release, store: Store | None) -> GateReport:
    return await run_gates(release, ENGINE, EXPRESSIONS, store=store)


async def conforms(store: Store, release: Release, passed: bool = True) -> None:
    for action in release.repo.actions.values():
        tests = [{"test": "the same key twice does it once", "passed": passed}]
        await store.save_conformance("shop", action.id, contract_hash(action), {"passed": passed, "tests": tests}, AT)


async def live(store: Store, release: Release, at: datetime = AT) -> str | None:
    await make_release(store, release, await gates(release, store), by=BY, at=at)
    return await go_live(store, release, by=BY, at=at)


async def test_a_release_goes_live_after_its_gates_and_is_on_record(store: Store) -> None:
    release = version(0)
    await conforms(store, release)
    report = await gates(release, store)
    assert report.passed and report.results == {"check": "passed", "test": "passed", "conformance": "passed"}
    await make_release(store, release, report, by=BY, at=AT, note="first")
    assert await store.live_release("shop") is None
    assert await go_live(store, release, by=BY, at=AT) is None
    assert await store.live_release("shop") == release.hash
    assert await store.release_files("shop", release.hash) == release.repo.files
    (info,) = await store.releases("shop")
    assert (info.hash, info.by, info.note, info.live) == (release.hash, BY, "first", True)
    assert info.gates == report.results
    assert [entry.kind for entry in await store.stream("shop", release.hash)] == ["release.made", "release.live"]
    assert build(await store.release_files("shop", release.hash) or {}) == release


async def test_lead_time_is_counted_from_when_a_change_was_asked_for(store: Store) -> None:
    release = version(0)
    await conforms(store, release)
    asked = AT - timedelta(hours=30)
    await make_release(store, release, await gates(release, store), by=BY, at=AT, requested=asked)
    assert await lead_time(store, "shop", release.hash) is None
    await go_live(store, release, by=BY, at=AT + timedelta(hours=2))
    assert await lead_time(store, "shop", release.hash) == timedelta(hours=32)
    made, _ = await store.stream("shop", release.hash)
    assert made.body["requested"] == asked.isoformat()
    other = version(1)
    await live(store, other)
    assert await lead_time(store, "shop", other.hash) is None


async def test_a_journey_without_a_charter_makes_no_release() -> None:
    with pytest.raises(ControlError, match="the journey refund has no charter"):
        build({path: text for path, text in FILES.items() if path != CHARTER})


async def test_a_write_that_was_not_tested_cannot_go_live(store: Store) -> None:
    release = version(0)
    report = await gates(release, store)
    assert report.may_be_made and not report.passed
    await make_release(store, release, report, by=BY, at=AT)
    with pytest.raises(ControlError) as error:
        await go_live(store, release, by=BY, at=AT)
    (mistake,) = error.value.mistakes
    assert (mistake.file, mistake.line) == (REFUND, line_of(FILES, REFUND, "action: shop"))
    assert "shop.refund_order has not been tested" in mistake.what
    assert mistake.hint == "run `cxplane conform shop`"
    assert await store.live_release("shop") is None


async def test_a_write_that_failed_or_changed_since_cannot_go_live(store: Store) -> None:
    release = version(0)
    await conforms(store, release, passed=False)
    (mistake,) = await not_conforming(store, release.repo)
    assert "failed conformance: the same key twice does it once" in mistake.what
    await conforms(store, release)
    assert await not_conforming(store, release.repo) == ()
    other = build(changed(REFUND, "minimum: 1", "minimum: 2"))
    (mistake,) = await not_conforming(store, other.repo)
    assert "has changed since its conformance was tested" in mistake.what


async def test_evidence_is_looked_at_again_when_a_release_goes_live(store: Store) -> None:
    release = version(0)
    await conforms(store, release)
    await make_release(store, release, await gates(release, store), by=BY, at=AT)
    await conforms(store, release, passed=False)
    with pytest.raises(ControlError, match="failed conformance"):
        await go_live(store, release, by=BY, at=AT)


async def test_a_plane_may_do_without_a_gate_and_the_record_says_so(store: Store) -> None:
    release = build(changed(PLANE, "[check, test, conformance]", "[check]"))
    report = await gates(release, None)
    assert report.passed
    assert report.results["conformance"] == "not asked: plane.yaml does not name it"
    assert report.results["check"] == "passed"
    await live(store, release)
    assert await store.live_release("shop") == release.hash


async def test_without_a_store_conformance_is_not_known() -> None:
    report = await gates(version(0), None)
    assert not report.passed
    assert report.results["conformance"] == "1 write without a passing result"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (changed(POLICIES, "<= 5000", "<= 1000"), "policy test failed: decision: expected allow; got hold"),
        (changed(REFUND, "order.paid - order", "ordr.paid - order"), "'ordr'"),
        (changed(POLICIES, "context.input.amount <= 5000", "context.input.amuont <= 5000"), "amuont"),
    ],
)
async def test_what_does_not_check_or_test_is_not_made(store: Store, files: Mapping[str, str], said: str) -> None:
    release = build(files)
    report = await gates(release, store)
    assert not report.may_be_made
    with pytest.raises(ControlError) as error:
        await make_release(store, release, report, by=BY, at=AT)
    assert any(said in mistake.what for mistake in error.value.mistakes)
    assert await store.releases("shop") == []
    with pytest.raises(Conflict, match="was not made"):
        await go_live(store, release, by=BY, at=AT)


async def test_rolling_back_twice_goes_two_back_and_a_new_release_goes_on_from_there(store: Store) -> None:
    first, second, third, fourth = (version(n) for n in range(4))
    await conforms(store, first)
    for n, release in enumerate((first, second, third)):
        await live(store, release, AT + timedelta(hours=n))
    assert await rollback(store, "shop", by=BY, at=AT) == second.hash
    assert await rollback(store, "shop", by=BY, at=AT) == first.hash
    with pytest.raises(NotFound, match="no earlier release"):
        await rollback(store, "shop", by=BY, at=AT)
    assert await live(store, fourth) == first.hash
    assert await rollback(store, "shop", by=BY, at=AT) == first.hash
    assert await rollback(store, "shop", by=BY, at=AT, to=third.hash[:8]) == third.hash
    assert await store.live_release("shop") == third.hash


async def test_rolling_back_needs_no_gates(store: Store) -> None:
    first, second = version(0), version(1)
    await conforms(store, first)
    await live(store, first)
    await live(store, second)
    await conforms(store, first, passed=False)
    assert await rollback(store, "shop", by=BY, at=AT) == first.hash


async def test_there_is_no_way_back_to_what_never_was_live(store: Store) -> None:
    first, second = version(0), version(1)
    await conforms(store, first)
    await live(store, first)
    await make_release(store, second, await gates(second, store), by=BY, at=AT)
    with pytest.raises(Conflict, match="was never live"):
        await rollback(store, "shop", by=BY, at=AT, to=second.hash)
    with pytest.raises(Conflict, match="is live already"):
        await rollback(store, "shop", by=BY, at=AT, to=first.hash)
    with pytest.raises(NotFound):
        await rollback(store, "shop", by=BY, at=AT, to="123456789abc")
    with pytest.raises(NotFound):
        await release_named(store, "shop", first.hash[:5])


async def test_the_same_files_again_are_the_same_release(store: Store) -> None:
    release = version(0)
    await conforms(store, release)
    await live(store, release)
    assert await live(store, build(dict(reversed(list(release.repo.files.items()))))) == release.hash
    assert len({info.hash for info in await store.releases("shop")}) == 1
    assert [e.kind for e in await store.entries("shop", kind="release.live")] == ["release.live"]


async def test_one_tenant_knows_nothing_of_another(store: Store) -> None:
    release = version(0)
    await conforms(store, release)
    await live(store, release)
    other = build(changed(PLANE, "tenant: shop", "tenant: other"))
    assert not (await gates(other, store)).passed
    assert await store.live_release("other") is None
    assert await store.releases("other") == []
