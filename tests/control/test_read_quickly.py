"""A control repo without mistakes is read without what would tell its mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cxplane.control.init import init
from cxplane.control.shapes import SHAPED, Shape, _shape, part_of
from cxplane.domain.quick import quick


def test_a_repo_without_mistakes_is_read_without_jsonschema(tmp_path: Path) -> None:
    init(tmp_path / "control")
    text = "import sys; from cxplane.control.load import read; print(read(sys.argv[1]).mistakes, 'jsonschema' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", text, str(tmp_path / "control")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] False"


@pytest.mark.parametrize("kind", SHAPED)
def test_what_fits_at_once_is_known_for_every_kind_of_file(kind: str) -> None:
    schema = {name: value for name, value in _shape(kind).schema.items() if name != "$schema"}
    assert quick(schema) is not None


def test_what_does_not_fit_at_once_is_left_to_the_validator() -> None:
    step = part_of("journey", "step_call")
    assert step.surely({"call": "billing.find", "with": {"a": "input.a", "b": 1, "c": None}})
    assert not step.surely({"call": "billing.find", "wth": {}})
    assert [p.validator for p in step.validator.iter_errors({"call": 1})] == ["type"]
    assert not Shape({"not": {}}).surely(1)  # a schema that says more than the common words
