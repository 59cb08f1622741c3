"""Stories of an insurer, played on real processes: a store, a plane that is killed in the middle, four systems.

python examples/insurer/run.py     exit code 0 if every check held; a minute, most of it for making ready
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.insurer.running import CONTROL, SYSTEMS, Estate, Failed, control_copy

DAY_S = 6
CUSTOMERS = range(3001, 3013)
UNVERIFIED = 3008
PATIENCE_S = 60


class Stories:
    """Each method is one story; `must` is a claim that it makes."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.broken: list[str] = []
        self._letters: dict[str, int] = {}

    # saying and asking ------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        print(f"   {text}", flush=True)

    def must(self, true: bool, what: str) -> None:
        print(f"   {'✓' if true else '✗'} {what}", flush=True)
        if not true:
            self.broken.append(what)

    def letters(self, n: int) -> list[str]:
        """What the customer was written; what is new is shown."""
        texts = self.estate.letters(f"c-{n}")
        for text in texts[self._letters.get(f"c-{n}", 0) :]:
            self.say(f"c-{n} reads: {text}")
        self._letters[f"c-{n}"] = len(texts)
        return texts

    def report(self, by: str, n: int, kind: str, cents: int, **more: Any) -> str:
        """The run of the claim."""
        input = {
            "policy_id": f"hp-{n}",
            "reference": f"call-{uuid.uuid4().hex[:6]}",
            "kind": kind,
            "happened_on": datetime.now(UTC).date().isoformat(),
            "amount": cents,
            **more,
        }
        body = {"journey": "claim_eligibility", "input": input, "customer": f"c-{n}"}
        run: str = self.estate.call(by, "POST", "/v1/runs", body=body)["run"]["id"]
        self.say(f"{by} takes notice of a loss of c-{n}: {kind}, {cents / 100:.2f} EUR")
        return run

    def signal(self, type: str, key: str, **data: Any) -> dict[str, Any]:
        event = {"specversion": "1.0", "type": type, "source": "/portal", "id": uuid.uuid4().hex, "subject": key}
        told: dict[str, Any] = self.estate.call("system:portal", "POST", "/v1/signals", body={**event, "data": data})
        self.say(f"the portal tells: {type} {key}")
        return told

    def sends(self, n: int, claim: str, document: str) -> None:
        self.estate.upload(claim, document)
        self.say(f"c-{n} sends a {document.replace('_', ' ')}")
        self.signal("claims.document_received", claim, document=document)

    def run(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.estate.call("person:ruth", "GET", f"/v1/runs/{id}")
        return found

    def until(self, what: str, true: Callable[[], Any]) -> Any:
        """What it gives, once it gives something."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := true():
                return found
            time.sleep(0.05)
        raise Failed(f"it did not come to this in {PATIENCE_S} s: {what}")

    def waits_at(self, run: str, step: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found = self.run(run)
            return found if any(t["step"] == step and t.get("waits_for") for t in found["tokens"]) else None

        found: dict[str, Any] = self.until(f"run {run} waits at {step}", there)
        return found

    def claim_of(self, run: str) -> str:
        return str(self.run(run)["state"]["steps"]["claim"]["claim_id"])

    def ended(self, run: str) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            found = self.run(run)
            return found if found["run"]["status"] in ("done", "failed", "cancelled", "stuck") else None

        found: dict[str, Any] = self.until(f"run {run} ends", over)
        for name, goal in found["goals"].items():
            self.say(f"→ {found['run']['status']}; {name}: {goal['achieved']} {goal.get('evidence', {})}")
        return found

    def evidence(self, found: dict[str, Any], goal: str) -> dict[str, Any]:
        told: dict[str, Any] = found["goals"].get(goal, {}).get("evidence", {})
        return told

    def answer(self, by: str, run: str, step: str, why: str, **answer: Any) -> dict[str, Any]:
        found = self.waits_at(run, step)
        task: dict[str, Any] = next(t for t in found["tasks"] if t["step"] == step)
        self.say(f"{task['team']} is asked: {task['text']}")
        self.estate.call(by, "POST", f"/v1/tasks/{task['id']}/answer", body={"answer": answer, "comment": why})
        said = answer.get("choice") or answer.get("values") or "done"
        self.say(f"{by} answers: {said} ({why})")
        return task

    def approve(self, by: str, action: str, why: str) -> None:
        """The open approval of that action, once there is one."""

        def waiting() -> str | None:
            items = self.estate.call(by, "GET", "/v1/approvals?status=open")["items"]
            return next((a["id"] for a in items if a["action"] == action), None)

        id = self.until(f"{action} waits for {by}", waiting)
        self.estate.call(by, "POST", f"/v1/approvals/{id}/approve", body={"comment": why})
        self.say(f"{by} approves {action}: {why}")

    # the stories ------------------------------------------------------------------------------------------

    def small_and_clear(self) -> None:
        found = self.ended(self.report("agent:wren", 3001, "glass", 18_000))
        told = self.evidence(found, "claim_decided")
        self.letters(3001)
        self.must((told["outcome"], told["amount"]) == ("paid", 13_000), "paid in one go: 180 EUR less 50 EUR excess")
        self.must(self.estate.did("claims", about=told["claim"]).count("pay_out") == 1, "once")

    def nobody_is_sure_who_asks(self) -> None:
        run = self.report("agent:wren", UNVERIFIED, "glass", 18_000)
        self.waits_at(run, "verified")
        self.letters(UNVERIFIED)
        self.must(not self.estate.did("claims", about=f"hp-{UNVERIFIED}"), "nothing is shown, nothing is opened")
        self.verify(UNVERIFIED)
        self.signal("customer.verified", f"c-{UNVERIFIED}")
        told = self.evidence(self.ended(run), "claim_decided")
        self.must(told.get("outcome") == "paid", "verified, and paid")

    def verify(self, n: int) -> None:
        proof = {"level": 2, "method": "one-time code", "lifetime": "8h"}
        self.estate.call("system:portal", "POST", f"/v1/customers/c-{n}/assurance", body=proof)

    def two_days_for_a_document(self) -> None:
        run = self.report("agent:wren", 3002, "water", 42_000)
        self.waits_at(run, "document")
        claim = self.claim_of(run)
        self.letters(3002)
        port = int(self.estate.plane_url.rsplit(":", 1)[1])
        self.estate.kill("plane")
        self.say("the plane is killed (SIGKILL), and stays away for half a day")
        time.sleep(DAY_S / 2)
        self.estate.start_plane(port)
        self.say("the plane is back")
        self.until("the reminder after a day", lambda: len(self.estate.letters("c-3002")) == 2)
        self.letters(3002)
        self.must(self.run(run)["run"]["status"] == "waiting", "the run waits where it waited")
        self.sends(3002, claim, "plumber_report")
        told = self.evidence(self.ended(run), "claim_decided")
        self.letters(3002)
        self.must(
            (told.get("outcome"), told.get("amount")) == ("paid", 27_000), "it goes on as if nothing had happened"
        )
        did = [one for one in self.estate.did("claims", about=claim) if one != "add_document"]
        self.must(did == ["open_claim", "assess_claim", "pay_out"], "opened once, assessed once, paid once")

    def a_document_that_never_comes(self) -> None:
        run = self.report("agent:wren", 3007, "storm", 90_000)
        found = self.ended(run)
        self.letters(3007)
        self.must(
            self.evidence(found, "claim_decided")["why"] == "documents are missing", "not decided, and it says so"
        )
        items = self.estate.call("person:ruth", "GET", "/v1/tasks?team=claims-desk&status=open")["items"]
        mine = [task for task in items if task["run"] == run]
        self.must(len(mine) == 1, f"the claims desk has it: {mine[0]['text'] if mine else 'no task'}")

    def above_the_limit(self) -> None:
        run = self.report("person:tilda", 3003, "water", 240_000)
        self.waits_at(run, "document")
        claim = self.claim_of(run)
        self.sends(3003, claim, "plumber_report")
        self.waits_at(run, "payout")
        self.must(self.estate.claim(claim)["status"] == "assessed", "2,250 EUR wait for a claims handler")
        self.approve("person:tilda", "claims.pay_out", "seen the plumber's bill")
        self.must(self.evidence(self.ended(run), "claim_decided").get("amount") == 225_000, "then they are paid")

    def not_clear(self) -> None:
        run = self.report("agent:wren", 3004, "unsure", 60_000, words="my bicycle is gone from the cellar")
        self.answer("person:tilda", run, "which_kind", "clearly", choice="theft")
        self.waits_at(run, "document")
        self.sends(3004, self.claim_of(run), "police_report")
        self.answer("person:tilda", run, "decide_by_hand", "the receipt is from last week", choice="investigate")
        values = {"verdict": "genuine", "note": "the shop confirms the sale"}
        self.answer("person:bruno", run, "look_into_it", "two calls", values=values)
        told = self.evidence(self.ended(run), "claim_decided")
        self.must(told.get("outcome") == "paid" and "bruno" in told["by"], "people decided, and the record says who")

    def not_covered(self) -> None:
        for n, why in ((3005, "not in force"), (3006, "does not cover glass")):
            told = self.evidence(self.ended(self.report("agent:wren", n, "glass", 18_000)), "claim_decided")
            self.letters(n)
            self.must(told.get("outcome") == "declined" and why in told["why"], f"declined: {why}")

    def a_complaint_made_good(self) -> None:
        data = {"customer_id": "c-3009", "words": "Nobody called me back for three weeks."}
        run = self.signal("complaint.received", "c-3009", **data)["runs_started"][0]
        values = {"finding": "upheld", "offered": 15_000, "text": "You are right, and we are sorry."}
        self.answer("person:emil", run, "answer", "three weeks is too long", values=values)
        self.waits_at(run, "customer_reply")
        self.letters(3009)
        complaint = self.run(run)["state"]["steps"]["logged"]["complaint_id"]
        self.signal("complaint.answered", complaint, accepted=True)
        self.approve("person:vera", "complaints.pay_redress", "above 100 EUR, and right")
        told = self.evidence(self.ended(run), "complaint_settled")
        self.must(told.get("redress") == 15_000, "acknowledged, answered by a person, made good")

    def a_complaint_that_goes_on(self) -> None:
        data = {"customer_id": "c-3006", "words": "My glass is not covered? Nobody told me."}
        run = self.signal("complaint.received", "c-3006", **data)["runs_started"][0]
        values = {"finding": "not_upheld", "offered": 0, "text": "Your policy names what it covers."}
        self.answer("person:emil", run, "answer", "read the policy", values=values)
        self.waits_at(run, "customer_reply")
        complaint = self.run(run)["state"]["steps"]["logged"]["complaint_id"]
        self.signal("complaint.answered", complaint, accepted=False)
        self.answer("person:opal", run, "to_ombudsman", "papers are complete", done=True)
        found = self.ended(run)
        self.must(self.evidence(found, "complaint_settled").get("ombudsman") is True, "the ombudsman has it")
        self.must(found["goals"]["complaint_settled"]["achieved"] is False, "and nobody claims that it is settled")

    def books_balance(self) -> None:
        """What the systems did is what is on record, claim by claim."""
        done: dict[str, int] = dict.fromkeys(SYSTEMS, 0)
        writes = {a["id"] for a in self._pages("/v1/actions") if a["effect"] == "write"}
        keys = set()
        for request in self._pages("/v1/requests?status=done"):
            if request["action"] in writes:
                done[request["action"].split(".")[0]] += 1
                keys.add(request["key"])
        for system in SYSTEMS:
            effects = sum(e["key"] in keys for e in self.estate.effects(system))
            self.must(effects == done[system], f"{system}: {effects} effects, {done[system]} outcomes on record")

    def _pages(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            more = f"{'&' if '?' in path else '?'}cursor={cursor}" if cursor else ""
            page = self.estate.call("person:ruth", "GET", path + more)
            items += page["items"]
            cursor = page.get("next") or ""
            if not cursor:
                return items


def prepare(estate: Estate) -> None:
    """Systems up, catalog proven, release made, plane up, keys given out, customers known."""

    def step(words: str, work: Callable[[], Any]) -> None:
        began = time.monotonic()
        work()
        print(f"✓ {words} ({time.monotonic() - began:.1f} s)", flush=True)

    for name in SYSTEMS:
        step(f"{name}: a system of its own", lambda name=name: estate.start_system(name))
    control = control_copy(estate.home / "control", estate.urls, day_ms=DAY_S * 1000)
    step("conformance: every write done once, confirmed, refused when wrong", lambda: estate.conform(control))
    estate.reset()
    step("release: check, test, conformance", lambda: estate.cxplane("release", str(control)))
    step("plane and embedded Postgres", estate.start_plane)
    step("API keys", estate.make_keys)
    stories = Stories(estate)
    for n in CUSTOMERS:
        estate.call("system:portal", "PUT", f"/v1/customers/c-{n}", body={"attributes": {}})
        said = {"purpose": "service", "granted": True, "source": "contract"}
        estate.call("system:portal", "POST", f"/v1/customers/c-{n}/consents", body=said)
        if n != UNVERIFIED:
            stories.verify(n)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"The control repo is a copy of {CONTROL.relative_to(CONTROL.parents[2])}, but a day lasts {DAY_S} s in it:")
    print(f"   within: 2d → {2 * DAY_S}s, wait: 1d → {DAY_S}s, and so on; nothing else is changed", flush=True)
    with tempfile.TemporaryDirectory(prefix="cxplane-insurer-") as folder:
        Path(folder).chmod(0o755)
        estate = Estate(Path(folder))
        try:
            prepare(estate)
            stories = Stories(estate)
            told = (
                stories.small_and_clear,
                stories.nobody_is_sure_who_asks,
                stories.two_days_for_a_document,
                stories.a_document_that_never_comes,
                stories.above_the_limit,
                stories.not_clear,
                stories.not_covered,
                stories.a_complaint_made_good,
                stories.a_complaint_that_goes_on,
                stories.books_balance,
            )
            for n, story in enumerate(told, 1):
                print(f"\n{n}. {story.__name__.replace('_', ' ')}", flush=True)
                story()
            print(f"\n{'every check held' if not stories.broken else f'{len(stories.broken)} checks did not hold'}")
            return 1 if stories.broken else 0
        except KeyboardInterrupt:
            return 130
        except Failed as problem:
            print(f"✗ {problem}")
            return 1
        finally:
            estate.stop()


if __name__ == "__main__":
    sys.exit(main())
