"""`cxplane export`: the record in open formats, from the store, continuously if wanted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxplane.edges.cli.local import for_me_alone, operator, store_options, with_store
from cxplane.edges.cli.show import json_option, working

if TYPE_CHECKING:
    from cxplane.domain.record import Line, Wanted
    from cxplane.loop.exporting import Exported
    from cxplane.ports.export import LineSink
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings

FILES = (".jsonl", ".ndjson", ".json", ".gz")


class StandardOutput:
    """A LineSink for whoever reads the other end of a pipe."""

    last_sha256 = ""

    def __init__(self, after: int) -> None:
        self.position = after

    def put(self, lines: Sequence[Line]) -> None:
        sys.stdout.buffer.write(b"".join([part for line in lines for part in (line.text, b"\n")]))
        self.position = lines[-1].position

    def commit(self) -> None:
        sys.stdout.buffer.flush()

    def drop(self) -> None:
        return

    def close(self) -> Mapping[str, Any]:
        self.commit()
        return {}


class Moment(click.ParamType[datetime]):
    """A time like 2026-03-01 or 2026-03-01T12:00:00Z; UTC where it says nothing else."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time like 2026-03-01 or 2026-03-01T12:00:00Z", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


class Rotate(click.ParamType[tuple[bool, int]]):
    """`day`, or a size like 256MB: (by day, most bytes)."""

    name = "day|SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[bool, int]:
        from cxplane.wiring import EXPORT_FILE_BYTES

        if isinstance(value, tuple):
            return value
        if value == "day":
            return True, EXPORT_FILE_BYTES
        number, unit = value[:-2], {"kB": 10**3, "MB": 10**6, "GB": 10**9}.get(value[-2:])
        if unit is None or not number.isdigit() or not int(number):
            self.fail(f"{value!r} is neither `day` nor a size like 256MB", param, ctx)
        return False, int(number) * unit


@click.command("export", short_help="Write the record and the releases as open files.")
@click.argument("to", metavar="TO")
@click.option("--from", "begin", type=click.IntRange(1), help="The position to begin with.  [default: the first]")
@click.option("--resume", is_flag=True, help="Go on where an export to the same place was left.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until SIGTERM or Ctrl-C.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind of entry; may be given again.")
@click.option("--since", type=Moment(), help="Only entries from this time on.")
@click.option("--until", type=Moment(), help="Only entries before this time.")
@click.option("--gzip", "compressed", is_flag=True, help="Compress the files of a folder (a file TO: name it .gz).")
@click.option("--rotate", type=Rotate(), default="day", show_default=True, help="When a folder gets another file.")
@click.option(
    "--open",
    "opens",
    is_flag=True,
    help="Personal data readable, with the operator's data key, not sealed; it goes on record.",
)
@click.option("--mask", is_flag=True, help="With --open: names of personal data without its values.")
@json_option
@store_options
def export(
    settings: Settings,
    to: str,
    begin: int | None,
    resume: bool,
    follow: bool,
    kinds: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    compressed: bool,
    rotate: tuple[bool, int],
    opens: bool,
    mask: bool,
    as_json: bool,
) -> int:
    """Write the record to TO, one CloudEvent in JSON a line, in order: no gap, no duplicate, whatever is killed when.

    TO is a folder (lines in `entries/`, a file a day; `manifest.json` with counts and SHA-256; the control repos of all
    releases in `control/`), a file (its name ends in .jsonl or .jsonl.gz), or `-` for standard output. Asks the store itself;
    a plane need not run. Personal data stays sealed as it is in the store.

    \b
    Examples:
      cxplane export record/
      cxplane export record/ --resume --follow --gzip
      cxplane export decisions.jsonl --kind decision --since 2026-03-01
      cxplane export - --from 1200 | jq .type
    """
    from cxplane.domain.record import Wanted

    if mask and not opens:
        raise click.UsageError("--mask goes with --open; sealed values need no mask")
    if begin is not None and resume:
        raise click.UsageError("--resume knows where to go on; leave --from away")
    if to == "-" and resume:
        raise click.UsageError("standard output cannot be resumed; give --from")
    wanted = Wanted(tuple(sorted(set(kinds))), since, until)
    options: dict[str, Any] = {
        "begin": begin,
        "resume": resume,
        "compressed": compressed,
        "rotate": rotate,
        "opens": opens,
        "mask": mask,
    }
    with for_me_alone(opens and not mask):
        told = asyncio.run(
            with_store(settings, lambda store: _export(store, settings, to, wanted, follow, as_json=as_json, **options))
        )
    if as_json:
        click.echo(_json(told), err=to == "-")
    else:
        where = "" if to == "-" else f" to {to}"
        ends = f", positions {told['first']} to {told['last']}" if told["count"] else ""
        what = "1 entry" if told["count"] == 1 else f"{told['count']} entries"
        click.echo(f"{what} exported{where}{ends}", err=to == "-")
        if told["count"]:
            click.echo(f"  sha256 {told['sha256']}", err=to == "-")
        if to != "-" and told["holds"]["count"] != told["count"]:
            click.echo(f"  {to} holds {told['holds']['count']} now", err=to == "-")
    return 0


