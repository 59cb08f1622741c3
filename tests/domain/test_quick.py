"""A quick yes is never a yes to what the validator refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cxplane.domain.quick import quick

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["", "a", "ab", "abc", "1"])
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)
plain: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 3),
            "maxLength": st.integers(0, 3),
            "pattern": st.sampled_from(["^a", "b$", "1"]),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={"minimum": st.integers(-3, 3), "maximum": st.integers(-3, 3)},
    ),
    st.fixed_dictionaries({"type": st.just("boolean")}),
    st.fixed_dictionaries({"type": st.just("null")}),
    st.fixed_dictionaries(
        {"enum": st.lists(st.sampled_from(["a", "b"]), min_size=1, unique=True)},
        optional={"type": st.just("string"), "title": st.just("t")},
    ),
)


def forms(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects that require something."""
    return st.fixed_dictionaries(
        {
            "required": st.lists(st.sampled_from("abc"), unique=True, min_size=1, max_size=2),
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        },
        optional={"type": st.just("object"), "additionalProperties": st.booleans()},
    )


schemas: st.SearchStrategy[Any] = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"minItems": st.integers(0, 2), "maxItems": st.integers(0, 2), "uniqueItems": st.booleans()},
        ),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)},
            optional={
                "required": st.lists(st.sampled_from("abc"), unique=True, max_size=2),
                "additionalProperties": st.booleans() | inner,
                "minProperties": st.integers(0, 2),
                "maxProperties": st.integers(0, 2),
                "dependentRequired": st.fixed_dictionaries({"a": st.just(["b"])}),
                "propertyNames": st.fixed_dictionaries({"type": st.just("string"), "pattern": st.just("[ab]")}),
            },
        ),
        st.fixed_dictionaries({"oneOf": st.lists(forms(inner), min_size=1, max_size=3)}),
        st.fixed_dictionaries(
            {"type": st.lists(st.sampled_from(TYPES), min_size=1, unique=True)},
            optional={
                "minLength": st.integers(0, 3),
                "maximum": st.integers(-3, 3),
                "items": inner,
                "maxItems": st.integers(0, 2),
                "additionalProperties": inner,
                "required": st.just(["a"]),
            },
        ),
    ),
    max_leaves=5,
)


@given(schemas, values)
@settings(max_examples=500, deadline=None)
def test_a_quick_yes_is_a_yes(schema: Any, value: Any) -> None:
    check = quick(schema)
    assert check is not None
    if check(value):
        assert Draft202012Validator(schema).is_valid(value)


@given(schemas)
@settings(max_examples=100, deadline=None)
def test_and_it_is_not_always_no(schema: Any) -> None:
    check = quick({"type": "object", "properties": {"a": schema}})
    assert check is not None and check({}) and not check([])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date"},
        {"type": ["string", "null"], "format": "date"},
        {"allOf": []},
        {"type": "object", "patternProperties": {}},
        {"oneOf": [{"type": "object"}, {"type": "object", "required": ["a"]}]},
        {"type": "object", "additionalProperties": {"const": 1}},
        {"$ref": "#/x"},
        {"type": "integer", "multipleOf": 2},
        False,
    ],
)
def test_what_it_does_not_understand_it_leaves_to_the_validator(schema: Any) -> None:
    assert quick(schema) is None
    assert quick({"type": "object", "properties": {"a": schema}}) is None
