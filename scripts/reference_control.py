"""The reference pages of what an operator writes: the control repo and the settings."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pages import ROOT, SRC, head, page, rows, type_words

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
    told = "" if part.get("properties") else type_words({k: v for k, v in part.items() if k != "title"}, link)
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
            found.append(
                (f"`{path}{name}`" + (" *" if name in required else ""), type_words(field, link), text.strip())
            )
            if field.get("properties"):
                walk(field, f"{path}{name}.")
            elif isinstance(field.get("items"), Mapping) and field["items"].get("properties"):
                walk(field["items"], f"{path}{name}[].")

    walk(schema, "")
    return rows(("key (* required)", "type", "meaning"), found) if found else []


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
        raise SystemExit(f"scripts/reference_control.py: settings without a line in SETTINGS: {sorted(unknown)}")
    text = "Settings come from the environment; an option of the command line wins. Everything else stands in the control repo."
    lines = head("Settings", "the names that the code reads", text)
    return page(lines + rows(("variable", "meaning"), [(f"`{name}`", text) for name, text in SETTINGS.items()]))
