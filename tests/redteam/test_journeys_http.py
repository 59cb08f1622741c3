"""Attacks on journeys from outside: over real HTTP, on a real plane with its store and a shop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.edges.running import until
from tests.redteam.wild import BODIES, BOT, CRM, ERP, LOOP, PAT, SAM, Wild, charter, other_tenant, wild

MARK = "jane.marker-7731@example.org"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wild]:
    with wild(tmp_path_factory.mktemp("wild")) as found:
        yield found


# tenants -------------------------------------------------------------------------------------------------------


def test_a_tenant_reaches_nothing_of_another_on_the_same_store(here: Wild) -> None:
    run = here.run("asks", k="tenant")
    task = here.task(run)
    with other_tenant(here) as (south, key):
        assert here.call("GET", "/v1/runs", key).status_code == 401
        assert here.call("GET", "/v1/runs", SAM, south).status_code == 401
        for method, path, body in (
            ("GET", f"/v1/runs/{run}", None),
            ("GET", f"/v1/runs/{run}/timeline", None),
            ("GET", f"/v1/runs/{run}/picture", None),
            ("POST", f"/v1/runs/{run}/cancel", {}),
            ("POST", f"/v1/runs/{run}/switch", {"journey": "refund"}),
            ("GET", f"/v1/tasks/{task}", None),
            ("POST", f"/v1/tasks/{task}/answer", {"answer": {"choice": "a"}}),
        ):
            assert here.call(method, path, key, south, json=body).status_code == 404, path
        assert here.call("GET", "/v1/runs", key, south).json()["items"] == []
        assert here.call("GET", "/v1/tasks?status=all", key, south).json()["items"] == []
        listening = here.run("grow", k="tenant")
        here.comes_to(listening, "waiting")
        event = {"specversion": "1.0", "id": "s-1", "source": "/crm", "type": "t.more", "subject": "tenant"}
        theirs = here.call("POST", "/v1/signals", "south-crm", south, json=event)
        assert (theirs.status_code, theirs.json()["runs_reached"]) == (202, 0)
        ours = here.call("POST", "/v1/signals", CRM, json=event)
        assert (ours.json()["repeated"], ours.json()["runs_reached"]) == (False, 1)


# what data can cost --------------------------------------------------------------------------------------------


def test_long_lists_cost_neither_the_edge_nor_other_runs_their_time(here: Wild) -> None:
    many = list(range(30_000))
    refused = here.signal("t.many", data={"items": many}, customer="c-1")
    assert (refused.status_code, refused.json().get("where")) == (422, "/data"), refused.text
    assert "too many to go through" in refused.json()["detail"]
    told = here.comes_to(here.run("doubled", items=many), "stuck")
    assert told["error"]["name"] == "expression"
    assert {"retry", "skip", "cancel"} <= {f["do"] for f in told["frees"]}
    assert here.signal("t.many", data={"items": many[:2000]}, customer="c-1").status_code == 202


def test_a_loop_over_more_than_ten_thousand_items_ends_for_a_person(here: Wild) -> None:
    told = here.comes_to(here.run("many", items=list(range(10_000))), "stuck")
    assert (told["error"]["name"], "without waiting" in told["error"]["text"]) == ("expression", True)


def test_while_one_run_computes_long_callers_are_served(here: Wild) -> None:
    long = here.run("each", items=list(range(2500)))
    served = 0
    while here.look(long)["run"]["status"] != "done":
        served += 1
    assert served > 8, "the plane stood still"


def test_a_run_that_reads_round_and_round_hears_that_it_is_cancelled(here: Wild) -> None:
    run = here.run("spin", order=here.plane.shop.order("o-spin"))
    until(lambda: len(here.call("GET", f"/v1/runs/{run}/timeline").json()["items"]) > 10)
    assert here.call("POST", f"/v1/runs/{run}/cancel").status_code == 202
    here.comes_to(run, "cancelled")


def test_a_state_that_grows_without_end_stops_and_can_be_cancelled(here: Wild) -> None:
    run = here.run("grow", k="g")
    here.comes_to(run, "waiting")
    for _ in range(8):
        here.signal("t.more", "g", data={"x": "y" * 200_000})
    told = here.comes_to(run, "stuck")
    assert "larger than" in told["error"]["text"]
    assert here.call("POST", f"/v1/runs/{run}/cancel").status_code == 202
    here.comes_to(run, "cancelled")


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/signals", "/v1/tasks/tsk_x/answer"])
def test_bodies_that_are_too_large_too_deep_or_broken_are_turned_away(here: Wild, path: str) -> None:
    by = CRM if path == "/v1/signals" else PAT
    kind = {"Content-Type": "application/json"}
    for body, statuses in (
        (b'{"a": "' + b"x" * 300_000 + b'"}', {413}),
        (b"[" * 5000, {400, 422}),
        (b'{"input":' * 40 + b"1" + b"}" * 40, {422}),
        (b'{"journey": "each", "journey": "asks"}', {400}),
        (b'{"a": NaN}', {400}),
        (b'{"a": 90071992547409930}', {422}),
        (b'"\\ud800"', {422}),
        (b"\xff", {400}),
        (b"", {422}),
        (b"null", {422}),
    ):
        reply = here.call("POST", path, by, content=body, headers=kind)
        assert reply.status_code in statuses, (body[:30], reply.text)
        assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "id", ["..%2f..%2fmetrics", "%00", "run_%0a", "'%20or%201=1--", "x" * 201, "%e2%80%ae", "..;", "%252e%252e"]
)
def test_ids_lead_to_nothing_else(here: Wild, id: str) -> None:
    for kind in ("runs", "tasks"):
        assert here.call("GET", f"/v1/{kind}/{id}").status_code in (404, 422)
    assert here.call("POST", f"/v1/runs/{id}/cancel").status_code in (404, 405, 422)


# races ---------------------------------------------------------------------------------------------------------


def test_of_a_time_and_its_signal_at_the_same_moment_exactly_one_counts(here: Wild) -> None:
    def one(n: int) -> str:
        run = here.run("race", k=f"r{n}")
        time.sleep(0 if n == 0 else 2 if n == 23 else 0.9 + 0.01 * n)
        here.signal("t.race", f"r{n}")
        return run

    with ThreadPoolExecutor(12) as pool:
        runs = list(pool.map(one, range(24)))
    ways = []
    for run in runs:
        told = here.comes_to(run, "done")
        assert len(told["goals"]) == 1, told["goals"]
        ways += list(told["goals"])
        steps = [i.get("step") for i in here.call("GET", f"/v1/runs/{run}/timeline").json()["items"]]
        assert not {"heard", "late"} <= set(steps), steps
    assert (ways[0], ways[-1]) == ("heard", "late")


# who says so ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["journey:refund", "Journey:refund", "JOURNEY:x"])
def test_nobody_speaks_as_a_journey(here: Wild, source: str) -> None:
    assert here.signal("t.more", "k", source=source).status_code == 422
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": source.replace("j", "%6a"), "ce-type": "t.more"}
    assert here.call("POST", "/v1/signals", CRM, json={}, headers=headers).status_code == 422


def test_a_signal_for_a_customer_that_nobody_knows_starts_nothing(here: Wild) -> None:
    assert here.signal("t.many", customer="c-nobody", data={"items": [1]}).status_code == 422
    assert here.signal("t.many", data={"items": [1]}).status_code == 422
    event = {"order_id": "o-1", "amount": 1, "customer_id": "c-1"}
    for by in (BOT, PAT, SAM, LOOP):
        assert here.signal("shop.refund_wanted", by=by, data=event).status_code == 403


def test_what_is_about_another_customers_order_is_not_paid(here: Wild) -> None:
    order = here.plane.shop.order("o-theirs", "c-2")
    (run,) = here.signal(
        "shop.refund_wanted", data={"order_id": order, "amount": 100, "customer_id": "c-1"}, customer="c-2"
    ).json()["runs_started"]
    assert here.comes_to(run, "waiting", "stuck")["run"]["customer"] == "c-1"
    assert here.plane.shop.done(order) == []


def test_a_signal_id_is_not_used_again_for_something_else(here: Wild) -> None:
    run = here.run("grow", k="again")
    here.comes_to(run, "waiting")
    any = "/cxplane/cli"  # a source that two systems may use
    first = here.signal("t.more", "again", id="same", data={"x": 1}, source=any)
    assert first.json()["runs_reached"] == 1
    assert here.signal("t.more", "again", id="same", data={"x": 1}, by=ERP, source=any).json()["repeated"] is True
    for changes in ({"data": {"x": 2}}, {"type": "t.race"}, {"subject": "other"}):
        body: dict[str, Any] = {"type": "t.more", "subject": "again", "data": {"x": 1}, **changes}
        reply = here.signal(body["type"], body["subject"], id="same", data=body["data"], by=ERP, source=any)
        assert reply.status_code == 409, reply.text
    assert len(here.look(run)["tokens"]) == 1


def test_an_idempotency_key_is_its_callers_and_stands_for_one_body(here: Wild) -> None:
    def begin(**more: Any) -> Any:
        body = {"journey": "grow", "customer": "c-1", "input": {"k": "idem"}, **more}
        return here.call("POST", "/v1/runs", json=body, headers={"Idempotency-Key": "idem-1"})

    first = begin(conversation="one")
    assert first.status_code == 201
    assert begin(conversation="one").json()["repeated"] is True
    for changes in ({"conversation": "two"}, {"customer": "c-2"}, {"input": {"k": "x"}}, {"journey": "race"}):
        assert begin(**{"conversation": "one", **changes}).status_code == 409, changes
    assert here.start("grow", BOT, "idem-1", k="idem").status_code == 403
    assert here.start("grow", PAT, "idem-1", k="idem").status_code == 403


# what a journey may do -----------------------------------------------------------------------------------------

OVERREACH = {
    "plain": "  - pay: {call: shop.refund_order, with: {order_id: input.k, amount: '1'}}",
    "switch": '  - w: {switch: [{a: {when: "true", do: [{pay: CALL}]}}]}',
    "for": "  - w: {for: {in: '[1]'}, do: [{pay: CALL}]}",
    "catch": "  - w: {try: [{x: {raise: {error: odd}}}], catch: {do: [{pay: CALL}]}}",
    "fork": "  - w: {fork: {branches: [{a: {do: [{pay: CALL}]}}, {b: {do: [{n: {set: {n: '1'}}}]}}]}}",
}


@pytest.mark.parametrize("how", OVERREACH)
def test_a_journey_that_calls_beyond_its_charter_is_not_released(here: Wild, how: str) -> None:
    steps = OVERREACH[how].replace("CALL", "{call: shop.refund_order, with: {order_id: input.k, amount: '1'}}")
    folder = here.plane.control / "journeys" / "beyond"
    folder.mkdir(exist_ok=True)
    (folder / "charter.md").write_text(charter("beyond", "shop.get_order"))
    head = f"journey: beyond\nversion: 1\nsummary: x\nowner: service-team\ninput: {BODIES['grow'][0]}\n"
    (folder / "journey.yaml").write_text(f"{head}do:\n{steps}\n")
    try:
        ended = here.plane.cx("check", str(here.plane.control))
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert ended.code == 1
    assert "is not among the actions that the charter allows" in ended.out + ended.err


def test_the_key_of_a_journey_asks_for_nothing_beyond_its_charter(here: Wild) -> None:
    order = here.plane.shop.order("o-charter")
    reply = here.plane.refund(order, 100, LOOP)
    assert reply.json()["decision"] == "refuse", reply.text
    assert {r["code"] for r in reply.json()["reasons"]} == {"scope"}
    assert here.plane.shop.done(order) == []
    assert here.start("grow", LOOP, k="x").status_code == 403


def test_a_checkpoint_passed_for_one_item_says_nothing_of_the_next(here: Wild) -> None:
    small, large = here.plane.shop.order("o-small"), here.plane.shop.order("o-large")
    run = here.run("rounds", items=[{"id": small, "amount": 500}, {"id": large, "amount": 4000}])
    assert here.comes_to(run, "stuck")["error"]["name"] == "checkpoint"
    assert here.plane.shop.done(small) == [500]
    for what, step in (("skip", None), ("skip", "small"), ("retry", "small"), ("move", "pay"), ("skip", "pay")):
        body = {} if step is None else {"step": step}
        here.call("POST", f"/v1/runs/{run}/{what}", json=body)
        until(lambda: here.look(run)["run"]["status"] in ("stuck", "done", "failed"))
        time.sleep(0.3)
        assert here.plane.shop.done(large) == [], what
    again = here.call("POST", "/v1/journeys/rounds/migrate", json={"from": "live", "to": "live", "apply": True})
    assert again.status_code == 422
    assert here.plane.shop.done(large) == []


def test_a_run_switched_to_another_journey_passes_that_ones_gate(here: Wild) -> None:
    order = here.plane.shop.order("o-switch")
    run = here.run("rounds", items=[{"id": order, "amount": 9000}])
    here.comes_to(run, "stuck")
    wrong = here.call("POST", f"/v1/runs/{run}/switch", json={"journey": "refund"})
    assert (wrong.status_code, wrong.json()["where"].startswith("/input")) == (422, True)
    given = {"journey": "refund", "input": {"order_id": order, "amount": 9000}}
    assert here.call("POST", f"/v1/runs/{run}/switch", PAT, json=given).status_code == 403
    new = here.call("POST", f"/v1/runs/{run}/switch", json=given).json()["run"]
    assert here.comes_to(new["id"], "waiting")["tokens"]
    held = here.call("GET", "/v1/approvals?status=open").json()["items"]
    assert "shop.refund_order" in {a["action"] for a in held}
    assert here.plane.shop.done(order) == []


# tasks ---------------------------------------------------------------------------------------------------------


def test_a_task_is_answered_by_its_team_once_in_its_form_and_in_time(here: Wild) -> None:
    run = here.run("asks", k="t1")
    task = here.task(run)
    for by in (SAM, BOT, CRM, LOOP):
        assert here.answer(task, by, choice="a").status_code == 403, by
    for answer in ({"choice": "c"}, {"choice": ["a"]}, {"choice": "a", "approved": True}, {}, {"choice": None}):
        assert here.answer(task, **answer).status_code == 422
    assert here.answer(task, choice="a").status_code == 200
    assert here.answer(task, choice="a").status_code == 200
    assert here.answer(task, choice="b").status_code == 409
    late = here.run("asks", k="t2")
    task = here.task(late)
    here.comes_to(late, "failed")
    assert here.answer(task, choice="a").status_code == 409
    assert here.call("GET", f"/v1/tasks/{task}").json()["status"] == "defaulted"
    assert here.call("GET", "/v1/tasks?team=service-team", PAT).status_code == 403
    assert {t["team"] for t in here.call("GET", "/v1/tasks?status=all", PAT).json()["items"]} <= {"claims"}


# what gets out -------------------------------------------------------------------------------------------------


def test_no_personal_data_in_logs_metrics_and_errors(here: Wild) -> None:
    run = here.run("asks", k=MARK)
    task = here.task(run)
    here.answer(task, choice=MARK)
    here.answer(task, SAM, choice=MARK)
    here.call("POST", f"/v1/tasks/{task}/answer", PAT, json={"answer": {"choice": "a"}, "comment": MARK})
    here.comes_to(run, "failed")
    form = here.task(filled := here.run("fills", k=MARK))
    here.answer(form, values={"age": MARK, "name": MARK})
    here.answer(form, values={"age": 3, "name": MARK})
    here.comes_to(filled, "done")
    here.start("each", items=MARK)
    here.start("grow", k={"x": MARK})
    here.signal("t.many", data={"items": MARK}, customer="c-1")
    here.signal("t.many", data={"items": [1]}, customer=MARK)
    here.signal("t.more", MARK, data={"x": MARK}, id="marked")
    here.signal("t.more", MARK, data={"x": MARK + "2"}, id="marked")
    here.signal("t.more", time=MARK)
    here.comes_to(here.run("doubled", items=[MARK] * 3000), "stuck")
    here.comes_to(here.run("spin", order=MARK), "stuck")
    order = here.plane.shop.order(f"o-{MARK}")
    here.comes_to(here.run("rounds", items=[{"id": order, "amount": MARK}]), "stuck")
    metrics = here.call("GET", "/metrics", None).text
    assert "cxplane_" in metrics
    log = (here.plane.root / "serve.log").read_text()
    assert '"route": "/v1/signals"' in log
    for name, text in (("metrics", metrics), ("log", log), *(("error", e) for e in here.errors)):
        assert "marker-7731" not in text, (
            name,
            [line[:300] for line in text.splitlines() if "marker-7731" in line][:5],
        )


def test_nothing_of_all_this_made_the_plane_fail(here: Wild) -> None:
    log = (here.plane.root / "serve.log").read_text()
    assert "Traceback" not in log
    assert "failed with" not in log
    assert here.call("GET", "/health/ready", None).status_code == 200
