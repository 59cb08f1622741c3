"""The main job, live: AI agents and people ask for actions on four business systems; the plane judges, does and records.

make demo            stays up, with the addresses printed
make demo ONCE=1     ends by itself, with exit code 0 if every check held
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from examples.broadband.running import CONTROL, SYSTEMS, Estate, Failed

COLOURS = {"allow": "green", "hold": "yellow", "refuse": "red"}
CUSTOMERS = (1001, 1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015)


class Show:
    """Each request a row, as it is answered. Plain lines where nobody watches a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._table = Table(expand=True, show_edge=False, pad_edge=False)
        for name, ratio in (("who", 2), ("asks for", 5), ("answer", 2), ("because", 6)):
            self._table.add_column(name, ratio=ratio, overflow="fold")
        self._live: Live | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        with Live(self._table, console=self.console, refresh_per_second=8, vertical_overflow="visible") as self._live:
            yield
        self._live = None

    def row(self, who: str, what: str, decision: str, status: str, why: str) -> None:
        colour = COLOURS.get(decision, "cyan")
        if self._live is None:
            self.console.print(f"{who:<14} {what}: [{colour}]{status}[/] {why}", highlight=False, soft_wrap=True)
        else:
            self._table.add_row(who, what, f"[{colour}]{status}[/]", why)


