"""The gate from outside: real processes, the real store, a real system, and clients that nobody here wrote."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.edges.running import AUDIENCE, ISSUER, Running, set_up, until

ISSUER_KEY = ECKey.generate_key("P-256", {"kid": "k-1"})


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = set_up(tmp_path_factory.mktemp("plane"), {"keys": [ISSUER_KEY.as_dict(private=False)]})
    yield running
    if running.process is not None:
        running.stop()
    running.shop.close()


@pytest.fixture
def order(plane: Running, request: pytest.FixtureRequest) -> str:
    return plane.shop.order(f"o-{abs(hash(request.node.name)) % 10**9}")


def token(**changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "agent:helper", "iat": now, "exp": now + 300, **changes}
    return jwt.encode({"alg": "ES256", "kid": "k-1"}, claims, ISSUER_KEY)


def codes(told: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in told["reasons"]}


# asking --------------------------------------------------------------------------------------------------------


def test_what_policy_allows_is_done_once_and_confirmed(plane: Running, order: str) -> None:
    reply = plane.refund(order, 2500, key=f"k-{order}")
    told = reply.json()
    assert (reply.status_code, told["decision"], told["status"]) == (200, "allow", "done")
    assert told["output"]["refund_id"].startswith("r-")
    assert any(
        r.get("policy") == "small-refund" and r["file"] == "policies/refunds.cedar" and r["line"]
        for r in told["reasons"]
    )
    assert plane.shop.done(order) == [2500]
    again = plane.refund(order, 2500, key=f"k-{order}").json()
    assert (again["repeated"], again["id"], again["status"]) == (True, told["id"], "done")
    assert plane.shop.done(order) == [2500]
    assert plane.shop.tokens == {"Bearer shop-secret"}


def test_a_key_used_again_with_another_body_is_a_conflict(plane: Running, order: str) -> None:
    assert plane.refund(order, 2500, key=f"k-{order}").status_code == 200
    other = plane.refund(order, 2600, key=f"k-{order}")
    assert other.status_code == 409
    assert "fresh idempotency key" in other.json()["next"]
    assert plane.shop.done(order) == [2500]


def test_the_business_key_holds_across_callers_and_idempotency_keys(plane: Running, order: str) -> None:
    plane.refund(order, 2500, key="a")
    plane.refund(order, 2500, key="b")
    plane.refund(order, 2500, by="person:sam", key="c")
    assert plane.shop.done(order) == [2500]


@pytest.mark.parametrize("same_key", [True, False])
def test_callers_at_the_same_moment_do_it_once(plane: Running, order: str, same_key: bool) -> None:
    with ThreadPoolExecutor(12) as pool:
        replies = list(
            pool.map(lambda n: plane.refund(order, 2500, key=f"{order}-{'same' if same_key else n}"), range(12))
        )
    assert {r.status_code for r in replies} <= {200, 202}, [r.text for r in replies]
    assert plane.shop.done(order) == [2500]
    assert len({r.json()["id"] for r in replies}) == 1


def test_one_key_with_two_bodies_at_the_same_moment_is_done_once(plane: Running, order: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: plane.refund(order, 2500 + n % 2, key=f"{order}-two"), range(8)))
    assert {r.status_code for r in replies} <= {200, 202, 409}
    assert 409 in {r.status_code for r in replies}
    assert len(plane.shop.done(order)) == 1


def test_a_dry_run_shows_and_does_nothing(plane: Running, order: str) -> None:
    told = plane.refund(order, 2500, dry_run=True).json()
    assert (told["decision"], told["status"]) == ("allow", "previewed")
    assert told["preview"]
    assert "shop-secret" not in json.dumps(told)
    assert plane.shop.done(order) == []


def test_a_refusal_is_an_answer_with_its_reasons(plane: Running) -> None:
    order = plane.shop.order("o-little", paid=1000)
    reply = plane.refund(order, 2500)
    told = reply.json()
    assert (reply.status_code, told["decision"], told["status"]) == (200, "refuse", "refused")
    assert any(r.get("policy") == "no-more-than-paid" for r in told["reasons"])
    assert told["next"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"action": "shop.give_away", "input": {}}, "action"),
        ({"action": "shop.refund_order", "input": {"order_id": "o-1", "amount": 19.99}}, "input"),
        ({"action": "shop.refund_order", "input": {"order_id": "o-1", "amount": 100.0}}, "input"),
        ({"action": "shop.refund_order", "input": {"order_id": "o-1", "amount": "100"}}, "input"),
        ({"action": "shop.refund_order", "input": {"order_id": "o-1"}}, "input"),
        ({"action": "shop.refund_order", "input": {"order_id": "o-1", "amount": 5, "colour": "red"}}, "input"),
        (
            {"action": "shop.refund_order", "input": {"order_id": "o-1", "amount": 500}, "customer": "c-nobody"},
            "customer",
        ),
        (
            {"action": "shop.refund_order", "input": {"order_id": "o-1", "amount": 500}, "conversation": "con-none"},
            "conversation",
        ),
        ({"action": "shop.refund_order", "input": {"order_id": "o-none", "amount": 500}}, "fact"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(plane: Running, body: dict[str, Any], code: str) -> None:
    before = len(plane.shop.effects)
    told = plane.ask(**body).json()
    assert told["decision"] == "refuse", told
    assert code in codes(told)
    assert len(plane.shop.effects) == before


def test_two_customers_are_kept_apart(plane: Running, order: str) -> None:
    assert plane.refund(order, 2500, customer="c-2").json()["decision"] == "refuse"
    assert plane.shop.done(order) == []


# approvals -----------------------------------------------------------------------------------------------------


def held(plane: Running, order: str, amount: int = 9000) -> dict[str, Any]:
    reply = plane.refund(order, amount, reason="the parcel was crushed")
    told: dict[str, Any] = reply.json()
    assert (reply.status_code, told["decision"], told["status"]) == (202, "hold", "held")
    assert plane.shop.done(order) == []
    return told


def test_a_held_request_is_seen_and_approved_by_a_person_on_the_command_line(plane: Running, order: str) -> None:
    told = held(plane, order)
    listed = plane.cx("approvals", "list", "--json", by="person:sam").json["items"]
    assert told["approval"] in {a["id"] for a in listed}
    shown = plane.cx("approvals", "show", told["approval"], by="person:sam")
    assert "the parcel was crushed" in shown.out
    assert "may decide it" in shown.out
    done = plane.cx("approvals", "approve", told["approval"], "--comment", "seen", by="person:sam")
    assert done.code == 0, done.out + done.err
    assert plane.shop.done(order) == [9000]
    assert plane.cx("approvals", "approve", told["approval"], by="person:sam").code == 1


def test_an_approver_edits_and_both_requests_stay_on_record(plane: Running, order: str) -> None:
    told = held(plane, order)
    edited = plane.cx(
        "approvals", "edit", told["approval"], "amount=6000", "--comment", "half", "--json", by="person:sam"
    )
    assert edited.code == 4, edited.out + edited.err  # four eyes: who edits has asked for it
    assert edited.json["id"] != told["id"] and plane.shop.done(order) == []
    again = edited.json["approval"]
    plane.keys["person:kim"] = plane.cx("keys", "create", "person:kim", "--json").json["key"]
    assert plane.cx("approvals", "approve", again, "--comment", "mine", by="person:sam").code == 1
    assert plane.cx("approvals", "approve", again, "--comment", "seen", by="person:kim").code == 0
    assert plane.shop.done(order) == [6000]
    old = plane.cx("requests", "show", told["id"], "--json", by="agent:helper").json
    assert (old["status"], old["replaced_by"]) == ("replaced", edited.json["id"])


def test_a_rejected_request_is_not_done(plane: Running, order: str) -> None:
    told = held(plane, order)
    assert plane.cx("approvals", "reject", told["approval"], "--comment", "no", by="person:sam").code == 0
    assert plane.cx("requests", "show", told["id"], by="agent:helper").code == 1
    assert plane.shop.done(order) == []


def test_the_one_who_asked_cannot_approve(plane: Running, order: str) -> None:
    told = held(plane, order)
    with plane.http("agent:helper") as http:
        reply = http.post(f"/v1/approvals/{told['approval']}/approve")
    assert reply.status_code in (403, 409)
    assert reply.json()["next"]
    assert plane.shop.done(order) == []


def test_wait_gives_the_outcome_of_a_decision_by_a_person(plane: Running, order: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(plane.refund, order, 9000, wait=30)
        found: list[dict[str, Any]] = []

        def there() -> bool:
            with plane.http("person:sam") as http:
                items = http.get("/v1/approvals?status=open").json()["items"]
                ids = [a["id"] for a in items]
                found[:] = [
                    v for v in (http.get(f"/v1/approvals/{id}").json() for id in ids) if v["input"]["order_id"] == order
                ]
            return bool(found)

        until(there)
        with plane.http("person:sam") as http:
            assert http.post(f"/v1/approvals/{found[0]['approval']['id']}/approve").status_code == 200
        assert waiting.result(40).json()["status"] == "done"


# who asks ------------------------------------------------------------------------------------------------------


def test_a_token_of_the_issuer_opens_and_others_do_not(plane: Running) -> None:
    def status(credential: str) -> int:
        with plane.http(Authorization=f"Bearer {credential}") as http:
            return http.get("/v1/requests").status_code

    assert status(token()) == 200
    assert status(token(exp=int(time.time()) - 120)) == 401
    assert status(token(aud="other")) == 401
    assert status(token(sub="agent:nobody")) == 401
    head, body, signature = token().split(".")
    assert status(f"{head}.{body}.{signature[:-4]}AAAA") == 401
    assert status(f"eyJhbGciOiJub25lIn0.{body}.") == 401


def test_a_key_is_refused_once_it_is_revoked_or_wrong(plane: Running) -> None:
    made = plane.cx("keys", "create", "agent:helper", "--json").json

    def status(key: str) -> int:
        with plane.http(Authorization=f"Bearer {key}") as http:
            return http.get("/v1/requests").status_code

    assert status(made["key"]) == 200
    assert status(made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1")) == 401
    assert status("cxp_000000000000_" + "0" * 48) == 401
    assert plane.cx("keys", "revoke", made["id"]).code == 0
    until(lambda: status(made["key"]) == 401, 10)
    states = {k["id"]: k["state"] for k in plane.cx("keys", "list", "--json").json["items"]}
    assert states[made["id"]] == "revoked"
    assert made["key"] not in json.dumps(plane.cx("keys", "list", "--json").json)


def test_a_key_that_has_expired_is_refused(plane: Running) -> None:
    key = plane.cx("keys", "create", "agent:helper", "--expires", "1s", "--json").json["key"]
    time.sleep(1.2)
    with plane.http(Authorization=f"Bearer {key}") as http:
        reply = http.get("/v1/requests")
    assert reply.status_code == 401
    assert "expired" in reply.json()["detail"]


def test_a_key_for_nobody_is_not_made(plane: Running) -> None:
    ended = plane.cx("keys", "create", "agent:helpr")
    assert ended.code == 1
    assert "agent:helper" in ended.err


def test_permissions_are_those_of_the_release(plane: Running) -> None:
    with plane.http("agent:helper") as http:
        assert http.get("/v1/customers").status_code == 403
        assert http.get("/v1/entries").status_code == 403
        assert http.put("/v1/customers/c-9", json={}).status_code == 403
        assert http.get("/v1/requests?caller=person:sam").status_code == 403
    with plane.http("person:sam") as http:
        assert http.get("/v1/entries").status_code == 200


# looking back --------------------------------------------------------------------------------------------------


def test_a_decision_is_explained_in_plain_words_and_listed(plane: Running, order: str) -> None:
    id = plane.refund(order, 2500).json()["id"]
    words = plane.cx("explain", id, by="agent:helper")
    assert words.code == 0
    assert "small-refund" in words.out
    with plane.http("agent:helper", Accept="text/plain") as http:
        plain = http.get(f"/v1/decisions/{id}/explain")
    assert plain.headers["content-type"].startswith("text/plain")
    assert plain.text.strip() == words.out.strip()
    listed = plane.cx("decisions", "--action", "shop.refund_order", "--verdict", "allow", "--json", by="person:sam")
    assert id in {row["id"] for row in listed.json["items"]}


def test_lists_have_pages_without_gaps_or_repeats(plane: Running, order: str) -> None:
    for n in range(5):
        plane.refund(plane.shop.order(f"{order}-{n}"), 100)
    with plane.http("person:sam") as http:
        whole = [r["id"] for r in http.get("/v1/requests?limit=200").json()["items"]]
        paged: list[str] = []
        page = http.get("/v1/requests?limit=2").json()
        while True:
            paged += [r["id"] for r in page["items"]]
            if page["next"] is None or len(paged) > len(whole) + 5:
                break
            page = http.get("/v1/requests", params={"limit": 2, "cursor": page["next"]}).json()
    assert paged == whole


@pytest.mark.parametrize(
    "path", ["/v1/requests?cursor=nonsense", "/v1/approvals?cursor=%7B%7D", "/v1/customers?cursor=x"]
)
def test_a_cursor_of_another_making_is_refused_or_empty_but_no_failure(plane: Running, path: str) -> None:
    with plane.http("person:sam" if "customers" not in path else "system:crm-sync") as http:
        assert http.get(path).status_code in (200, 422)


def test_the_record_is_read_as_json_lines_and_goes_on_where_it_stopped(plane: Running) -> None:
    first = plane.cx("entries", "--limit", "3", "--json", by="person:sam")
    positions = [json.loads(line)["position"] for line in first.out.splitlines()]
    assert len(positions) == 3
    rest = plane.cx("entries", "--after", str(positions[-1]), "--limit", "250", "--json", by="person:sam")
    after = [json.loads(line)["position"] for line in rest.out.splitlines()]
    assert after == sorted(after)
    assert after[0] > positions[-1]


def test_the_four_questions_and_the_budgets_are_answered(plane: Running) -> None:
    with plane.http("person:sam") as http:
        assert len(http.get("/v1/questions").json()) == 4
        assert http.get("/v1/budgets").json()["items"][0]["id"] == "refunds-by-ai"


# clients nobody here wrote -------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_is_enough(plane: Running, order: str) -> None:
    body = json.dumps({"action": "shop.refund_order", "customer": "c-1", "input": {"order_id": order, "amount": 700}})
    call = ["curl", "-sS", "-w", "\n%{http_code}", f"{plane.url}/v1/requests", "-H", "Content-Type: application/json"]
    auth = ["-H", f"Authorization: Bearer {plane.keys['agent:helper']}"]
    done = subprocess.run(
        [*call, *auth, "-H", f"Idempotency-Key: {order}", "-d", body], capture_output=True, text=True, check=True
    )
    told, _, status = done.stdout.rpartition("\n")
    assert (status, json.loads(told)["status"]) == ("200", "done")
    nobody = subprocess.run([*call, "-d", body], capture_output=True, text=True, check=True)
    assert nobody.stdout.endswith("401")


def test_bytes_that_are_no_http_do_not_hurt(plane: Running) -> None:
    host, port = plane.url.removeprefix("http://").split(":")
    for noise in (
        b"\x00\xff\xfe\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/requests HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"G" * 70_000,
    ):
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            raw.sendall(noise)
            raw.settimeout(2)
            try:
                raw.recv(1024)
            except (TimeoutError, ConnectionError):
                pass
    with plane.http() as http:
        assert http.get("/health/ready").status_code == 200


def test_metrics_count_decisions_and_the_log_holds_nothing_of_a_customer(plane: Running, order: str) -> None:
    plane.refund(order, 2500, reason="secret-of-the-customer")
    with plane.http() as http:
        text = http.get("/metrics").text
    assert 'cxplane_decisions_total{action="shop.refund_order",verdict="allow"}' in text
    assert "cxplane_ready 1.0" in text
    log = (plane.root / "serve.log").read_text()
    assert '"route": "/v1/requests"' in log
    for secret in ("secret-of-the-customer", order, "c-1", "shop-secret", plane.keys["agent:helper"]):
        assert secret not in log


# releases and processes ----------------------------------------------------------------------------------------


def test_a_release_is_taken_without_a_restart_and_rolled_back(plane: Running) -> None:
    policies = plane.control / "policies" / "refunds.cedar"
    before = policies.read_text()
    first = plane.cx("releases", "--json").json["items"][0]["hash"]
    policies.write_text(before.replace("amount <= 5000", "amount <= 2600"))
    assert "small-refund" in plane.cx("diff", "live", str(plane.control)).out
    made = plane.cx("release", str(plane.control), "--note", "less", "--json")
    assert made.code == 0, made.out + made.err
    assert made.json["live"]

    def decides(hash: str) -> bool:
        with plane.http() as http:
            return bool(http.get("/health/ready").json()["release"] == hash)

    until(lambda: decides(made.json["release"]))
    order = plane.shop.order("o-after-release")
    told = plane.refund(order, 3000).json()
    assert (told["decision"], told["release"]) == ("hold", made.json["release"])
    assert plane.cx("rollback").code == 0
    until(lambda: decides(first))
    policies.write_text(before)
    order = plane.shop.order("o-after-rollback")
    assert plane.refund(order, 3000).json()["decision"] == "allow"


def test_a_control_repo_with_mistakes_is_not_released(plane: Running, tmp_path: Path) -> None:
    shutil.copytree(plane.control, tmp_path / "control")
    with (tmp_path / "control" / "plane.yaml").open("a") as file:
        file.write("colour: red\n")
    ended = plane.cx("release", str(tmp_path / "control"), "--json")
    assert ended.code == 1
    assert "colour" in ended.out


def test_a_write_that_was_not_tested_for_conformance_does_not_go_live(plane: Running, tmp_path: Path) -> None:
    control = tmp_path / "control"
    shutil.copytree(plane.control, control)
    text = (control / "plane.yaml").read_text()
    (control / "plane.yaml").write_text(text.replace("gates: [check, test]", "gates: [check, test, conformance]"))
    ended = plane.cx("release", str(control), "--json")
    assert ended.code == 1
    assert (ended.json["live"], ended.json["made"]) == (False, True)
    assert "cxplane conform shop" in ended.out


def test_a_taken_port_and_a_served_data_folder_are_told_apart(plane: Running) -> None:
    port = plane.url.rpartition(":")[2]
    taken = plane.cx("serve", "--port", port)
    assert taken.code == 3
    assert f"port {port}" in taken.err
    served = plane.cx("serve", "--port", "0")
    assert served.code == 3
    assert "served already" in served.err


def test_a_store_that_does_not_answer_is_3(plane: Running) -> None:
    ended = plane.cx("releases", "--dsn", "postgresql://nobody@127.0.0.1:9/none")
    assert ended.code == 3, ended.err
    assert "Traceback" not in ended.err
    assert "→" in ended.err


def test_zz_the_plane_stops_in_good_order_and_comes_back_with_everything(plane: Running, order: str) -> None:
    told = plane.refund(order, 2500, key=f"k-{order}").json()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(plane.refund, plane.shop.order("o-waiting"), 9000, wait=50)
        time.sleep(1)
        began = time.monotonic()
        assert plane.stop() == 0
        assert time.monotonic() - began < 25
        assert waiting.result(20).status_code == 202  # told as it stood, not cut off
    plane.start()
    again = plane.refund(order, 2500, key=f"k-{order}").json()
    assert (again["repeated"], again["id"]) == (True, told["id"])
    assert plane.shop.done(order) == [2500]


def test_zz_a_killed_plane_loses_and_repeats_nothing(plane: Running, order: str) -> None:
    told = plane.refund(order, 2500, key=f"k-{order}").json()
    assert plane.stop(signal.SIGKILL) == -signal.SIGKILL
    plane.start()
    again = plane.refund(order, 2500, key=f"k-{order}").json()
    assert (again["repeated"], again["id"], again["status"]) == (True, told["id"], "done")
    assert plane.shop.done(order) == [2500]