def _json(told: Mapping[str, Any]) -> str:
    import json

    return json.dumps(told, ensure_ascii=False, default=str)


async def _export(
    store: Store,
    settings: Settings,
    to: str,
    wanted: Wanted,
    follow: bool,
    *,
    begin: int | None,
    opens: bool,
    mask: bool,
    as_json: bool,
    **place: Any,
) -> dict[str, Any]:
    from cxplane.loop.exporting import export as export_lines
    from cxplane.loop.exporting import opener

    tenant = store.tenant
    private = "masked" if mask else "open" if opens else "sealed"
    about = {"tenant": tenant, "private": private, **{k: v for k, v in _filters(wanted).items() if v}}
    sink = _sink(to, about, after=begin - 1 if begin else 0, **place)
    start = sink.position
    folder = to != "-" and not to.endswith(FILES)
    try:
        if opens and not mask:
            await _on_record(store, wanted, sink.position)
        if folder:
            await _control(store, tenant, to)
        with _stop_on_signals(follow) as stopping, working("export") as bar:

            async def rest(seconds: float) -> bool:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), seconds)
                return not stopping.is_set()

            if follow and not as_json and to != "-":
                click.echo(f"exporting to {to}; stop with Ctrl-C", err=True)
            done: Exported = await export_lines(
                store,
                tenant,
                sink,
                wanted=wanted,
                rest=rest if follow else None,
                rewrite=opener(store, tenant, mask=mask) if opens else None,
                tell=lambda position, top: bar(position - start, top - start, ""),
            )
        if folder:
            await _control(store, tenant, to)
    except BaseException:
        sink.drop()
        raise
    holds = sink.close()
    return {"to": to, **about, **asdict(done), "holds": {k: holds.get(k) for k in ("count", "first", "last")}}


async def _on_record(store: Store, wanted: Wanted, after: int) -> None:
    from cxplane.domain.opened_entries import data_opened
    from cxplane.domain.record import Write

    of = {name: told for name, told in _filters(wanted).items() if told}
    entry = data_opened("export", at=datetime.now(UTC), actor=operator(), after=after or None, **of)
    await store.append(Write(store.tenant, (entry,)))


def _filters(wanted: Wanted) -> dict[str, Any]:
    times = {"since": wanted.since, "until": wanted.until}
    return {"only": list(wanted.kinds), **{k: t.isoformat() if t else None for k, t in times.items()}}


def _sink(to: str, about: Mapping[str, Any], *, after: int, resume: bool, **how: Any) -> LineSink:
    if to == "-":
        return StandardOutput(after)
    from cxplane.wiring import export_sink

    is_file = to.endswith(FILES)
    if is_file and how["compressed"] and not to.endswith(".gz"):
        raise click.UsageError("name the file .jsonl.gz to have it compressed")
    return export_sink(Path(to), about, is_file=is_file, after=after, resume=resume, **how)


async def _control(store: Store, tenant: str, to: str) -> None:
    """The control repos of all releases, beside the lines."""
    from cxplane.wiring import export_releases

    await export_releases(store, tenant, Path(to) / "control")


@contextlib.contextmanager
def _stop_on_signals(follow: bool) -> Iterator[asyncio.Event]:
    """While following, SIGTERM and Ctrl-C end it in good order."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    names = (signal.SIGTERM, signal.SIGINT) if follow else ()
    for name in names:
        loop.add_signal_handler(name, stopping.set)
    try:
        yield stopping
    finally:
        for name in names:
            loop.remove_signal_handler(name)
