from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cxplane.control.shapes import SHAPED, schema_text

PUBLISHED = Path(__file__).parents[2] / "schemas"


@pytest.mark.parametrize("kind", SHAPED)
def test_the_published_schema_is_the_one_that_the_loader_uses(kind: str) -> None:
    assert (PUBLISHED / f"{kind}.schema.json").read_text("utf-8") == schema_text(kind)


def test_nothing_else_is_published() -> None:
    assert {path.name for path in PUBLISHED.iterdir()} == {f"{kind}.schema.json" for kind in SHAPED}


@pytest.mark.parametrize("kind", SHAPED)
def test_each_is_a_json_schema_that_allows_no_unknown_key(kind: str) -> None:
    schema = json.loads(schema_text(kind))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    assert schema["description"]
