"""The outfitter: its control repo holds together, its services conform, its journeys do what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.choose import Connectors
from cxplane.control.check import check
from cxplane.control.conform import conform
from cxplane.control.load import load
from cxplane.control.release import build
from cxplane.control.test import run_tests
from cxplane.domain.views import Ask
from examples.outfitter.running import CONTROL, SYSTEMS, VERSION_2, Services, control_copy
from tests.examples.outfitter import Shop, control_for, shop

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The three services, for all tests that do not replace one."""
    services = Services(tmp_path_factory.mktemp("services"))
    try:
        for name in SYSTEMS:
            services.start_system(name)
        yield services
    finally:
        services.stop()


@pytest.fixture
def services(running: Services) -> Services:
    """The three services, as on the first day."""
    running.reset()
    return running


# the control repo ------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["version-1", "version-2"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The control repo, with the payment agent in either version."""
    return control_copy(tmp_path / "control", {}, version_2=request.param)


def test_the_control_repo_has_no_mistakes(either: Path) -> None:
    assert check(either, CedarEngine(), CelExpressions()) == []


async def test_every_policy_test_passes_and_every_policy_has_one_that_it_decides(either: Path) -> None:
    report = await run_tests(build(either), CedarEngine(), CelExpressions())
    assert report.passed, report.words()
    assert report.untested == ()


def test_version_2_of_the_payment_agent_touches_nothing_but_its_own_files() -> None:
    other = {str(file.relative_to(VERSION_2)) for file in VERSION_2.rglob("*") if file.is_file()}
    assert "systems/payment_agent.yaml" in other
    assert all(file.startswith(("systems/payment_agent.", "catalog/payment_agent/")) for file in other)
    old, new = load(CONTROL), load({**load_texts(CONTROL), **load_texts(VERSION_2)})
    assert new.journeys == old.journeys
    for id, action in old.actions.items():
        after = new.actions[id]
        assert (after.input, after.output, after.key) == (action.input, action.output, action.key), id
        assert action.system != "payment_agent" or (after.version, after.via) != (action.version, action.via)


def load_texts(folder: Path) -> dict[str, str]:
    kept = (".yaml", ".md", ".cedar")
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.suffix in kept}


def test_each_journey_has_a_charter_that_says_when_a_person_is_asked() -> None:
    journeys = load(CONTROL).journeys
    assert set(journeys) == {"order_and_payment", "order_recovery", "return_goods"}
    for journey in journeys.values():
        charter = journey.charter
        assert charter.success and charter.counter and charter.text.strip(), journey.id


async def _conforms(control: Path, system: str, services: Services, urls: Mapping[str, str]) -> None:
    repo, cel = load(control), CelExpressions()
    vault = EnvironmentVault({f"{name.upper()}_TOKEN": token for name, token in services.tokens.items()})
    connectors = Connectors(repo.systems, cel, vault, base_urls=urls)
    try:
        results = await conform(repo, system, connectors, cel, CedarEngine(), SystemClock())
    finally:
        await connectors.aclose()
    assert [(r["action"], t) for r in results for t in r["tests"] if not t["passed"]] == []
    assert {r["action"] for r in results} == {a.id for a in repo.actions.values() if a.system == system and a.writes}


@pytest.mark.parametrize("system", SYSTEMS)
async def test_every_write_conforms(system: str, services: Services) -> None:
    await _conforms(CONTROL, system, services, services.urls)


async def test_every_write_of_version_2_conforms_too(services: Services, tmp_path: Path) -> None:
    bench = services.start_system("payment_agent", program="payment_agent_v2", state="bench", url_of=False)
    try:
        control = control_copy(tmp_path / "control", {}, version_2=True)
        await _conforms(control, "payment_agent", services, {**services.urls, "payment_agent": bench})
    finally:
        services.end("bench")


# the journeys ----------------------------------------------------------------------------------------------