class Demo:
    def __init__(self, estate: Estate, show: Show, *, pace_s: float) -> None:
        self.estate, self.show, self._pace = estate, show, pace_s
        self.broken: list[str] = []

    # asking -------------------------------------------------------------------------------------------

    def ask(
        self, who: str, what: str, action: str, customer: int, *, confirmed: bool = False, **input: Any
    ) -> dict[str, Any]:
        """One request, shown as a row. Raises httpx.HTTPError if the plane goes away in the middle."""
        body: dict[str, Any] = {"action": action, "input": input, "customer": f"c-{customer}", "channel": "chat"}
        if who.startswith("agent:"):
            body["confidence"] = 0.93
        if confirmed:
            body["recorded"] = {"customer_confirmed": True}
        with self.estate.client(who) as client:
            answer = client.post("/v1/requests", json=body)
        told: dict[str, Any] = answer.json()
        if answer.status_code >= 400:
            self.show.row(who, what, "refuse", str(answer.status_code), told.get("detail", ""))
            return told
        self._row(who, what, told)
        time.sleep(self._pace)
        return told

    def _row(self, who: str, what: str, told: dict[str, Any]) -> None:
        reasons = [self._reason(r) for r in told["reasons"]]
        status = told["status"] + (" (repeat: nothing done again)" if told.get("repeated") else "")
        self.show.row(who, what, told["decision"], status, "; ".join(reasons))

    @staticmethod
    def _reason(reason: dict[str, Any]) -> str:
        where = f" [{reason['file']}:{reason['line']}]" if reason.get("file") else f" [{reason['code']}]"
        return reason["text"] + where.replace("[", "\\[")

    def must(self, true: bool, what: str) -> None:
        """A claim of the demonstration; what does not hold is told at the end, and is the exit code."""
        if not true:
            self.broken.append(what)
            self.show.row("check", what, "refuse", "does not hold", "")

    # scenes -------------------------------------------------------------------------------------------

    def run(self) -> None:
        for scene in (
            self.allowed_and_repeated,
            self.refused,
            self.held_edited_approved,
            self.four_eyes,
            self.repairs,
            self.timed_out_after_commit,
            self.killed_in_the_middle,
            self.budget_used_up,
            self.taken_back,
        ):
            scene()

    def credit(self, who: str, customer: int, dispute: str, cents: int) -> dict[str, Any]:
        return self.ask(
            who,
            f"credit {cents / 100:.2f} to c-{customer}",
            "billing.issue_credit",
            customer,
            account_id=f"a-{customer}",
            dispute_id=dispute,
            amount=cents,
            reason="outage",
        )

    def allowed_and_repeated(self) -> None:
        first = self.credit("agent:fin", 1001, "d-1", 1500)
        again = self.credit("agent:fin", 1001, "d-1", 1500)
        self.must(first["status"] == "done" and again["id"] == first["id"], "an impatient retry gets the first answer")
        waived = self.ask(
            "agent:fin",
            "waive a late fee of c-1004",
            "billing.waive_fee",
            1004,
            account_id="a-1004",
            fee_id="fe-1004",
            reason="goodwill",
        )
        self.must(waived["status"] == "done", "a first late fee is waived")
        desk = self.credit("person:tomas", 1009, "d-2", 6000)
        self.must(desk["status"] == "done", "a person at the desk has a higher limit")

    def refused(self) -> None:
        self.must(self.credit("agent:fin", 1001, "d-3", 25000)["decision"] == "refuse", "too much for an assistant")
        self.must(self.credit("agent:fin", 1002, "d-4", 1000)["decision"] == "refuse", "a fraud hold stops it")
        self.must(self.credit("agent:fin", 1005, "d-5", 1000)["decision"] == "refuse", "nobody was verified")
        self.must(
            self.credit("agent:juno", 1001, "d-6", 1000)["decision"] == "refuse", "billing is out of juno's scope"
        )
        other = self.ask(
            "agent:fin",
            "credit 10.00 to somebody else's account",
            "billing.issue_credit",
            1001,
            account_id="a-1003",
            dispute_id="d-7",
            amount=1000,
            reason="outage",
        )
        self.must(other["decision"] == "refuse", "one customer's talk does not reach another's account")

    def held_edited_approved(self) -> None:
        held = self.credit("agent:fin", 1003, "d-8", 6000)
        self.must(held["decision"] == "hold", "above its limit an assistant asks")
        with self.estate.client("person:maria") as maria:
            shown = maria.get(f"/v1/approvals/{held['approval']}").raise_for_status().json()
            edited = dict(shown["input"]) | {"amount": 4000}
            body = {"input": edited, "comment": "40.00 is what the outage was worth"}
            done = maria.post(f"/v1/approvals/{held['approval']}/approve", json=body).raise_for_status().json()
        self._row("person:maria", "edits it to 40.00 and approves", done)
        self.must(
            done["status"] == "done" and done["output"]["amount"] == 4000, "the edited amount is what was credited"
        )

    def four_eyes(self) -> None:
        refund = {"account_id": "a-1010", "payment_id": "pm-1010-2", "amount": 60000, "reason": "double_payment"}
        held = self.ask("person:henrik", "refund 600.00 to c-1010", "billing.process_refund", 1010, **refund)
        if held.get("decision") != "hold":
            self.must(False, "a large refund waits for a second person")
            return
        path = f"/v1/approvals/{held['approval']}/approve"
        with self.estate.client("person:henrik") as same:
            alone = same.post(path, json={})
        self.show.row("person:henrik", "approves it himself", "refuse", str(alone.status_code), alone.json()["detail"])
        with self.estate.client("person:britt") as other:
            done = other.post(path, json={"comment": "seen both payments"}).raise_for_status().json()
        self._row("person:britt", "approves it", done)
        self.must(alone.status_code == 403 and done["status"] == "done", "four eyes")

    def repairs(self) -> None:
        self.ask("agent:harbor", "where order or-1007 is", "field_service.get_order_status", 1007, order_id="or-1007")
        router = self.ask(
            "agent:juno",
            "send a router to c-1007",
            "field_service.send_router",
            1007,
            customer_id="c-1007",
            reference="t-1",
        )
        self.must(router.get("status") == "done", "a router goes out where the line test blames it")
        day = (datetime.now(UTC).date() + timedelta(days=3)).isoformat()
        visit = self.ask(
            "agent:juno",
            f"a technician for c-1008 on {day}",
            "field_service.schedule_technician",
            1008,
            customer_id="c-1008",
            day=day,
            window="08-12",
        )
        self.must(visit.get("status") == "done", "a broken line gets a technician")

    def timed_out_after_commit(self) -> None:
        self.estate.fault("billing", "timeout_after_commit", times=1, seconds=5)
        self.show.row("billing", "does the next write, then never answers", "", "fault", "")
        told = self.credit("agent:fin", 1011, "d-9", 1000)
        done = self.until_done(told["id"])
        made = [e for e in self.estate.effects("billing") if e["body"].get("dispute_id") == "d-9"]
        self.show.row("cxplane", "asks billing what became of it", "allow", done["status"], "found by confirm")
        self.must(done["status"] == "done" and len(made) == 1, "a lost answer is found out, not repeated")

    def killed_in_the_middle(self) -> None:
        self.estate.fault("billing", "slow", times=1, seconds=2)
        gone = threading.Event()

        def asks() -> None:
            try:
                self.credit("agent:fin", 1012, "d-10", 1000)
            except (httpx.HTTPError, ValueError):
                gone.set()

        asking = threading.Thread(target=asks)
        asking.start()
        time.sleep(1.0)
        port = self.estate.kill_plane()
        asking.join()
        self.show.row("SIGKILL", "the plane, in the middle of a credit", "", "killed", "the caller got no answer")
        self.estate.start_plane(port)
        self.show.row("cxplane", "starts again", "", "serves", "what was begun is on record")
        self.must(gone.is_set(), "the caller lost its answer")
        again = self.credit("agent:fin", 1012, "d-10", 1000)
        done = self.until_done(again["id"])
        made = [e for e in self.estate.effects("billing") if e["body"].get("dispute_id") == "d-10"]
        self.show.row(
            "cxplane", "finds out what became of it", "allow", done["status"], f"effects in billing: {len(made)}"
        )
        self.must(done["status"] == "done" and len(made) == 1, "killed in the middle, done exactly once")

    def budget_used_up(self) -> None:
        held: dict[str, Any] = {}
        for n, customer in enumerate((1013, 1014, 1015, 1004, 1009, 1011)):
            told = self.credit("agent:fin", customer, f"d-2{n}", 2000)
            if told.get("decision") == "hold":
                held = told
                break
        codes = [r["code"] for r in held.get("reasons", [])]
        self.must("budget" in codes, "at the end of its daily budget an assistant asks")
        if held:
            with self.estate.client("person:maria") as maria:
                answer = maria.post(f"/v1/approvals/{held['approval']}/reject", json={"comment": "tomorrow"})
            self.show.row("person:maria", "rejects it", "refuse", answer.json()["status"], "not today")

    def taken_back(self) -> None:
        with self.estate.client("person:tomas") as tomas:
            mine = tomas.get("/v1/requests", params={"action": "billing.issue_credit", "status": "done"}).json()[
                "items"
            ]
            answer = tomas.post(f"/v1/requests/{mine[0]['id']}/undo", json={"reason": "credited twice by hand"})
        told = answer.json()
        if answer.status_code < 400:
            self._row("person:tomas", "takes his credit back", told)
        self.must(told.get("decision") in ("allow", "hold"), "what was done can be taken back, through the same gate")

    def until_done(self, id: str, within_s: float = 40) -> dict[str, Any]:
        told: dict[str, Any] = {}
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            with suppress(httpx.HTTPError), self.estate.client("agent:fin") as fin:
                told = fin.get(f"/v1/requests/{id}").json()
                if told.get("status") in ("done", "failed", "stuck"):
                    break
            time.sleep(0.2)
        return told

    # afterwards -------------------------------------------------------------------------------------------

    def compare(self) -> dict[str, tuple[int, int]]:
        """Effects in each system beside outcomes on record, for what the plane asked."""
        on_record: dict[str, int] = dict.fromkeys(SYSTEMS, 0)
        with self.estate.client("person:lena") as lena:
            writes = {a["id"] for a in self._all(lena, "/v1/actions") if a["effect"] == "write"}
            keys = set()
            for request in self._all(lena, "/v1/requests", status="done"):
                if request["action"] in writes:
                    on_record[request["action"].split(".")[0]] += 1
                    keys.add(request["key"])
        effects = {s: sum(e["key"] in keys for e in self.estate.effects(s)) for s in SYSTEMS}
        return {s: (effects[s], on_record[s]) for s in SYSTEMS}

    @staticmethod
    def _all(client: httpx.Client, path: str, **filters: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {**filters, **({"cursor": cursor} if cursor else {})}
            page = client.get(path, params=params).raise_for_status().json()
            items += page["items"]
            cursor = page.get("next")
            if not cursor:
                return items


def questions(console: Console, estate: Estate) -> None:
    """The four questions that every operator is asked, answered by the running plane."""
    with estate.client("person:lena") as lena:
        told = lena.get("/v1/questions").raise_for_status().json()
    governed = told["which_actions_exist_and_who_governs_each"]
    table = Table(title="1 · Which actions exist, and who governs each?", title_justify="left", expand=True)
    for name in ("action", "owner", "risk", "policies", "budgets", "approvers"):
        table.add_column(name, overflow="fold")
    for a in governed:
        if a["risk"] != "low":
            cells = [", ".join(a[k]) for k in ("policies", "budgets", "approvers")]
            table.add_row(a["action"], a["owner"], a["risk"], *cells)
    console.print(table, f"({len(governed)} actions in all; the low-risk ones are left out here)\n")
    where = told["where_context_lives_and_how_to_export_it"]
    lines = [where["store"], f"now: {where['now']}", "export: " + " · ".join(where["export"])]
    console.print(Panel("\n".join(lines), title="2 · Where does customer context live, and how is it exported?"))
    kept = told["what_survives_a_change_of_vendor_or_model"]
    lines = [
        f"{len(kept['plain_files'])} plain files, release {kept['release'][:12]}",
        f"behind the catalog, replaceable one by one: {', '.join(kept['rented'])}",
        f"AI agents: {', '.join(kept['agents'])}",
        kept["note"],
    ]
    console.print(Panel("\n".join(lines), title="3 · What survives a change of vendor or model?"))
    logic = told["what_logic_hands_a_case_to_a_person"]
    lines = [f"{p['policy']}: {p['reason']} ({p['file']}:{p['line']})" for p in logic["policies"]]
    lines += [
        f"budget {b['budget']}: then {b['then']} for {', '.join(b['approvers']) or 'nobody'}" for b in logic["budgets"]
    ]
    lines.append(logic["outcomes"])
    console.print(Panel("\n".join(lines).replace("[", "\\["), title="4 · What logic hands a case to a person?"))


def prepare(console: Console, estate: Estate) -> None:
    """Systems up, catalog proven, release made, keys given out, plane up, customers known."""

    def step(words: str, work: Callable[[], Any]) -> Any:
        began = time.monotonic()
        with console.status(words) if console.is_terminal else nullcontext():
            result = work()
        console.print(f"[green]✓[/] {words} ({time.monotonic() - began:.1f} s)", highlight=False)
        return result

    for name in SYSTEMS:
        step(f"{name}: a business system of its own", lambda name=name: estate.start_system(name))
    step("conformance: every write done once, confirmed, undone, refused when wrong", estate.conform)
    step("release: check, test, conformance", lambda: estate.cxplane("release", str(CONTROL)))
    step("plane and embedded Postgres", estate.start_plane)
    step("API keys for agents and people", estate.make_keys)
    step("customers, verified and asked for consent", lambda: _customers(estate))


def _customers(estate: Estate) -> None:
    with estate.client("system:crm-sync") as crm:
        for n in (*CUSTOMERS, 1005):
            crm.put(f"/v1/customers/c-{n}", json={"attributes": {"segment": "private"}}).raise_for_status()
            said = {"purpose": "service", "granted": True, "source": "contract"}
            crm.post(f"/v1/customers/c-{n}/consents", json=said).raise_for_status()
            if n != 1005:  # nobody has verified this one yet
                proof = {"level": 2, "method": "one-time code", "lifetime": "8h"}
                crm.post(f"/v1/customers/c-{n}/assurance", json=proof).raise_for_status()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end with a summary instead of staying up")
    given = parser.parse_args()
    console = Console()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="cxplane-demo-") as folder:
        Path(folder).chmod(0o755)
        estate = Estate(Path(folder))
        began = time.monotonic()
        try:
            prepare(console, estate)
            show = Show(console)
            demo = Demo(estate, show, pace_s=0.0 if given.once else 0.4)
            console.rule("AI agents and people ask")
            with show.live():
                demo.run()
            console.rule("four questions, answered from live data")
            questions(console, estate)
            console.rule("effects in the systems = outcomes on record")
            for system, (effects, outcomes) in demo.compare().items():
                demo.must(effects == outcomes, f"{system}: {effects} effects, {outcomes} outcomes")
                console.print(f"{system:<14} {effects} effects, {outcomes} outcomes on record", highlight=False)
            for what in demo.broken:
                console.print(f"[red]✗[/] {what}", highlight=False)
            if not demo.broken:
                console.print(f"[green]✓[/] every check held, in {time.monotonic() - began:.0f} s", highlight=False)
            if not given.once:
                stay(console, estate, stop)
            return 1 if demo.broken else 0
        except KeyboardInterrupt:
            return 130
        except Failed as problem:
            console.print(f"[red]✗[/] {problem}", highlight=False)
            return 1
        finally:
            estate.stop()


def stay(console: Console, estate: Estate, stop: threading.Event) -> None:
    """Until Ctrl-C or SIGTERM."""
    lines = [
        f"{'plane':<14} {estate.plane_url}   (OpenAPI: {estate.plane_url}/openapi.json)",
        *(f"{name:<14} {url}" for name, url in estate.urls.items()),
        "",
        "In another terminal (the key belongs to this demonstration and dies with it):",
        f"  export CXPLANE_URL={estate.plane_url}",
        f"  export CXPLANE_KEY={estate.keys['person:maria']}",
        "  .venv/bin/cxplane decisions",
        "  .venv/bin/cxplane explain REQUEST",
        "  .venv/bin/cxplane journeys list",
        "  .venv/bin/cxplane signal billing.dispute_opened --key d-77 customer_id=c-1004 account_id=a-1004 \\",
        "      dispute_id=d-77 case_id=ca-1004 amount=1250",
        "  .venv/bin/cxplane runs list",
        "",
        "Ctrl-C ends everything.",
    ]
    console.rule("it stays up")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    with suppress(KeyboardInterrupt):
        stop.wait()


if __name__ == "__main__":
    sys.exit(main())
