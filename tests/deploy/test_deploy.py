"""What is shipped for running the plane is what its linters and its readers expect. Nothing is built or started here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.npm import installed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
LINT = Path(__file__).parent / "lint"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def containerfile() -> str:
    return (DEPLOY / "Containerfile").read_text()


def pinned(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / lock).read_text(), re.M))


@pytest.fixture(scope="module")
def linter(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("deploy-lint")
    node = installed(LINT, folder, "the linter")

    def lint(file: Path) -> list[dict[str, Any]]:
        command = [node, str(LINT / "lint.mjs"), str(file)]
        told: list[dict[str, Any]] = json.loads(
            subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout
        )
        return told

    return lint


def test_the_container_file_has_no_fault(linter: Any) -> None:
    assert linter(DEPLOY / "Containerfile") == []


def test_the_linter_would_notice_a_fault(linter: Any, tmp_path: Path) -> None:
    bad = tmp_path / "Containerfile"
    bad.write_text(containerfile().replace("WORKDIR /src", "WORKDIRR /src"))
    assert "WORKDIRR" in json.dumps(linter(bad))


def test_what_the_container_file_copies_is_there_and_sent_along() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", containerfile(), re.M)
    names = {name for line in copied for name in line.split()}
    assert names
    assert {name for name in names if not (ROOT / name).exists()} == set()
    assert names <= sent


def test_the_image_runs_as_nobody_special_and_from_a_lock_without_tools() -> None:
    last = containerfile().split("FROM ")[-1]
    assert re.search(r"^USER 10001$", last, re.M)
    run, whole = pinned("requirements-run.lock"), pinned("requirements.lock")
    assert {"pytest", "mypy", "ruff", "hatchling"} & run.keys() == set()
    assert {name: version for name, version in run.items() if whole.get(name) != version} == {}


def test_the_compose_file_is_one_and_names_files_that_are_there() -> None:
    file = DEPLOY / "compose.yaml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = yaml.safe_load(file.read_text())
    plane = told["services"]["plane"]
    assert (DEPLOY / plane["build"]["context"] / plane["build"]["dockerfile"]).is_file()
    assert (DEPLOY / plane["volumes"][0].split(":")[0] / "plane.yaml").is_file()
    for service in told["services"].values():
        given = {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}
        assert given <= set(told["secrets"])
        assert not any("PASSWORD" in name and "FILE" not in name for name in service.get("environment", {}))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_is_one_that_systemd_takes(unit: Path, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    there = tmp_path / unit.name.replace("@.", "@1.")
    there.write_text(unit.read_text().replace("/opt/cxplane/bin/cxplane", "/bin/true"))
    done = subprocess.run([verify, "verify", str(there)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if there.name in line]
    assert (done.returncode, said) == (0, [])


def test_settings_of_the_service_are_settings() -> None:
    known = (ROOT / "docs/reference/settings.md").read_text()
    for file in (DEPLOY / "cxplane.env.example", DEPLOY / "compose.yaml", DEPLOY / "Containerfile", *UNITS):
        for name in re.findall(r"\bCXPLANE_[A-Z_]+\b", file.read_text()):
            assert name in known, f"{file.name} sets {name}, which is none of the settings"
