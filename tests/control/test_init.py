from __future__ import annotations

from pathlib import Path

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.control.check import check
from cxplane.control.init import init
from cxplane.control.release import build
from cxplane.control.test import run_tests
from cxplane.domain.errors import Conflict


async def test_the_first_control_repo_checks_and_its_tests_pass(tmp_path: Path) -> None:
    init(tmp_path / "Acme Shop")
    engine, expressions = CedarEngine(), CelExpressions()
    assert check(tmp_path / "Acme Shop", engine, expressions) == []
    report = await run_tests(build(tmp_path / "Acme Shop"), engine, expressions)
    assert report.passed, report.words()
    assert report.untested == ()
    assert len(report.results) == 6


def test_it_takes_the_name_of_its_folder(tmp_path: Path) -> None:
    init(tmp_path / "Acme Shop")
    plane = build(tmp_path / "Acme Shop").repo.plane
    assert (plane.name, plane.tenant) == ("acme-shop", "acme-shop")
    init(tmp_path / "1 & 2", name="Northwind")
    assert build(tmp_path / "1 & 2").repo.plane.name == "northwind"


def test_every_file_for_an_editor_names_a_schema_that_is_there(tmp_path: Path) -> None:
    written = init(tmp_path / "shop")
    hints = 0
    for path in written:
        head = path.read_text().split("\n", 1)[0]
        if head.startswith("# yaml-language-server: $schema="):
            assert (path.parent / head.split("=", 1)[1]).is_file(), path
            hints += 1
    assert hints == len([path for path in written if path.suffix == ".yaml"])


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "plane.yaml").write_text("mine")
    with pytest.raises(Conflict, match=r"plane\.yaml already"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plane.yaml"]
    assert (tmp_path / "plane.yaml").read_text() == "mine"


def test_a_readme_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    init(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / "plane.yaml").is_file()