@pytest.fixture
async def world(services: Services, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    async with shop(services, dsn, tmp_path, monkeypatch) as opened:
        yield opened


@pytest.mark.parametrize("by", ["person:olga", "agent:piper"])
async def test_an_order_is_entered_authorised_collected_and_sent_whoever_asks(world: Shop, by: str) -> None:
    run = await world.order(2001, "mug", 2, by=by)
    order = await world.order_of(run)
    assert world.services.did("payment_agent") == ["authorise"]  # nothing is collected before it is packed
    await world.packed(run)
    found = await world.ended(run)
    assert found.run.status == "done", found
    assert found.goals["order_paid"]["achieved"] is True
    assert found.goals["order_paid"]["evidence"]["amount"] == 2580
    assert [d["step"] for d in found.did] == ["enter", "authorise", "capture", "ship", "confirm"]
    assert world.did(order) == ["enter_order", "authorise", "ship_order"]
    assert world.services.did("payment_agent") == ["authorise", "capture"]
    assert "25.80 EUR" in world.letters(2001)[0]


async def test_the_same_basket_is_one_order(world: Shop) -> None:
    run = await world.order(2001, "mug")
    with pytest.raises(Exception, match="under way"):
        await world.order(2001, "mug")
    await world.packed(run)
    await world.ended(run)
    assert world.services.did("order_agent").count("enter_order") == 1


async def test_an_assistant_cannot_go_round_the_journey(world: Shop) -> None:
    input = {"customer_id": "c-2001", "reference": "web-9", "sku": "mug", "quantity": 1}
    ask = Ask("order_agent.enter_order", input, customer="c-2001", confidence=0.9)
    view = await world.plane.ask(world.plane.caller("agent:piper"), ask)
    assert (view.decision, view.status) == ("refuse", "refused")
    assert world.services.effects("order_agent") == []


async def test_a_declined_card_leaves_no_order_and_no_blocked_stock(world: Shop) -> None:
    before = world.services.row("order_agent", "/items/tent-2p")["stock"]
    found = await world.ended(await world.order(2003, "tent-2p"))
    assert found.run.status == "done"
    assert found.goals["order_paid"] | {"at": ""} == found.goals["order_paid"] | {"achieved": False, "at": ""}
    assert [d["step"] for d in found.did if d["undone"]] == ["enter"]
    assert world.services.row("order_agent", "/items/tent-2p")["stock"] == before
    assert world.services.effects("payment_agent") == world.services.effects("warehouse") == []
    assert world.letters(2003) == ["We could not complete your order web-1. Nothing was charged."]


async def test_a_refused_capture_is_taken_back_in_reverse_order(world: Shop) -> None:
    run = await world.order(2004, "rope")
    await world.packed(run)
    found = await world.ended(run)
    assert found.goals["order_paid"]["achieved"] is False
    assert found.goals["order_paid"]["evidence"] == {"step": "capture", "error": "failed"}
    assert {d["step"] for d in found.did if d["undone"]} == {"enter", "authorise"}
    effects = [e for name in SYSTEMS for e in world.services.effects(name) if e["operation"] != "send_message"]
    order = [e["operation"] for e in sorted(effects, key=lambda e: e["at"])]
    assert order == ["enter_order", "authorise", "release", "withdraw_order"]


async def test_nobody_sells_what_is_not_there(world: Shop) -> None:
    found = await world.ended(await world.order(2001, "compass"))
    assert found.goals["order_paid"]["evidence"] == {"step": "enter", "error": "refused"}
    assert world.services.did("order_agent") == ["send_message"]


async def test_a_large_order_waits_for_a_supervisor(world: Shop) -> None:
    run = await world.order(2002, "kayak")
    await world.approve("person:sven", "order_agent.enter_order")
    await world.packed(run)
    assert (await world.ended(run)).goals["order_paid"]["achieved"] is True


async def test_a_payment_agent_that_never_answers_after_doing_it_collects_once(world: Shop) -> None:
    run = await world.order(2001, "boots")
    await world.waits_at(run, "packed")
    world.services.fault("payment_agent", "timeout_after_commit", seconds=3)
    await world.packed(run)
    assert (await world.ended(run)).goals["order_paid"]["achieved"] is True
    assert world.services.did("payment_agent").count("capture") == 1


async def test_a_payment_agent_that_is_down_is_waited_for(world: Shop) -> None:
    world.services.fault("payment_agent", "down", times=4)
    run = await world.order(2001, "boots")
    await world.packed(run)
    assert (await world.ended(run)).goals["order_paid"]["achieved"] is True
    assert world.services.did("payment_agent") == ["authorise", "capture"]


async def test_a_cancelled_order_is_taken_back(world: Shop) -> None:
    run = await world.order(2001, "boots")
    await world.waits_at(run, "packed")
    await world.plane.steer(world.plane.caller("person:olga"), run, "cancel", comment="changed her mind")
    found = await world.ended(run)
    assert found.run.status == "cancelled"
    assert all(d["undone"] for d in found.did)
    assert world.services.did("payment_agent") == ["authorise", "release"]


async def test_the_payment_agent_is_replaced_in_the_middle_and_no_journey_is_edited(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(tmp_path)
    try:
        for name in SYSTEMS:
            services.start_system(name)
        async with shop(services, dsn, tmp_path, monkeypatch) as world:
            good = await world.order(2001, "boots", reference="web-1")
            bad = await world.order(2004, "rope", reference="web-2")
            orders = [await world.order_of(run) for run in (good, bad)]
            old = services.urls["payment_agent"]

            assert services.replace_payment_agent() != old
            await world.release(control_for(services, tmp_path / "new", version_2=True))
            await world.until(lambda: _is_version_2(world))

            for order in orders:
                await world.signal("warehouse.packed", order)
            found = await world.ended(good)
            assert found.run.status == "done", found
            assert found.goals["order_paid"]["achieved"] is True
            assert found.goals["order_paid"]["evidence"]["amount"] == 15900
            lapsed = await world.ended(bad)
            assert {d["step"] for d in lapsed.did if d["undone"]} == {"enter", "authorise"}
            paths = [e["path"] for e in services.effects("payment_agent")]
            assert [path.split("/")[1] for path in paths] == ["v1", "v1", "v2", "v2"]
            assert sorted(services.did("payment_agent")) == ["authorise", "authorise", "capture", "release"]

            fresh = await world.order(2002, "mug", reference="web-3")
            await world.packed(fresh)
            assert (await world.ended(fresh)).goals["order_paid"]["achieved"] is True
            assert services.did("payment_agent")[-2:] == ["authorise", "capture"]
    finally:
        services.stop()


async def test_what_version_1_did_and_never_answered_is_found_by_version_2(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(tmp_path)
    try:
        for name in SYSTEMS:
            services.start_system(name)
        async with shop(services, dsn, tmp_path, monkeypatch) as world:
            done, not_done = (await world.order(2001, "boots"), await world.order(2002, "mug", reference="web-2"))
            orders = [await world.order_of(run) for run in (done, not_done)]
            services.fault("payment_agent", "timeout_after_commit", path="/v1/authorisations/", seconds=30)
            await world.signal("warehouse.packed", orders[0])

            async def collected() -> bool:
                return "capture" in services.did("payment_agent")

            await world.until(collected)
            services.fault("payment_agent", "none")
            services.fault("payment_agent", "error", path="/v1/authorisations/", times=100)
            await world.signal("warehouse.packed", orders[1])

            services.replace_payment_agent()
            await world.release(control_for(services, tmp_path / "new", version_2=True))
            for run in (done, not_done):
                found = await world.ended(run)
                assert found.goals["order_paid"]["achieved"] is True, found
            captures = [e["path"] for e in services.effects("payment_agent") if e["operation"] == "capture"]
            assert [path.split("/")[1] for path in captures] == ["v1", "v2"]
    finally:
        services.stop()


async def _is_version_2(world: Shop) -> bool:
    return (await world.plane.action(world.plane.caller("person:sven"), "payment_agent.capture")).version == 2


async def test_a_lost_parcel_is_sent_again_if_the_customer_wants_it(world: Shop) -> None:
    run = await world.lost(1002, 2002)
    await world.signal("order.choice", "or-1002", choice="a puppy")  # not on offer
    await world.signal("order.choice", "or-1002", choice="reship")
    found = await world.ended(run)
    assert found.goals["order_recovered"]["evidence"]["by"] == "reship"
    assert world.services.did("warehouse") == ["ship_order"]
    assert world.refunded(1002) == 0
    assert len(world.letters(2002)) == 2


async def test_without_an_answer_the_money_goes_back(world: Shop) -> None:
    found = await world.ended(await world.lost(1003, 2005))
    assert found.goals["order_recovered"]["achieved"] is True
    assert found.goals["order_recovered"]["evidence"]["chosen_by"] == "nobody in time"
    assert world.refunded(1003) == 5900
    assert "59.00 EUR" in world.letters(2005)[1]


async def test_a_refund_above_the_limit_waits_for_a_supervisor(world: Shop) -> None:
    run = await world.lost(1004, 2006)
    await world.signal("order.choice", "or-1004", choice="refund")
    await world.waits_at(run, "money_back")
    assert world.refunded(1004) == 0
    await world.approve("person:petra", "payment_agent.refund")
    assert (await world.ended(run)).goals["order_recovered"]["achieved"] is True
    assert world.refunded(1004) == 18900


async def test_a_parcel_that_turned_up_needs_nothing(world: Shop) -> None:
    found = await world.ended(await world.lost(1001, 2001))
    assert found.goals["order_recovered"]["evidence"] == {"found": "delivered"}
    assert all(world.services.effects(name) == [] for name in SYSTEMS)


async def test_the_same_news_twice_is_one_recovery(world: Shop) -> None:
    data = {"order_id": "or-1002", "shipment_id": "sh-1002", "customer_id": "c-2002"}
    first = await world.signal("warehouse.shipment_lost", "sh-1002", "event-1", **data)
    again = await world.signal("warehouse.shipment_lost", "sh-1002", "event-1", **data)
    other = await world.signal("warehouse.shipment_lost", "sh-1002", "event-2", **data)
    assert len(first["runs_started"]) == 1
    assert again["repeated"] and not again["runs_started"]
    assert not other["runs_started"]  # a run of that parcel is under way
    await world.ended(first["runs_started"][0])


async def test_goods_that_came_back_worn_are_worth_half(world: Shop) -> None:
    run = await world.announced(1005, 2007)
    await world.signal("warehouse.goods_received", "ret-77")
    task = (await world.waits_at(run, "inspect")).tasks[0]
    assert (task.team, task.show["sku"]) == ("returns-desk", "boots")
    wim = world.plane.caller("person:wim")
    with pytest.raises(Exception, match="condition must be one of"):
        await world.plane.answer(wim, task.id, {"values": {"condition": "eaten", "quantity": 1}})
    with pytest.raises(Exception, match="returns-desk"):
        await world.plane.answer(
            world.plane.caller("person:olga"), task.id, {"values": {"condition": "as_new", "quantity": 1}}
        )
    await world.plane.answer(wim, task.id, {"values": {"condition": "worn", "quantity": 1}})
    found = await world.ended(run)
    assert found.goals["return_settled"]["achieved"] is True, found
    assert world.refunded(1005) == 7950
    assert world.services.did("warehouse") == ["make_label", "record_inspection"]


async def test_a_refund_that_is_rejected_is_told_by_a_person(world: Shop) -> None:
    run = await world.announced(1006, 2008)
    await world.signal("warehouse.goods_received", "ret-77")
    task = (await world.waits_at(run, "inspect")).tasks[0]
    wim, sven = world.plane.caller("person:wim"), world.plane.caller("person:sven")
    await world.plane.answer(wim, task.id, {"values": {"condition": "as_new", "quantity": 1}})
    await world.waits_at(run, "refund")
    rows, _ = await world.plane.approvals(sven, status="open")
    await world.plane.reject(sven, rows[0].id, comment="it was never ours")
    found = await world.ended(run)
    assert found.goals["return_settled"]["achieved"] is False
    tasks, _ = await world.plane.tasks(sven, team="shop-desk")
    assert [t.step for t in tasks if t.run == run] == ["talk"]
    assert world.refunded(1006) == 0


async def test_a_return_that_never_comes_is_reminded_of_and_closed(world: Shop) -> None:
    run = await world.announced(1005, 2007)
    found = await world.ended(run)
    assert found.goals["return_settled"]["achieved"] is False
    assert [d["step"] for d in found.did if d["undone"]] == ["label"]
    assert len(world.letters(2007)) == 3
    assert world.services.did("warehouse") == ["make_label", "void_label"]
    assert world.refunded(1005) == 0


# the account of it all -------------------------------------------------------------------------------------


def test_the_stories_are_played_and_every_check_holds() -> None:
    done = subprocess.run(
        [sys.executable, "examples/outfitter/run.py"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every check held" in done.stdout
    for shown in ("no journey was edited", "shortened in it", "in reverse order", "approves payment_agent.refund"):
        assert shown in done.stdout
    for secret in ("cxp_", "_TOKEN"):
        assert secret not in done.stdout
