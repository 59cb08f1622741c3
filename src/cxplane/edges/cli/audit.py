"""The seal of the record: verify it without the store, export it, prove from it, look after its keys."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from cxplane.edges.cli.local import run, store_options, with_store
from cxplane.edges.cli.show import emit, json_option, table, working

if TYPE_CHECKING:
    from cxplane.domain.values import JsonObject
    from cxplane.ports.store import Store
    from cxplane.record.verify import Report
    from cxplane.wiring import Settings

LINES, CHECKPOINTS, LEAVES, KEYS = "entries.jsonl", "checkpoints", "leaves", "keys"  # files of an export


@click.group(short_help="Verify the record, export it, prove from it.")
def audit() -> None:
    """The seal of the record: every entry comes under a signed checkpoint, and anybody can verify that nothing was changed.

    \b
    Examples:
      cxplane audit export proof/
      cxplane audit verify proof/ --key cxplane/acme+5ae3…+AbC…
      cxplane audit keys list
    """


@audit.command("verify")
@click.argument("export", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--checkpoints",
    "more",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file of checkpoints that were kept apart (the sink's); may be given again.",
)
@click.option("--key", "keys", multiple=True, help="A public key that you trust, as `audit keys list` shows it.")
@json_option
def verify(export: Path, more: tuple[Path, ...], keys: tuple[str, ...], as_json: bool) -> int:
    """Verify an EXPORT: a folder that `cxplane audit export` wrote, or a file of lines with --checkpoints.

    Needs no store and no network. Names the first entry that was changed, removed, inserted or moved. Without --key, the
    keys that go along with the export are believed: that shows that it agrees with itself, not who signed it. Ends with 0
    if all entries are what was signed, 1 if not, 4 if the last ones are not under a checkpoint yet.

    \b
    Examples:
      cxplane audit verify proof/ --key cxplane/acme+5ae3…+AbC… --checkpoints /mnt/sink/acme/checkpoints
      cxplane audit verify entries.jsonl --checkpoints checkpoints --json
    """
    from cxplane.record.note import NoteError

    try:
        report = _verify(export, more, keys)
    except NoteError as problem:
        if as_json:
            emit({"good": False, "finding": {"kind": "checkpoint", "what": str(problem)}})
        else:
            click.echo(f"NOT VERIFIED: {problem}")
        return 1
    except UnicodeDecodeError:
        raise click.UsageError("the checkpoints or keys are no text") from None
    if as_json:
        emit(_told(report, bool(keys)))
    else:
        _say(report, bool(keys))
    return 0 if report.good else 1 if report.finding or not report.sealed else 4


def _verify(export: Path, more: tuple[Path, ...], given: tuple[str, ...]) -> Report:
    from cxplane.record.note import Key, NoteError
    from cxplane.record.verify import Verifier, batches, read_checkpoints
    from cxplane.wiring import seal_verify

    folder = export.is_dir()
    lines = export / LINES if folder else export
    sources = [export / CHECKPOINTS, *more] if folder else list(more)
    if not sources or not all(path.exists() for path in (lines, *sources)):
        raise click.UsageError(f"{export} has no {LINES} and {CHECKPOINTS}; give --checkpoints for a file of lines")
    brought = _keys_of(export / KEYS) if folder else []
    trusted = [Key.parse(text) for text in given] or brought
    if not trusted:
        raise click.UsageError("give --key: without it, nobody's signature is worth anything here")
    checkpoints = read_checkpoints(_text(path) for path in sources)
    if not checkpoints:
        raise NoteError("there is no checkpoint")
    verifier = Verifier(checkpoints, trusted, seal_verify(), known=brought)
    with ExitStack() as files, working("verify") as tell:
        leaves: BinaryIO | None = None
        if folder and (export / LEAVES).exists():
            leaves = files.enter_context((export / LEAVES).open("rb", buffering=1 << 20))
        source = files.enter_context(lines.open("rb", buffering=1 << 20))
        last = checkpoints[-1].size

        def told(done: int) -> None:
            if done % 65_536 == 0:
                tell(done, max(last, done), "")

        return verifier.run(batches(source), leaves, told)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")  # as it is: no other line ends


def _keys_of(path: Path) -> list[Any]:
    from cxplane.record.note import Key

    return [Key.parse(line) for line in _text(path).splitlines()] if path.exists() else []


def _told(report: Report, given: bool) -> JsonObject:
    found = report.finding
    return {
        "good": report.good,
        "entries": report.entries,
        "sealed": report.sealed,
        "unsealed": report.unsealed,
        "checkpoints": report.checkpoints,
        "origin": report.origin,
        "keys": report.keys,
        "key_given": given,
        "other_trees": report.other_trees,
        "restored": [{"index": r.index, "position": r.position, "at": r.at, "upto": r.upto} for r in report.restored],
        "finding": {"kind": found.kind, "what": found.what, "index": found.index, "position": found.position}
        if found
        else None,
    }


def _say(report: Report, given: bool) -> None:
    if report.finding is not None:
        click.echo(f"NOT VERIFIED ({report.finding.kind}): {report.finding.what}")
        click.echo(f"  {report.sealed} entries before it are what was signed", err=True)
        _say_pasts(report)
        return
    if not report.sealed:
        click.echo("NOT VERIFIED: no checkpoint is signed by a key that you trust")
        return
    what = "verified" if report.good else "verified in part"
    click.echo(
        f"{what}: {report.sealed} entries of {report.origin} are what was signed, in {report.checkpoints} checkpoints"
    )
    if report.unsealed:
        click.echo(f"  {report.unsealed} entries after them are under no checkpoint: they are not proven")
    _say_pasts(report)
    if not given:
        click.echo("  by the keys in the export itself: give --key with one that you have from elsewhere", err=True)


def _say_pasts(report: Report) -> None:
    """What a reader must know where the store came back to an earlier moment, and another tree was begun."""
    for one in report.restored:
        lost = f"what was recorded after position {one.upto} until then" if one.upto else "what came before it last"
        click.echo(f"  the store was set back at {one.at}, says position {one.position}: {lost} is not in here")
    if report.other_trees:
        names = ", ".join(report.others)
        many = f"{report.other_trees} checkpoints of other trees ({names}) were"
        if report.other_trees == 1:
            many = f"1 checkpoint of another tree ({names}) was"
        click.echo(f"  {many} not looked at: give --key of that tree to verify by it", err=True)


@audit.command("export")
@click.argument("to", type=click.Path(path_type=Path, file_okay=False))
@json_option
@store_options
def export(settings: Settings, to: Path, as_json: bool) -> None:
    """Write the sealed record to the folder TO, with everything that is needed to verify it.

    \b
    Example:
      cxplane audit export proof/
    """
    if to.exists() and any(to.iterdir()):
        raise click.UsageError(f"{to} is not empty")
    to.mkdir(parents=True, exist_ok=True)
    count = run(with_store(settings, lambda store: _export(store, settings, to)))
    if as_json:
        emit({"folder": str(to), "entries": count})
    else:
        click.echo(f"wrote {count} sealed entries to {to}; `cxplane audit verify {to} --key KEY` verifies them")


async def _export(store: Store, settings: Settings, to: Path) -> int:
    from cxplane.loop import audit as read

    tenant = store.tenant
    sealed = await read.sealed_of(store, tenant)
    done = 0
    with working("export") as tell, (to / LINES).open("wb") as file:
        async for page in read.lines(store, tenant, sealed):
            file.write("".join(f"{line}\n" for line in page).encode())
            done += len(page)
            tell(done, sealed.size, "")
    with (to / LEAVES).open("wb") as file:
        async for hashes in read.leaves(store, tenant, sealed):
            file.write(hashes)
    notes = [note async for note in read.checkpoints(store, tenant, sealed)]
    (to / CHECKPOINTS).write_bytes("\n".join(notes).encode())
    (to / KEYS).write_bytes("".join(f"{key}\n" for key in await read.announced(store, tenant)).encode())
    return done


@audit.command("prove")
@click.argument("position", type=click.IntRange(1))
@json_option
@store_options
def prove(settings: Settings, position: int, as_json: bool) -> None:
    """Print the proof that the entry at POSITION is in the signed record, as JSON.

    \b
    Example:
      cxplane audit prove 1204 > proof.json
    """
    from cxplane.loop.audit import prove_position

    async def proof(store: Store) -> JsonObject:
        return await prove_position(store, store.tenant, position)

    emit(run(with_store(settings, proof)))


@audit.command("consistency")
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1), required=False)
@json_option
@store_options
def consistency(settings: Settings, old: int, new: int | None, as_json: bool) -> None:
    """Print the proof that the record of OLD entries is the beginning of the one of NEW (by default the last), as JSON.

    Both are sizes of checkpoints, as the sink has them: what stood there when the older was signed still stands there.

    \b
    Example:
      cxplane audit consistency 1200 4800 > proof.json
    """
    from cxplane.loop.audit import prove_consistency

    async def proof(store: Store) -> JsonObject:
        return await prove_consistency(store, store.tenant, old, new)

    emit(run(with_store(settings, proof)))


@audit.command("seal")
@json_option
@store_options
def seal(settings: Settings, as_json: bool) -> None:
    """Put what is settled under a signed checkpoint now; a running plane does it by itself every few seconds.

    \b
    Example:
      cxplane audit seal
    """
    told = run(with_store(settings, lambda store: _seal(store, settings)))
    emit(told) if as_json else click.echo(f"sealed {told['new']} entries; {told['sealed']} in all")


async def _seal(store: Store, settings: Settings) -> JsonObject:
    from cxplane.domain.errors import SealKeyWrong
    from cxplane.wiring import clock, sealer, telemetry

    told = telemetry()
    made = sealer(settings, store.tenant, store, told, clock(settings))
    if made is None:
        raise SealKeyWrong("is missing")
    new = await made.step()
    sealed = await store.seals.sealed(made.tenant)
    told.close()
    return {"new": new, "sealed": sealed.size if sealed else 0}


@audit.group("keys", short_help="List and make the keys that sign the record.")
def keys() -> None:
    """Keys that sign the record. Give the public ones to auditors, long before they need them.

    \b
    Examples:
      cxplane audit keys list
      cxplane audit keys rotate
    """


@keys.command("list")
@json_option
@store_options
def list_keys(settings: Settings, as_json: bool) -> None:
    """List the public keys, newest first: those that sign here, and those on record.

    \b
    Example:
      cxplane audit keys list --json
    """
    rows = run(with_store(settings, lambda store: _keys(store, settings)))
    if as_json:
        emit({"items": [{"key": key, "signs": signs, "on_record": known} for key, signs, known in rows]})
        return
    table(
        ("key", "signs here", "on record"),
        [(key, "yes" if signs else "", "yes" if known else "") for key, signs, known in rows],
        nothing="There are no keys. `cxplane audit keys new` makes one.",
        whole=("key",),
    )


async def _keys(store: Store, settings: Settings) -> Sequence[tuple[str, bool, bool]]:
    from cxplane.loop.audit import announced
    from cxplane.record.note import Key
    from cxplane.wiring import seal_signers

    tenant = store.tenant
    here = [str(Key(s.name, s.public)) for s in seal_signers(settings, tenant, make=False)]
    known = await announced(store, tenant)
    return [(key, key in here, key in known) for key in dict.fromkeys([*here, *known])]


@keys.command("new")
@click.option("--name", help="The name of the tree.  [default: cxplane/TENANT]")
@json_option
@store_options
def new_key(settings: Settings, name: str | None, as_json: bool) -> None:
    """Print a new private key, to be kept in the vault as CXPLANE_SEAL_KEY. It is kept nowhere else.

    Without a store, where the first plane is still to be started, name the tenant of plane.yaml.

    \b
    Examples:
      export CXPLANE_SEAL_KEY=$(cxplane audit keys new)
      cxplane audit keys new --tenant northwind > secrets/CXPLANE_SEAL_KEY
    """
    from cxplane.wiring import new_seal_key

    private, public = new_seal_key(name or f"cxplane/{settings.tenant or run(_tenant(settings))}")
    if as_json:
        emit({"private": private, "public": public})
        return
    click.echo(private)
    click.echo(f"its public key: {public}", err=True)


async def _tenant(settings: Settings) -> str:
    """Whose record it is; no store is made only to ask it. UsageError where nobody knows."""
    from cxplane.domain.errors import NothingLive
    from cxplane.wiring import open_dsn, tenant_of

    unknown = "say whose record it will sign: --tenant, as in plane.yaml; no release is live here that would say it"
    if not settings.dsn and not settings.control and not (settings.data / "store").exists():
        raise click.UsageError(unknown)
    try:
        if settings.control:
            return await tenant_of(settings, "")
        async with open_dsn(settings) as dsn:
            return await tenant_of(settings, dsn)
    except NothingLive:
        raise click.UsageError(unknown) from None


@keys.command("rotate")
@click.option(
    "--new-tree",
    is_flag=True,
    help="Begin another tree over the same record: after the store was restored from a backup.",
)
@json_option
@store_options
def rotate(settings: Settings, new_tree: bool, as_json: bool) -> None:
    """Make a new key that signs from the next start on; the old one signs along, and says on record that it is the next.

    With the embedded store, it is put into its key file. Otherwise it is printed together with the old one: let that be
    CXPLANE_SEAL_KEY, and start the planes again. Take the old key away once auditors have the new one.

    \b
    Examples:
      cxplane audit keys rotate
      cxplane audit keys rotate --new-tree
      (umask 077; cxplane audit keys rotate > next) && mv next secrets/CXPLANE_SEAL_KEY
    """
    from cxplane.wiring import rotate_seal_key, seal_signers_from

    async def rotated(store: Store) -> tuple[str, str, str | None]:
        from cxplane.loop.seal_keys import announce

        found = rotate_seal_key(settings, store.tenant, new_tree=new_tree)
        if new_tree:  # a sealer does not begin one by itself
            await announce(store, seal_signers_from(found[0]), at=datetime.now(UTC))
        return found

    secret, public, kept = run(with_store(settings, rotated))
    if as_json:
        emit({"public": public, "kept": kept, **({} if kept else {"private": secret})})
        return
    if kept is None:
        click.echo(secret)
    click.echo(f"its public key: {public}", err=True)
    click.echo(
        f"it is in {kept}; start the plane again" if kept else "set CXPLANE_SEAL_KEY to this, and start again", err=True
    )
