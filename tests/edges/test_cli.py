"""The command line: help that teaches, exit codes that scripts can use, JSON wherever it is asked for."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from cxplane.edges.cli import api
from cxplane.edges.cli.app import COMMANDS, cli, run
from cxplane.edges.cli.show import named_values, table
from tests.edges.world import SaidPlane, edge, view


def commands() -> Iterator[tuple[str, ...]]:
    """Every command and subcommand."""
    context = click.Context(cli)
    for name in COMMANDS:
        yield (name,)
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                yield (name, sub)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_teaches_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"Usage: cxplane {' '.join(words)}" in told
    assert "Example" in told
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(cli), word)
        assert found is not None
        command = found
    if not isinstance(command, click.Group):
        assert "--json" in told
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{words} {option.name} says nothing"


def test_the_first_help_names_every_command_and_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    told = capsys.readouterr().out
    assert "cxplane init" in told
    assert all(f"  {name}" in told for name in COMMANDS)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["ac"], "Did you mean `cxplane act`?"),
        (["nonsense"], "no command"),
        (["act"], "Missing argument"),
        (["act", "a.b", "amount"], "NAME=VALUE"),
        (["act", "a.b", "x=1", "x=2"], "given twice"),
        (["act", "a.b", "--input", "{"], "not JSON"),
        (["act", "a.b", "--input", '{"a": NaN}'], "not JSON"),
        (["act", "a.b", "--input", "[]"], "JSON object"),
        (["act", "a.b", "--input", "@/nowhere.json"], "cannot be read"),
        (["act", "a.b", "--confidence", "2"], "range"),
        (["serve", "--port", "99999"], "range"),
        (["serve", "--now", "tomorrow"], "--now"),
        (["approvals", "edit", "apr_1"], "say what to change"),
        (["approvals", "reject", "apr_1"], "--comment"),
        (["requests", "settle", "req_1"], "--done"),
        (["keys", "create", "agent:fin", "--expires", "soon"], "--expires"),
        (["actions", "--colour"], "--colour"),
        (["explain", ""], "empty"),
        (["runs", "show", ""], "empty"),
        (["runs", "start", "refund", "order_id"], "NAME=VALUE"),
        (["runs", "start", "refund", "--input", "@/nowhere.json"], "cannot be read"),
        (["runs", "list", "--status", "lost"], "lost"),
        (["runs", "watch", "run_1", "--every", "0"], "range"),
        (["runs", "move", "run_1"], "Missing argument"),
        (["tasks", "answer", "tsk_1"], "--approve"),
        (["tasks", "answer", "tsk_1", "--approve", "--done"], "say one of"),
        (["tasks", "answer", "tsk_1", "--answer", "[]"], "JSON object"),
        (["tasks", "answer", "tsk_1", "--done", "--input", "{}"], "--approve"),
        (["signal", "a.b", "--data", "{"], "not JSON"),
        (["signal", "a.b", "n=1", "--data", "[]"], "JSON object"),
        (["signal", "a.b", "--key", "cxp_secret"], "--api-key"),
        (["migrate", "refund"], "--from"),
        (["migrate", "refund", "--from", "9f", "--map", "a"], "OLD=NEW"),
        (["migrate", "refund", "--from", "9f", "--map", "a=b", "--map", "a=c"], "given twice"),
        (["release", "--requested", "soon"], "--requested"),
        (["release", "--requested", "2999-01-01T00:00:00Z"], "future"),
        (["work", "--concurrency", "0"], "range"),
        (["actions", "--url", "plane:8080"], "cannot be sent"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert "Traceback" not in told.err


def test_a_plane_that_does_not_answer_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["actions", "--url", "http://127.0.0.1:9"]) == 3
    assert "cxplane serve" in capsys.readouterr().err
    assert run(["act", "a.b", "--url", "http://127.0.0.1:9", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert "--idempotency-key cli-" in told["next"]


def test_importing_the_command_line_is_quick_and_light() -> None:
    heavy = "litestar uvicorn asyncpg httpx cedarpy joserfc prometheus_client rich sqlalchemy jsonschema pgqueuer"
    code = f"import sys, cxplane.edges.cli.app; print([m for m in {heavy.split()!r} if m in sys.modules])"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env())
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - began < 5  # the bound is loose: the list above is what is tested


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path("src").absolute())}


def test_values_are_json_where_they_are_json() -> None:
    said = named_values(
        ("amount=500", "note=two days", "ok=true", 'tags=["a"]', "id=007", "eq=a=b", "nan=NaN"), "an input value"
    )
    assert said == {
        "amount": 500,
        "note": "two days",
        "ok": True,
        "tags": ["a"],
        "id": "007",
        "eq": "a=b",
        "nan": "NaN",
    }


def test_a_saved_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = api.save_key(tmp_path / "data", "cxp_secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert stat.S_IMODE(api.save_key(tmp_path / "data", "cxp_other").stat().st_mode) == 0o600
    assert path.read_text() == "cxp_other\n"


# against an edge ---------------------------------------------------------------------------------------------


class Terminal:
    """The command line, pointed at an edge with a good key."""

    def __init__(self, http: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
        self.url, self.capsys = str(http.base_url), capsys

    def __call__(self, *args: str, key: str = "good") -> tuple[int, str, str]:
        code = run([*args, "--url", self.url, "--key", key])
        told = self.capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def cx(plane: SaidPlane, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    with edge(plane) as http:
        yield Terminal(http, capsys)


REASON = {
    "code": "policy",
    "text": "credits above 10.00 need a supervisor",
    "effect": "hold",
    "policy": "p1",
    "file": "policies/a.cedar",
    "line": 3,
}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"status": "previewed"}, 0),
        ({"status": "previewed", "decision": "refuse"}, 1),
        ({"status": "refused", "decision": "refuse"}, 1),
        ({"status": "failed"}, 1),
        ({"status": "held", "decision": "hold"}, 4),
        ({"status": "unknown"}, 4),
        ({"status": "stuck"}, 4),
    ],
)
def test_the_exit_code_of_act_is_the_answer(cx: Terminal, plane: SaidPlane, changes: dict[str, Any], code: int) -> None:
    plane.answer = view(reasons=(REASON,), **changes)
    assert cx("act", "billing.issue_credit", "amount=500", "--customer", "c-1")[0] == code
    ended, out, _ = cx("act", "billing.issue_credit", "amount=500", "--json")
    assert ended == code
    assert json.loads(out)["reasons"] == [REASON]


def test_act_sends_all_that_was_said_with_a_key_of_its_own(cx: Terminal, plane: SaidPlane) -> None:
    cx(
        *("act", "billing.issue_credit", "amount=500", "note=hello", "--customer", "c-1", "--reason", "why"),
        *("--recorded", "customer_confirmed=true", "--confidence", "0.5", "--dry-run", "--channel", "chat"),
    )
    ask = plane.asked[0][1][0]
    assert ask.input == {"amount": 500, "note": "hello"}
    assert (ask.customer, ask.reason, ask.recorded, ask.confidence, ask.dry_run, ask.channel) == (
        "c-1",
        "why",
        {"customer_confirmed": True},
        0.5,
        True,
        "chat",
    )
    assert ask.id.startswith("req_")


def test_the_same_idempotency_key_is_the_same_request(cx: Terminal, plane: SaidPlane) -> None:
    for _ in range(2):
        cx("act", "a.b", "--idempotency-key", "mine")
    assert plane.asked[0][1][0].id == plane.asked[1][1][0].id


def test_a_reason_is_told_with_policy_file_and_line(cx: Terminal, plane: SaidPlane) -> None:
    plane.answer = view(status="held", decision="hold", reasons=(REASON,), approval="apr_1")
    _, out, _ = cx("act", "a.b")
    assert "hold: credits above 10.00 need a supervisor [p1 policies/a.cedar:3]" in out
    assert "apr_1" in out
    assert "\x1b[" not in out  # no colours where there is no terminal


def test_a_problem_is_told_with_what_to_do_next(cx: Terminal) -> None:
    code, out, err = cx("customers", "show", "c-1")
    assert (code, out) == (1, "")
    assert "no customer" in err
    assert "→" in err
    code, out, err = cx("customers", "show", "c-1", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["next"]


def test_without_a_good_key_it_is_1(cx: Terminal) -> None:
    code, _, err = cx("requests", "list", key="wrong")
    assert code == 1
    assert "no such API key" in err


def test_an_id_cannot_leave_its_place_in_the_address(cx: Terminal, plane: SaidPlane) -> None:
    cx("requests", "show", "../approvals?x=1#y")
    assert plane.asked == [] or plane.asked[0][1][0] == "../approvals?x=1#y"


def test_the_saved_key_is_used_by_default(
    plane: SaidPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXPLANE_KEY", raising=False)
    api.save_key(tmp_path, "good")
    with edge(plane) as http:
        assert run(["act", "a.b", "--url", str(http.base_url), "--data", str(tmp_path)]) == 0
        assert run(["act", "a.b", "--url", str(http.base_url), "--data", str(tmp_path / "none")]) == 1
    assert "keys create" in capsys.readouterr().err


def test_what_answers_but_is_no_cxplane_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    import http.server
    import threading

    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert run(["actions", "--url", f"http://127.0.0.1:{server.server_port}"]) in (1, 3)
        assert "Traceback" not in capsys.readouterr().err
    finally:
        server.shutdown()
        server.server_close()


# the operator's files ------------------------------------------------------------------------------------------


def test_a_first_control_repo_is_right_and_passes_its_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "control")
    assert run(["init", folder, "--name", "northwind"]) == 0
    assert run(["check", folder]) == 0
    assert run(["test", folder]) == 0
    assert run(["diff", folder, folder]) == 0
    capsys.readouterr()
    assert run(["impact", f"{folder}/policies/refunds.cedar", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["actions"]
    assert run(["init", folder]) == 1
    assert "empty folder" in capsys.readouterr().err


def test_check_names_all_mistakes_at_once_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "control"
    run(["init", str(folder)])
    capsys.readouterr()
    with (folder / "budgets" / "refunds-by-ai.yaml").open("a") as file:
        file.write("colour: red\n")
    (folder / "policies" / "wrong.cedar").write_text("permit (principal, action, resource)")
    assert run(["check", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {m["file"] for m in told["mistakes"]} == {"budgets/refunds-by-ai.yaml", "policies/wrong.cedar"}
    assert run(["test", str(folder)]) == 1
    assert "cxplane check" in capsys.readouterr().err


def test_a_failing_policy_test_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "control"
    run(["init", str(folder)])
    tests = folder / "policies" / "tests" / "refunds.yaml"
    tests.write_text(tests.read_text().replace("decision: allow", "decision: refuse", 1))
    capsys.readouterr()
    assert run(["test", str(folder)]) == 1
    assert "expected refuse" in capsys.readouterr().out


def test_a_table_whose_columns_may_be_cut_has_one_line_a_row_and_ids_stay_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    id, other = "run_" + "0" * 32, "run_" + "1" * 32
    rows = [
        (
            id,
            "billing_dispute",
            "cancelling",
            "wait_for_the_document",
            "signal claim.document or claim.gone",
            "11-21 16:22",
        ),
        (other, "refund", "done", "", None, "2025-12-31"),
    ]
    names = ("run", "journey", "status", "at", "waits for", "since")
    table(names, rows, nothing="", whole=("run", "status", "since"), cut=("journey", "at", "waits for"), width=100)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "journey", "status", "at", "waits", "for", "since"]
    assert first.split()[0] == id and first.endswith("11-21 16:22") and "…" in first
    assert second.split() == [other, "refund", "done", "2025-12-31"]
    assert max(map(len, (head, first, second))) <= 100


def test_a_table_is_cut_only_where_there_is_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    row = ("run_" + "0" * 32, "refund", "waiting", "parcel", "signal shop.parcel", "11-21 16:22")
    names = ("run", "journey", "status", "at", "waits for", "since")
    table(names, [row], nothing="", cut=("journey", "at", "waits for"), width=100)
    assert " ".join(capsys.readouterr().out.splitlines()[1].split()) == " ".join(row)
