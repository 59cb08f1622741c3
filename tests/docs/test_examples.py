"""What the pages say is true: every command in them is typed, and the screen shows what they show."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import TEMPLATE, run_sql, with_database
from tests.docs.pages import DOCS, ROOT, Terminal, blocks

DRILL = DOCS / "how-to" / "back-up-and-restore.md"  # loses the store that it finds
HOW_TO = sorted(p for p in (DOCS / "how-to").glob("*.md") if p != DRILL)
ALL = sorted(p for p in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if "reference" not in p.parts)

BEFORE_HOW_TO = """\
export SHOP_TOKEN=any-secret
cxplane init control --name shopfront
python $REPO/docs/tutorial/shop.py &
cxplane conform shop --control control
cxplane serve --control control &
cxplane keys create person:sam --save
export AGENT=$(cxplane keys create agent:helper) CRM=$(cxplane keys create system:crm-sync)
CXPLANE_KEY=$CRM cxplane customers put c-1 segment=gold
CXPLANE_KEY=$CRM cxplane customers assure c-1 --level 2 --method otp --lifetime 8h
CXPLANE_KEY=$CRM cxplane customers consent c-1 --purpose service --grant --source "terms of service"
"""
AGAIN = """\
python $REPO/docs/tutorial/shop.py &
cxplane serve &
"""


def type_all(terminal: Terminal, lines: str) -> None:
    for line in lines.splitlines():
        code, told = terminal.type(line)
        assert code == 0, f"`{line}`:\n{told}"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """An empty folder; the store is the embedded one, as the tutorial says."""
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tutorial_done(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder and the database in which somebody did the tutorial: files, keys, a release, one customer."""
    folder, name = tmp_path_factory.mktemp("tutorial"), f"cxplane_docs_{os.getpid()}"
    asyncio.run(run_sql(postgres, f"create database {name} template {TEMPLATE}"))
    opened = Terminal(folder, dsn=with_database(postgres, name))
    try:
        type_all(opened, BEFORE_HOW_TO)
    finally:
        opened.close()
    yield folder, name
    asyncio.run(run_sql(postgres, f"drop database if exists {name} with (force)"))


@pytest.fixture
def after_tutorial(postgres: str, tutorial_done: tuple[Path, str], tmp_path: Path) -> Iterator[Terminal]:
    """Where the how-to pages begin: a copy of what the tutorial left, its shop and its plane running."""
    folder, template = tutorial_done
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".log*"))
    name = f"{template}_copy"
    asyncio.run(run_sql(postgres, f"create database {name} template {template}"))
    opened = Terminal(tmp_path, dsn=with_database(postgres, name))
    opened.forget("SHOP_PORT", "CXPLANE_URL", "CXPLANE_SYSTEM_SHOP_URL", "CXPLANE_DSN")
    try:
        type_all(opened, AGAIN)
        yield opened
    finally:
        opened.close()
        asyncio.run(run_sql(postgres, f"drop database if exists {name} with (force)"))


def test_the_tutorial_works_as_it_is_written(terminal: Terminal) -> None:
    terminal.read(DOCS / "tutorial" / "first-gate.md")


def test_the_restore_drill_works_as_it_is_written(terminal: Terminal) -> None:
    type_all(terminal, BEFORE_HOW_TO)
    terminal.read(DRILL)


@pytest.mark.parametrize("page", HOW_TO, ids=lambda p: p.stem)
def test_a_how_to_works_as_it_is_written(page: Path, after_tutorial: Terminal) -> None:
    if not any(b.kind == "console" and b.note != "not run" for b in blocks(page)):
        pytest.skip("nothing to type")
    after_tutorial.read(page)


@pytest.mark.parametrize("page", ALL, ids=lambda p: str(p.relative_to(ROOT)))
def test_yaml_and_json_in_the_pages_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if block.kind == "yaml":
            assert yaml.safe_load(block.text) is not None, f"{page}:{block.line}"
        elif block.kind == "json":
            assert json.loads(block.text) is not None, f"{page}:{block.line}"
