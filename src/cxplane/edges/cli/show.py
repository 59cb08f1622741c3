"""How commands speak: JSON for programs, tables for people, progress on the error stream of a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

GAP = 2  # columns between those of a table
COLOURS = {
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "allow": "green",
    "done": "green",
    "approved": "green",
    "hold": "yellow",
    "held": "yellow",
    "open": "yellow",
    "running": "yellow",
    "unknown": "magenta",
    "stuck": "magenta",
    "waiting": "yellow",
    "suspended": "yellow",
    "cancelling": "yellow",
    "answered": "green",
    "cancelled": "red",
    "refuse": "red",
    "refused": "red",
    "failed": "red",
    "rejected": "red",
}


def console(*, stderr: bool = False, width: int = 200) -> Console:
    """Colours only on a terminal, and never where NO_COLOR is set. Elsewhere `width` columns wide."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else width)


def emit(value: Any) -> None:
    """One JSON value on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    nothing: str,
    whole: Sequence[str] = (),
    cut: Sequence[str] = (),
    width: int = 200,
) -> None:
    """A plain table; `nothing` is said where there are no rows. Columns in `whole` are never folded.

    Columns in `cut` lose their end where there is no room for it, so that each row is one line.
    """
    if not rows:
        click.echo(nothing)
        return
    from rich.table import Table
    from rich.text import Text

    out = console(width=width)
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if cut:
        texts = _fitting(columns, texts, cut, out.width)
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold", no_wrap=name in whole)
    for row in texts:
        made.add_row(*[Text(cell, style=COLOURS.get(cell, "")) for cell in row])
    out.print(made)


def _fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], cut: Sequence[str], width: int) -> list[list[str]]:
    """The rows with the columns in `cut` made narrow enough: what is over is shared, and who needs less leaves the rest."""
    from rich.cells import cell_len, set_cell_size

    needs = [max(map(cell_len, (name, *texts))) for name, *texts in zip(columns, *rows, strict=True)]
    left = width - sum(n for n, name in zip(needs, columns, strict=True) if name not in cut) - GAP * (len(columns) - 1)
    room = dict(enumerate(needs))
    narrow = sorted((n for n, name in enumerate(columns) if name in cut), key=needs.__getitem__)
    for n, column in enumerate(narrow):
        room[column] = min(needs[column], max(cell_len(columns[column]), left // (len(narrow) - n)))
        left -= room[column]

    def short(text: str, most: int) -> str:
        return text if cell_len(text) <= most else set_cell_size(text, most - 1).rstrip() + "…"

    return [[short(text, room[n]) for n, text in enumerate(row)] for row in rows]


def pairs(value: Mapping[str, Any], *, skip: Sequence[str] = ()) -> None:
    """Names and values, one on a line; empty ones are left out."""
    shown = {k: v for k, v in value.items() if k not in skip and v not in (None, "", [], {}, ())}
    width = max((len(k) for k in shown), default=0)
    for name, inner in shown.items():
        text = json.dumps(inner, ensure_ascii=False, default=str) if isinstance(inner, (dict, list)) else str(inner)
        click.echo(f"{name.replace('_', ' ').ljust(width)}  {coloured(text)}")


def coloured(text: str) -> str:
    """The word in its colour; click takes the colour away where there is no terminal."""
    import os

    colour = COLOURS.get(text)
    return click.style(text, fg=colour) if colour and not os.environ.get("NO_COLOR") else text


@contextmanager
def working(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar for work of some length: call it with done, total and what is being done.

    Nothing is drawn unless the error stream is a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, now: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(what, total=None)

        def told(done: int, total: int, now: str) -> None:
            progress.update(task, completed=done, total=total, description=f"{what}: {now}" if now else what)

        yield told


def when(text: str | None) -> str:
    """A time to the second, as people read it."""
    return (text or "").replace("T", " ")[:19]


def minute(text: str | None) -> str:
    """A time to the minute, where there is little room."""
    return when(text)[:16]


def day_or_minute(text: str | None) -> str:
    """A time in eleven columns: month, day and minute of this year (UTC), the day of another."""
    told = minute(text)
    return told[5:] if told[:4] == f"{datetime.now(UTC):%Y}" else told[:10]


def given_json(text: str | None, name: str) -> Any:
    """The JSON that an option names: itself, @FILE, or - for standard input. {} for None. UsageError if it cannot be read."""
    if text is None:
        return {}
    if text == "-":
        return json_value(sys.stdin.read(), "standard input")
    if not text.startswith("@"):
        return json_value(text, name)
    try:
        return json_value(Path(text[1:]).read_text(encoding="utf-8"), text[1:])
    except (OSError, UnicodeDecodeError) as problem:
        raise click.UsageError(f"{text[1:]} cannot be read: {problem}") from None


def given_object(text: str | None, values: Sequence[str], name: str = "input") -> dict[str, Any]:
    """A JSON object from an option and from NAME=VALUE words, which win."""
    found = given_json(text, f"--{name}")
    if not isinstance(found, dict):
        raise click.UsageError(f"the {name} must be a JSON object")
    return {**found, **named_values(values, "an input value")}


def keep(text: str, out: Path | None, about: Mapping[str, Any], as_json: bool) -> None:
    """A text that was made: into a file, or to standard output; with --json, where it went or the text itself."""
    if out is not None:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as problem:
            raise click.UsageError(f"{out} cannot be written: {problem.strerror or problem}") from None
        emit({**about, "file": str(out)}) if as_json else click.echo(f"written to {out}", err=True)
    elif as_json:
        emit({**about, "text": text})
    else:
        click.echo(text)


def json_value(text: str, name: str) -> Any:
    """The value of a JSON text given on the command line. UsageError if it is none."""

    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise click.UsageError(f"{name} is not JSON: {problem}") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def named_values(pairs: Sequence[str], name: str) -> dict[str, Any]:
    """`amount=500 note=hello flag=true` as a mapping: what is JSON is taken as JSON, the rest as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{name} is written NAME=VALUE, not {pair!r}")
        if key in found:
            raise click.UsageError(f"{name} {key!r} is given twice")
        try:
            found[key] = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            found[key] = text
    return found
