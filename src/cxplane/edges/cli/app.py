"""`cxplane`: one command for the operator's files, the plane and what asks it.

Exit codes: 0 done · 1 the answer is no, or mistakes were found · 2 wrong usage · 3 plane or store cannot be reached ·
4 not settled yet (held for a person, or its outcome is being found out).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from cxplane.domain.errors import ControlError, CxplaneError, SecretMissing, StoreError, SystemFailure

OK, NO, USAGE, UNREACHABLE, NOT_YET = 0, 1, 2, 3, 4

COMMANDS: dict[str, tuple[str, str, str]] = {  # name -> section, where it is, what it does
    "init": ("Your control repo", "cxplane.edges.cli.control:init", "Write a control repo to start from."),
    "check": ("Your control repo", "cxplane.edges.cli.control:check", "Find every mistake in a control repo at once."),
    "test": ("Your control repo", "cxplane.edges.cli.control:test", "Run the policy tests."),
    "diff": ("Your control repo", "cxplane.edges.cli.control:diff", "Say what differs between two control repos."),
    "impact": (
        "Your control repo",
        "cxplane.edges.cli.control:impact",
        "Say what a change of a file or thing touches.",
    ),
    "release": ("Releases", "cxplane.edges.cli.operate:release", "Check a control repo and make it live."),
    "rollback": ("Releases", "cxplane.edges.cli.operate:rollback", "Make an earlier release live again."),
    "releases": ("Releases", "cxplane.edges.cli.operate:releases", "List the releases, and which one is live."),
    "conform": (
        "Releases",
        "cxplane.edges.cli.operate:conform",
        "Test a system: done once, confirmed, undone, refused.",
    ),
    "serve": ("The plane", "cxplane.edges.http.serve:serve", "Run the plane."),
    "work": ("The plane", "cxplane.edges.cli.work:work", "Run a worker: background work, without HTTP."),
    "keys": ("The plane", "cxplane.edges.cli.keys:keys", "Create, list, rotate and revoke API keys."),
    "doctor": ("The plane", "cxplane.edges.cli.doctor:doctor", "Find out what is wrong."),
    "data-key": (
        "The plane",
        "cxplane.edges.cli.data_key:data_key",
        "Make and rotate the key that wraps customers' keys.",
    ),
    "backup": ("The store", "cxplane.edges.cli.backup:backup", "Write everything in the store to one file."),
    "restore": ("The store", "cxplane.edges.cli.backup:restore", "Make the store again from a backup."),
    "store": ("The store", "cxplane.edges.cli.store:store", "See and upgrade the schema of the store."),
    "erase": ("Personal data", "cxplane.edges.cli.erase:erase", "Erase a customer, or show that nothing is left."),
    "hold": ("Personal data", "cxplane.edges.cli.erase:hold", "Keep a customer from being erased."),
    "actions": ("Asking the plane", "cxplane.edges.cli.ask:actions", "The catalog: every action and who governs it."),
    "act": ("Asking the plane", "cxplane.edges.cli.ask:act", "Ask for an action."),
    "requests": ("Asking the plane", "cxplane.edges.cli.ask:requests", "See, undo and settle requests."),
    "decisions": ("Asking the plane", "cxplane.edges.cli.ask:decisions", "What was decided."),
    "explain": ("Asking the plane", "cxplane.edges.cli.why:explain", "Why it was decided so, in plain words."),
    "replay": ("Asking the plane", "cxplane.edges.cli.why:replay", "Make decisions once more, from the record."),
    "approvals": ("Asking the plane", "cxplane.edges.cli.desk:approvals", "See and decide what waits for a person."),
    "customers": ("Asking the plane", "cxplane.edges.cli.desk:customers", "Customers, their assurance and consents."),
    "conversations": ("Asking the plane", "cxplane.edges.cli.desk:conversations", "Record what was learnt in a talk."),
    "entries": ("Asking the plane", "cxplane.edges.cli.ask:entries", "Read the record."),
    "audit": ("The seal", "cxplane.edges.cli.audit:audit", "Verify the record, export it, prove from it."),
    "evidence": (
        "The seal",
        "cxplane.edges.cli.evidence:evidence",
        "One case as a file that a third party can verify.",
    ),
    "export": ("The record", "cxplane.edges.cli.export:export", "Write the record and the releases as open files."),
    "export-parquet": (
        "The record",
        "cxplane.edges.cli.parquet:export_parquet",
        "Write the record as tables in Parquet files.",
    ),
    "runs": ("Journeys", "cxplane.edges.cli.runs:runs", "Start, see, free and steer runs of journeys."),
    "tasks": ("Journeys", "cxplane.edges.cli.tasks:tasks", "See and answer what runs ask of people."),
    "signal": ("Journeys", "cxplane.edges.cli.tasks:signal", "Say that something happened."),
    "journeys": ("Journeys", "cxplane.edges.cli.journeys:journeys", "See journeys, draw them, take them elsewhere."),
    "migrate": ("Journeys", "cxplane.edges.cli.journeys:migrate", "Take runs of a journey to another release."),
    "version": ("Other", "cxplane.edges.cli.app:version", "Print the version."),
}


class Lazy(click.Group):
    """Knows its commands by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][1].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean `cxplane {near[0]}`?" if near else " `cxplane --help` lists the commands."
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(where for where, _, _ in COMMANDS.values()):
            rows = [(name, text) for name, (where, _, text) in COMMANDS.items() if where == section]
            with formatter.section(section):
                formatter.write_dl(rows)


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """cxplane: any agent asks, policy decides, it is done once.

    \b
    Start here:
      cxplane init control/                      write a control repo
      cxplane check control/                     find mistakes
      cxplane serve --control control/           run the plane
      cxplane keys create person:maria --save    get a key (as a caller of your control repo)
      cxplane actions                            see what may be asked for

    Every command takes --help and --json.

    \b
    Exit codes: 0 done, 1 the answer is no or mistakes were found, 2 wrong usage,
    3 plane or store cannot be reached, 4 not settled yet.
    """


