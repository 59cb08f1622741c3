"""The reference pages of the command line and the HTTP API."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from pages import head, page, rows, type_words

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
        found = [(f"`{p['name']}`", p["in"], type_words(p["schema"]), p.get("description", "")) for p in parameters]
        lines += rows(("parameter", "in", "type", "meaning"), found)
    if "requestBody" in told:
        content = told["requestBody"]["content"]["application/json"]
        optional = "" if told["requestBody"]["required"] else " (may be left out)"
        lines += [f"Body{optional}: {type_words(content['schema'])}.", ""]
        if "example" in content:
            lines += ["```json", json.dumps(content["example"], indent=2), "```", ""]
        for media, other in told["requestBody"]["content"].items():
            if other is not content:
                lines += [f"Or `{media}`: {type_words(other['schema'])}.", ""]
    answers: list[tuple[object, ...]] = []
    examples: list[tuple[str, Any]] = []
    for status, answer in told["responses"].items():
        if "$ref" in answer:
            answers.append((status, f"[{answer['$ref'].rsplit('/', 1)[1]}](errors.md#http)"))
        else:
            media, content = next(iter(answer["content"].items()))
            shape = type_words(content["schema"]) if media == "application/json" else f"`{media}`"
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
        return [type_words(schema), ""]
    required = set(schema.get("required", ()))
    found = []
    for name, field in schema["properties"].items():
        text = field.get("description", "")
        if field.get("default") not in (None, "", [], {}):
            text += f" Default: `{json.dumps(field['default'])}`."
        found.append((f"`{name}`" + (" *" if name in required else ""), type_words(field), text.strip()))
    return rows(("field (* always there)", "type", "meaning"), found)
