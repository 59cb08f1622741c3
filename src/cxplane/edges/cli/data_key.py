"""The operator's key: it wraps the keys that seal personal data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cxplane.edges.cli.local import run, store_options, with_store
from cxplane.edges.cli.show import emit, json_option

if TYPE_CHECKING:
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings


@click.group("data-key", short_help="Make and rotate the key that wraps customers' keys.")
def data_key() -> None:
    """The operator's key: it wraps the keys of customers, which seal personal data in the record.

    Planes and workers read it from the secret CXPLANE_DATA_KEY: one key, or several with the newest first. With the embedded
    store and no such secret it is made once, in DATA/keys/data.key. Who loses it loses all personal data in the record.

    \b
    Examples:
      cxplane data-key new
      cxplane data-key rotate
    """


@data_key.command("new")
@json_option
def new(as_json: bool) -> None:
    """Make a key and print it. It is kept nowhere: put it where your secrets are.

    \b
    Example:
      cxplane data-key new > /run/secrets/CXPLANE_DATA_KEY
    """
    from cxplane.wiring import new_operator_key

    key = new_operator_key()
    if as_json:
        emit({"key": key})
    else:
        click.echo(key)


@data_key.command("rotate")
@json_option
@store_options
def rotate(settings: Settings, as_json: bool) -> None:
    """Wrap all customers' keys by the newest operator key: of each tenant that is live, or of the one named.

    Broken off, it goes on where it was.

    Before it, give every plane and worker both keys, the new one first; after it, the new one alone.

    \b
    Example:
      CXPLANE_DATA_KEY="$NEW,$OLD" cxplane data-key rotate
    """
    rewrapped = run(_rotate(settings))
    if as_json:
        emit({"rewrapped": rewrapped})
    else:
        click.echo(f"{rewrapped} keys wrapped anew; all are wrapped by the newest operator key now")


async def _rotate(settings: Settings) -> int:
    from cxplane.wiring import live_tenants, open_dsn

    done = 0
    async with open_dsn(settings) as dsn:
        tenants = [settings.tenant] if settings.tenant else await live_tenants(dsn)
        for tenant in tenants:
            done += await with_store(settings, _rewrap, tenant=tenant)
    return done


async def _rewrap(store: Store) -> int:
    done = 0
    while n := await store.erasing.rewrap(store.tenant):
        done += n
    return done