@click.command(short_help="Print the version.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Print the version of cxplane.

    \b
    Example:
      cxplane version --json
    """
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        mine = of("cxplane")
    except PackageNotFoundError:
        mine = "0"
    told = {"cxplane": mine, "python": platform.python_version()}
    click.echo(json.dumps(told) if as_json else f"cxplane {mine} (Python {told['python']})")


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; ends the process with its exit code."""
    sys.exit(run(sys.argv[1:] if args is None else list(args)))


def run(args: list[str]) -> int:
    """Run one command and return its exit code."""
    as_json = "--json" in args
    try:
        code = cli.main(args=args, prog_name="cxplane", standalone_mode=False)
        return code if isinstance(code, int) else OK
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.format_message(), err=True)
        return USAGE
    except click.UsageError as problem:
        _usage(problem, as_json)
        return USAGE
    except click.ClickException as problem:
        _fail(problem.format_message(), "", as_json)
        return problem.exit_code
    except CxplaneError as problem:
        told = {} if not isinstance(problem, ControlError) else {"mistakes": _mistakes(problem)}
        _fail(str(problem), problem.next, as_json, told)
        return exit_code(problem)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stdout = None
        return OK


def exit_code(problem: CxplaneError) -> int:
    code: int | None = getattr(problem, "exit_code", None)
    if code is not None:
        return code
    return UNREACHABLE if isinstance(problem, (StoreError, SystemFailure, SecretMissing)) else NO


def _mistakes(problem: ControlError) -> list[dict[str, Any]]:
    return [{"file": m.file, "line": m.line, "what": m.what, "hint": m.hint} for m in problem.mistakes]


def _usage(problem: click.UsageError, as_json: bool) -> None:
    path = problem.ctx.command_path if problem.ctx else "cxplane"
    _fail(problem.format_message(), f"See `{path} --help`.", as_json)


def _fail(what: str, next: str, as_json: bool, told: dict[str, Any] | None = None) -> None:
    if as_json:
        click.echo(json.dumps({"error": what, "next": next, **(told or {})}, ensure_ascii=False))
        return
    click.echo(f"cxplane: {what}", err=True)
    if next:
        click.echo(f"  → {next}", err=True)
