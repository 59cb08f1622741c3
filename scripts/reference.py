"""The reference pages, made from the code: what is written there cannot be wrong for long."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "cxplane"


def head(title: str, made_from: str, text: str = "") -> list[str]:
    note = f"<!-- Made by `make docs` from {made_from}. Do not edit: change the code, then run it again. -->"
    return [f"# {title}", "", note, "", *([text, ""] if text else [])]


def row(*cells: object) -> str:
    return "| " + " | ".join(str(c).replace("\n", " ").replace("|", "\\|") for c in cells) + " |"


def rows(titles: tuple[str, ...], body: Iterator[tuple[object, ...]] | list[tuple[object, ...]]) -> list[str]:
    return [row(*titles), "|" + "---|" * len(titles), *(row(*cells) for cells in body), ""]


def page(lines: list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


# the command line ------------------------------------------------------------------------------------------


def cli() -> str:
    import click

    from cxplane.edges.cli import app

    lines = head("The command line", "`src/cxplane/edges/cli/`", inspect.cleandoc(app.__doc__ or "").split("\n\n")[1])
    top = click.Context(app.cli, info_name="cxplane", max_content_width=100, terminal_width=100)
    for section in dict.fromkeys(where for where, _, _ in app.COMMANDS.values()):
        lines += [f"## {section}", ""]
        for name, (where, _, _) in app.COMMANDS.items():
            if where == section and (command := app.cli.get_command(top, name)) is not None:
                lines += _command(click.Context(command, parent=top, info_name=name, terminal_width=100), level=3)
    return page(lines)


def _command(ctx: Any, level: int) -> list[str]:
    import click

    command = ctx.command
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.envvar:
            parameter.show_envvar = True
    told = command.get_help(ctx)
    lines = [
        f"{'#' * level} {ctx.command_path}",
        "",
        "```text",
        *(line.rstrip() for line in told.splitlines()),
        "```",
        "",
    ]
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None:
                lines += _command(click.Context(inner, parent=ctx, info_name=name, terminal_width=100), level + 1)
    return lines


# the HTTP API ----------------------------------------------------------------------------------------------


def http() -> str:
    from cxplane.edges.http.openapi import document
    from cxplane.edges.http.routes import ROUTES

    spec = document(ROUTES)
    lines = head(
        "The HTTP API", "the table of routes in `src/cxplane/edges/http/`", spec["info"]["description"].strip()
    )
    lines += ["A running plane serves the same as OpenAPI 3.1 at `/openapi.json`.", ""]
    for tag in spec["tags"]:
        lines += [f"## {tag['name']}", "", tag["description"], ""]
        for path, methods in spec["paths"].items():
            for method, told in methods.items():
                if tag["name"] in told["tags"]:
                    lines += _operation(method.upper(), path, told)
    lines += ["## Shapes", ""]
    for name, schema in sorted(spec["components"]["schemas"].items()):
        lines += [f"### {name}", "", schema.get("description", ""), "", *_fields(schema)]
    return page(lines)


def _operation(method: str, path: str, told: Mapping[str, Any]) -> list[str]:
    lines = [f"### `{method} {path}`", "", told["summary"] + ".", ""]
    if "description" in told:
        lines += [told["description"], ""]
    if told.get("security") == []:
        lines += ["Asks for no credentials.", ""]
    if parameters := [p for p in told.get("parameters", ()) if p["in"] != "path"]:
        found = [(f"`{p['name']}`", p["in"], _type(p["schema"]), p.get("description", "")) for p in parameters]
        lines += rows(("parameter", "in", "type", "meaning"), found)
    if "requestBody" in told:
        content = told["requestBody"]["content"]["application/json"]
        optional = "" if told["requestBody"]["required"] else " (may be left out)"
        lines += [f"Body{optional}: {_type(content['schema'])}.", ""]
        if "example" in content:
            lines += ["```json", json.dumps(content["example"], indent=2), "```", ""]
        for media, other in told["requestBody"]["content"].items():
            if other is not content:
                lines += [f"Or `{media}`: {_type(other['schema'])}.", ""]
    answers: list[tuple[object, ...]] = []
    examples: list[tuple[str, Any]] = []
    for status, answer in told["responses"].items():
        if "$ref" in answer:
            answers.append((status, f"[{answer['$ref'].rsplit('/', 1)[1]}](errors.md#http)"))
        else:
            media, content = next(iter(answer["content"].items()))
            shape = _type(content["schema"]) if media == "application/json" else f"`{media}`"
            answers.append((status, f"{answer['description']} {shape}"))
            if "example" in content:
                examples.append((status, content["example"]))
    lines += rows(("status", "answer"), answers)
    for status, example in examples:
        lines += [
            f"Example of an answer, {status}:",
            "",
            "```json",
            json.dumps(example, indent=2, ensure_ascii=False),
            "```",
            "",
        ]
    return lines


def _fields(schema: Mapping[str, Any]) -> list[str]:
    if "properties" not in schema:
        return [_type(schema), ""]
    required = set(schema.get("required", ()))
    found = []
    for name, field in schema["properties"].items():
        text = field.get("description", "")
        if field.get("default") not in (None, "", [], {}):
            text += f" Default: `{json.dumps(field['default'])}`."
        found.append((f"`{name}`" + (" *" if name in required else ""), _type(field), text.strip()))
    return rows(("field (* always there)", "type", "meaning"), found)


def _type(schema: Mapping[str, Any], link: Callable[[str], str] = lambda n: f"[{n}](#{n.lower()})") -> str:
    """A JSON Schema in a few words."""
    if "$ref" in schema:
        return link(schema["$ref"].rsplit("/", 1)[1])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join("null" if v is None else f"`{v}`" for v in schema["enum"])
    for either in ("anyOf", "oneOf"):
        if either in schema and "properties" not in schema:
            return " or ".join(dict.fromkeys(_type(s, link) for s in schema[either]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema['items'], link)}" if schema.get("items") else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping) and "properties" not in schema:
        return f"map of {_type(schema['additionalProperties'], link)}"
    words = {"string": "text", "integer": "whole number", "object": "object", "boolean": "true or false"}
    told = words.get(kind, kind)
    if schema.get("pattern"):
        told += f" like `{schema['examples'][0]}`" if schema.get("examples") else ""
    return f"{told} ({schema['format']})" if "format" in schema else told


# the control repo ------------------------------------------------------------------------------------------


def control() -> str:
    from cxplane.control.init import starter

    lines = head(
        "The files of a control repo",
        "the JSON Schemas in `schemas/` and the files that `cxplane init` writes",
        "A key that is not listed here is a mistake, and `cxplane check` names its line. Words that come again in several "
        "places are explained below each table. `cxplane init` writes the schemas beside the files, so that editors "
        "complete and check while you type.",
    )
    examples = starter("example")
    shown = {
        "plane": "plane.yaml",
        "action": "catalog/shop/refund_order.yaml",
        "system": "systems/shop.yaml",
        "policy-tests": "policies/tests/refunds.yaml",
        "budget": "budgets/refunds-by-ai.yaml",
        "people": "people/people.yaml",
        "agent": "agents/helper.md",
        "journey": "journeys/refund/journey.yaml",
        "charter": "journeys/refund/charter.md",
    }
    for kind in (
        "plane",
        "action",
        "table",
        "system",
        "people",
        "agent",
        "journey",
        "charter",
        "policy-tests",
        "budget",
    ):
        schema = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8"))
        title = schema["title"].removeprefix("cxplane: ")
        lines += [f"## {title[0].upper()}{title[1:]}", "", schema.get("description", ""), ""]
        lines += _keys(schema, kind)
        if kind in shown:
            text = examples[shown[kind]]
            text = "\n".join(line for line in text.splitlines() if not line.startswith("# yaml-language-server"))
            lines += [
                f"Example, `{shown[kind]}`:",
                "",
                "```" + ("markdown" if kind in ("agent", "charter") else "yaml"),
                text,
                "```",
                "",
            ]
    lines += [
        "## Policies",
        "",
        "`policies/*.cedar`: Cedar, checked against a schema that is made from the catalog. See "
        "[how to write a policy](../how-to/write-a-policy.md).",
        "",
        "```cedar",
        examples["policies/refunds.cedar"].rstrip(),
        "```",
        "",
    ]
    return page(lines)


def _keys(schema: Mapping[str, Any], kind: str) -> list[str]:
    def link(name: str) -> str:
        return f"[{name.replace('_', ' ')}](#{kind}-{name.replace('_', '-')})"

    lines = _key_table(schema, link)
    for name, part in schema.get("$defs", {}).items():
        lines += [f'<a id="{kind}-{name.replace("_", "-")}"></a>**{name.replace("_", " ")}**: {_meant(part, link)}', ""]
        if name.startswith("step_") and "if" in part.get("properties", {}):  # said once, of every step
            own = {key: field for key, field in part["properties"].items() if key not in ("summary", "if", "then")}
            part = {**part, "properties": own}
        if part.get("properties"):
            lines += _key_table(part, link)
    return lines


def _meant(part: Mapping[str, Any], link: Callable[[str], str]) -> str:
    told = "" if part.get("properties") else _type({k: v for k, v in part.items() if k != "title"}, link)
    if told == "anything" and "description" in part:
        told = ""
    text = part.get("description") or part.get("title", "")
    return ". ".join(t.rstrip(".") for t in (told, text) if t) + "."


def _key_table(schema: Mapping[str, Any], link: Callable[[str], str]) -> list[str]:
    found: list[tuple[object, ...]] = []

    def walk(inner: Mapping[str, Any], path: str) -> None:
        required = set(inner.get("required", ()))
        for name, field in inner.get("properties", {}).items():
            text = field.get("description", "") or field.get("title", "")
            if "default" in field:
                text += f" Default: `{json.dumps(field['default'])}`."
            found.append((f"`{path}{name}`" + (" *" if name in required else ""), _type(field, link), text.strip()))
            if field.get("properties"):
                walk(field, f"{path}{name}.")
            elif isinstance(field.get("items"), Mapping) and field["items"].get("properties"):
                walk(field["items"], f"{path}{name}[].")

    walk(schema, "")
    return rows(("key (* required)", "type", "meaning"), found) if found else []


# errors ----------------------------------------------------------------------------------------------------


def errors() -> str:
    from cxplane.domain import errors as family
    from cxplane.edges.cli.app import exit_code
    from cxplane.edges.http.problems import TYPES, problem_of

    tree = inspect.cleandoc(family.__doc__ or "").split("\n\n")[1]
    lines = head("Errors", "`src/cxplane/domain/errors.py` and `src/cxplane/edges/http/problems.py`")
    lines += [
        "An error is a surprise. A refusal is none: it is an [answer](answers.md), on record and explained like a yes. "
        "Every error carries one sentence on what to do next, and never holds customer data.",
        "",
        "```text",
        inspect.cleandoc(tree),
        "```",
        "",
        "## The family",
        "",
    ]
    found = []
    for name, kind in vars(family).items():
        if inspect.isclass(kind) and issubclass(kind, family.CxplaneError) and kind is not family.CxplaneError:
            for label, example in _examples(name, kind):
                text = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
                found.append((f"`{label}`", problem_of(example).status, exit_code(example), text, example.next))
    lines += rows(("error", "HTTP", "exit code", "meaning", "what to do next (as a rule)"), found)
    lines += [
        "## HTTP",
        "",
        "Errors come as `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`, `next`, `request_id`, "
        "and `where` (a JSON pointer, or `?name` of a query parameter) where one is known.",
        "",
    ]
    lines += rows(
        ("type", "status", "title"), [(f"`urn:cxplane:problem:{t}`", s, title) for t, (s, title) in TYPES.items()]
    )
    return page(lines)


def _examples(name: str, kind: Any) -> list[tuple[str, Any]]:
    """One instance of each kind of an error, made from the types of its arguments."""
    from cxplane.domain.errors import FailureKind

    told: list[tuple[str, Any]] = []
    for failure in FailureKind if "FailureKind" in str(inspect.signature(kind)) else [None]:
        given: dict[str, Any] = {}
        for parameter in inspect.signature(kind).parameters.values():
            text = str(parameter.annotation)
            if parameter.default is not inspect.Parameter.empty:
                continue
            given[parameter.name] = (
                failure if "FailureKind" in text else 1.0 if "float" in text else () if "Sequence" in text else "…"
            )
        told.append((name if failure is None else f"{name} ({failure})", kind(**given)))
    return told


# answers ---------------------------------------------------------------------------------------------------

CODES = {
    "policy": "A policy of the control repo; `policy`, `file` and `line` say which.",
    "no_policy": "No policy permits it. Silence refuses.",
    "policy_error": "A policy failed, or the engine could not be asked.",
    "input": "The input breaks the contract; `where` is a JSON pointer.",
    "caller": "The caller may not ask for this at all.",
    "customer": "The customer is missing or not known.",
    "conversation": "The conversation is not known, or is with somebody else.",
    "fact": "A fact could not be had; `where` is its name.",
    "scope": "The agent's data scope does not reach so far.",
    "consent": "The customer has not allowed the use of this data for this purpose.",
    "budget": "A budget has no room; `where` is its id.",
    "mode": "An AI may only propose this; or only a person may do it.",
    "confidence": "The stated confidence is below the threshold.",
    "key": "The business key cannot be made from the input.",
    "approver": "Who released it, or why somebody may not.",
    "action": "The live release has no such action.",
}


def answers() -> str:
    from cxplane.domain.outcome import Status

    decision = (SRC / "domain" / "decision.py").read_text(encoding="utf-8")
    outcome = (SRC / "domain" / "outcome.py").read_text(encoding="utf-8")
    listed = re.search(r"code: str  # ([a-z_ |]+)", decision)
    codes = [code.strip() for code in listed[1].split("|")] if listed else []
    if set(codes) != set(CODES):
        raise SystemExit(f"scripts/reference.py: CODES and Reason.code differ: {sorted(set(codes) ^ set(CODES))}")
    lines = head("Answers", "`src/cxplane/domain/decision.py` and `outcome.py`")
    lines += [
        "Every request gets a decision with reasons. How it was asked does not matter: HTTP, command line or code.",
        "",
        "## Decisions",
        "",
        *rows(
            ("decision", "meaning"),
            [
                ("`allow`", "It may be carried out, and is, once."),
                ("`hold`", "It waits for a person. Nothing is done until then; it expires safely."),
                ("`refuse`", "It is not done. The reasons say why, `next` what would change it."),
            ],
        ),
        "## Where a request stands",
        "",
    ]
    meaning = {
        "done": "the system confirmed it",
        "held": "an approval waits for a person",
        "refused": "policy or a rule said no",
        "previewed": "a dry run: judged and shown, not done",
        "expired": "nobody decided in time, so it is not done",
        "rejected": "a person said no",
    }
    found = []
    for status in Status:
        said = re.search(rf'^    {status.name} = "{status.value}"  # (.+)$', outcome, re.M)
        text = said[1] if said else meaning.get(status.value, "")
        found.append((f"`{status.value}`", "yes" if status.final else "not yet", text))
    lines += rows(("status", "final", "meaning"), found)
    lines += [
        "## Reasons",
        "",
        "A reason is `{code, text, effect}`, with `policy`, `file`, `line` or `where` where they apply. `effect` is what this "
        "reason alone would lead to.",
        "",
        *rows(("code", "meaning"), [(f"`{code}`", CODES[code]) for code in codes]),
    ]
    return page(lines)


# settings --------------------------------------------------------------------------------------------------

SETTINGS = {
    "CXPLANE_DSN": "The Postgres to use, as `postgresql://…`. Not set: an embedded one in the data folder.",
    "CXPLANE_LEASE": "How soon the work of a dead or paused worker goes to another, like `10s`. Default: `10s`.",
    "CXPLANE_SEAL_KEY": "The key that signs the record, from the vault: as `cxplane audit keys new` prints it; several, newest first, "
    "with spaces between them. Not set: one in the data folder for the embedded store, no seal for a Postgres of your own.",
    "CXPLANE_SEAL_SINK": "Where signed checkpoints are kept apart: a folder, or an https address that takes PUT. "
    "Default: `seals` in the data folder.",
    "CXPLANE_SEAL_SINK_TOKEN": "A token for that address, from the vault.",
    "CXPLANE_SEAL_EVERY": "How often new entries are put under a signed checkpoint. Default: `5s`.",
    "CXPLANE_DATA": "The data folder: the embedded store, and the saved key of the command line. Default: `.cxplane`.",
    "CXPLANE_CONTROL": "The control repo that `serve` releases at the start where nothing is live yet.",
    "CXPLANE_TENANT": "Whose plane it is, where the store serves several.",
    "CXPLANE_NOW": "A fixed business time like `2026-01-05T10:00:00Z`: for demonstrations and replays.",
    "CXPLANE_DATA_KEY": "A secret, which the vault gives: the operator's key, which wraps the keys of customers; several while it "
    "is rotated, newest first. Needed with `CXPLANE_DSN`; the embedded store makes one in `keys/data.key` of the data folder.",
    "CXPLANE_SECRETS": "A folder with one file a secret, named like it, not readable by everybody.",
    "CXPLANE_SECRET_<NAME>": "A secret by its name in `systems/*.yaml`; the bare name is looked for next.",
    "CXPLANE_SYSTEM_<NAME>_URL": "Where that system is reached, instead of its `base_url`.",
    "CXPLANE_HTTP_RATE": "Requests per second and caller. Default: 1000.",
    "CXPLANE_HTTP_BURST": "How many of them may come at once after a silence. Default: 2000.",
    "CXPLANE_HTTP_IN_FLIGHT": "Requests worked on at once, at most; how many are well the plane finds out itself. Default: 512.",
    "CXPLANE_HTTP_QUEUE": "Requests that wait for a place, at most; more are turned away with 429. Default: 1000.",
    "CXPLANE_HTTP_PATIENCE": "Seconds that a request waits for a place before it is turned away with 429. Default: 1.",
    "CXPLANE_HTTP_WAITING": "Requests that only wait for an outcome (`wait`). Default: 1000.",
    "CXPLANE_HTTP_LISTENERS": "Listeners to `/v1/entries/stream`. Default: 200.",
    "CXPLANE_URL": "Command line: where the plane runs. Default: `http://127.0.0.1:8080`.",
    "CXPLANE_KEY": "Command line: the API key. Better than `--key`, which others can see.",
    "CXPLANE_OPERATOR": "Command line: who is at this terminal, for the record. Default: the name of the user.",
    "CXPLANE_DRAIN": "How long a plane that is told to stop (SIGTERM) says so at `/health/ready` and still takes what comes. Default: `1s`.",
    "CXPLANE_LOG": "`json` or `text` lines in the log. Not set: text on a terminal, else JSON.",
    "CXPLANE_LOG_LEVEL": "What is logged: `debug`, `info`, `warning` or `error`. Default: `info`.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where OpenTelemetry traces go (OTLP over HTTP). Not set: none are made.",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "The same, for traces alone.",
    "OTEL_SERVICE_NAME": "The name in traces. Default: `cxplane`.",
    "NO_COLOR": "Command line: no colours.",
}


def settings() -> str:
    used: dict[str, set[str]] = {}
    for file in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for name in re.findall(r"\b(?:(?:CXPLANE|OTEL)_[A-Z_]*[A-Z]|NO_COLOR)\b", node.value):
                    used.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    prefixes = {name.split("<")[0].rstrip("_") for name in SETTINGS if "<" in name} | {"CXPLANE_HTTP"}
    known = {n for n in used if n in SETTINGS or any(n == p or n.startswith(f"{p}_") for p in prefixes)}
    if unknown := set(used) - known:
        raise SystemExit(f"scripts/reference.py: settings without a line in SETTINGS: {sorted(unknown)}")
    text = "Settings come from the environment; an option of the command line wins. Everything else stands in the control repo."
    lines = head("Settings", "the names that the code reads", text)
    return page(lines + rows(("variable", "meaning"), [(f"`{name}`", text) for name, text in SETTINGS.items()]))


# metrics and entries ---------------------------------------------------------------------------------------


def metrics() -> str:
    from cxplane.adapters.telemetry import METRICS, PREFIX

    text = (
        "`GET /metrics`, in the Prometheus text format. Labels are few and bounded; customer data is never among them."
    )
    found = []
    for name, metric in METRICS.items():
        told = f"{PREFIX}{name}" + ("_total" if metric.kind == "counter" else "")
        found.append((f"`{told}`", metric.kind, ", ".join(metric.labels), metric.help))
    return page(
        head("Metrics", "`src/cxplane/adapters/telemetry.py`", text)
        + rows(("name", "kind", "labels", "meaning"), found)
    )


def entries() -> str:
    from cxplane.domain import entries as kinds

    kinds_text, _, rest = inspect.cleandoc(kinds.__doc__ or "").partition("Folding rules:")
    table = kinds_text.split("\n\n", 1)[1].rstrip()
    lines = head("Entries", "`src/cxplane/domain/entries.py` and `record.py`")
    lines += [
        "The record is a journal of entries; everything else (where a request stands, budgets, approvals, customers) is folded "
        "from them in the statement that appends. Read it with `cxplane entries` or `GET /v1/entries?after=0`: in order, without "
        "a gap, from any position.",
        "",
        "## An entry",
        "",
    ]
    source = (SRC / "domain" / "record.py").read_text(encoding="utf-8")
    body = re.search(r"class NewEntry:.*?\n\n\n", source, re.S)
    found: list[tuple[object, ...]] = [
        ("`position`", "`int`", "its place; grows, never used twice"),
        ("`tenant`", "`str`", ""),
    ]
    for name, kind, text in re.findall(
        r"^    (\w+): ([^=#\n]+?)(?: = [^#\n]+?)?(?:  # (.+))?$", body[0] if body else "", re.M
    ):
        found.append((f"`{name}`", f"`{kind.strip()}`", text))
    lines += rows(("field", "type", "meaning"), found)
    lines += ["Personal data is in `private`, never in `body`.", "", "## Kinds", "", "```text", table, "```", ""]
    lines += ["## How state is folded", "", rest.strip(), ""]
    return page(lines)


def export_schema() -> str:
    from cxplane.record.tables import TABLES, VERSION

    lines = head("Tables of an export", "`src/cxplane/record/tables.py`")
    lines += [
        f"What `cxplane export-parquet` writes: a folder a table, a folder a month in it (`month=2026-03`). Version {VERSION} of "
        "the schema: columns may be added; what a column means and its type do not change. Times are in UTC. `schema.json` in the "
        "folder says the same for programs.",
        "",
    ]
    for table in TABLES:
        lines += [f"## {table.name}", "", table.text, ""]
        lines += rows(("column", "type", "meaning"), [(f"`{c.name}`", f"`{c.type}`", c.text) for c in table.columns])
        lines += [""] if lines[-1] else []
    return page(lines)


PAGES: Mapping[str, Callable[[], str]] = {
    "docs/reference/cli.md": cli,
    "docs/reference/http.md": http,
    "docs/reference/control-repo.md": control,
    "docs/reference/answers.md": answers,
    "docs/reference/errors.md": errors,
    "docs/reference/settings.md": settings,
    "docs/reference/metrics.md": metrics,
    "docs/reference/entries.md": entries,
    "docs/reference/export-schema.md": export_schema,
}
