"""What the shape of the code promises, and import contracts cannot say."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "cxplane"
FILES = sorted(SRC.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def called(node: ast.AST) -> str:
    """The name that a call is made by, without what stands before the last dot."""
    if not isinstance(node, ast.Call):
        return ""
    match node.func:
        case ast.Name(id=said) | ast.Attribute(attr=said):
            return said
        case _:
            return ""


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


# one way to an action -------------------------------------------------------------------------------------


def test_an_allowed_is_made_in_judge_and_nowhere_else() -> None:
    makers = {name(path) for path in FILES for node in nodes(path) if called(node) == "Allowed"}
    assert makers == {"decide/judge.py"}


def test_an_allowed_is_not_made_from_another_one() -> None:
    """`replace(allowed, …)` would be a second way to one; `allowed.changed(…)` raises (`tests/domain/test_made.py`)."""
    assert {name(path) for path in FILES for node in nodes(path) if called(node) == "force_setattr"} == {
        "domain/decision.py"
    }
    for path in FILES:
        for node in nodes(path):
            if called(node) == "replace" and isinstance(node, ast.Call) and node.args:
                first = node.args[0]
                assert not (isinstance(first, ast.Name) and "allowed" in first.id.lower()), (
                    f"{name(path)}:{node.lineno}"
                )


def test_an_allowed_is_never_made_behind_the_type_checkers_back() -> None:
    ways = re.compile(r"Allowed\.__new__|object\.__new__\(Allowed|cast\(\s*[\"']?Allowed|getattr\([^)]*[\"']Allowed")
    assert [name(p) for p in FILES if ways.search(p.read_text(encoding="utf-8"))] == []


def test_systems_are_written_to_by_act_alone() -> None:
    """A write goes through `Connector.write`; outside the connectors, act calls it, and conformance to test it."""
    writers = {
        name(path)
        for path in FILES
        if path.parts[len(SRC.parts)] not in ("connectors", "ports", "adapters")
        for node in nodes(path)
        if called(node) == "write"
        and isinstance(node, ast.Call)
        and any(isinstance(arg, ast.Name) and "allowed" in arg.id for arg in node.args)
    }
    assert "act/trail.py" in writers
    assert writers <= {"act/trail.py", "control/conform.py", "loop/pulse.py"}


def test_a_write_takes_an_allowed_and_nothing_less() -> None:
    takes = [
        (name(path), ast.unparse(node.args.args[2].annotation or ast.Constant(None)))
        for path in FILES
        if "connectors" in path.parts or name(path) == "ports/systems.py"
        for node in nodes(path)
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "write" and len(node.args.args) > 2
    ]
    assert takes, "no connector writes?"
    assert {annotation for _, annotation in takes} == {"Allowed"}


# pure decisions ---------------------------------------------------------------------------------------------


def test_the_judge_has_no_clock_no_chance_and_no_await() -> None:
    judge = SRC / "decide" / "judge.py"
    assert not {module.split(".")[0] for module in imports_of(judge)} & {
        "time",
        "random",
        "asyncio",
        "os",
        "secrets",
        "uuid",
    }
    for node in nodes(judge):
        assert not isinstance(node, (ast.AsyncFunctionDef, ast.Await))
        assert called(node) not in ("now", "utcnow", "today")


def test_what_a_plane_does_goes_by_the_clock_it_was_given() -> None:
    """Which is the store's: a machine whose wall clock is wrong does no harm."""
    ours = ("loop", "journeys", "act", "decide", "people", "record")
    for path in FILES:
        if path.parts[len(SRC.parts)] in ours or name(path).startswith("adapters/postgres/"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"datetime\.(now|utcnow|today)\(|time\.time\(", text), name(path)


def test_the_domain_does_nothing_but_hold_words() -> None:
    for path in FILES:
        if path.parts[len(SRC.parts)] == "domain":
            outside = {module.split(".")[0] for module in imports_of(path)} & {
                "asyncio",
                "socket",
                "subprocess",
                "pathlib",
            }
            assert not outside, f"{name(path)} imports {outside}"
            assert not any(isinstance(node, ast.AsyncFunctionDef) for node in nodes(path)), name(path)
            asked = {n.attr for n in nodes(path) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "os"}
            assert asked <= {"urandom"}, f"{name(path)} uses os.{asked}"


def test_domain_types_are_frozen() -> None:
    for path in FILES:
        if path.parts[len(SRC.parts)] != "domain":
            continue
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                for decorator in node.decorator_list:
                    if "dataclass" in ast.unparse(decorator):
                        assert "frozen=True" in ast.unparse(decorator), f"{name(path)}: {node.name}"


# no second sight -------------------------------------------------------------------------------------------


def test_nothing_is_imported_by_star() -> None:
    stars = [
        name(p)
        for p in FILES
        for n in nodes(p)
        if isinstance(n, ast.ImportFrom) and any(a.name == "*" for a in n.names)
    ]
    assert stars == []


def test_nothing_prints_past_the_command_line() -> None:
    """Output belongs to the edges (`click.echo`); everything else logs, and logs hold no customer data."""
    printers = [name(p) for p in FILES for n in nodes(p) if isinstance(n, ast.Call) and ast.unparse(n.func) == "print"]
    assert printers == []


def test_no_secret_goes_into_a_log_or_a_message() -> None:
    """What `vault.secret(…)` gives is never an argument of a logging call or an exception."""
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.Call) and called(node) in (
                "debug",
                "info",
                "warning",
                "error",
                "exception",
                "echo",
            ):
                for inner in ast.walk(node):
                    assert called(inner) != "secret", f"{name(path)}:{node.lineno}"
            if isinstance(node, ast.Raise) and node.exc is not None:
                for inner in ast.walk(node.exc):
                    assert called(inner) != "secret", f"{name(path)}:{node.lineno}"


def test_code_is_never_made_from_text() -> None:
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{name(path)}:{node.lineno}"


# the layers ------------------------------------------------------------------------------------------------


def test_every_folder_has_its_layer_and_every_layer_its_folder() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    layers = next(c for c in contracts if c["type"] == "layers")
    assert layers["exhaustive"] is True
    told = {part.strip() for layer in layers["layers"] for part in layer.split("|")}
    there = {p.name for p in SRC.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    there |= {p.stem for p in SRC.glob("*.py") if p.stem != "__init__"}
    assert told == there


def test_every_edge_is_independent_of_the_others() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(
        c for c in config["tool"]["importlinter"]["contracts"] if c["name"] == "edges do not know each other"
    )
    there = {f"cxplane.edges.{p.name}" for p in (SRC / "edges").iterdir() if (p / "__init__.py").exists()}
    assert set(contract["modules"]) == there


def test_the_lock_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert "--index" not in lock and "--find-links" not in lock
    pins = re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==", lock, re.M)
    assert len(pins) == len(set(pins)) > 50
    assert lock.count("--hash=sha256:") >= len(pins)


def test_a_file_has_one_reason_to_change() -> None:
    """A long file has two. The limit is where the first such file was split."""
    assert [name(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 450] == []
