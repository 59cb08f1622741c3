"""The OpenAPI document says what the edge does: every route, every bound, every example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from cxplane.edges.http.openapi import document
from cxplane.edges.http.routes import ROUTES
from tests.edges.world import SaidPlane, problem


def test_the_description_is_openapi_31_and_covers_every_route(http: httpx.Client) -> None:
    told = http.get("/openapi.json").json()
    assert told["openapi"] == "3.1.0"
    assert {(m.upper(), p) for p, ops in told["paths"].items() for m in ops} == {(r.method, r.path) for r in ROUTES}
    ids = [op["operationId"] for ops in told["paths"].values() for op in ops.values()]
    assert len(ids) == len(set(ids))
    for ops in told["paths"].values():
        for op in ops.values():
            assert op["summary"]
            assert op["responses"]


def test_whole_numbers_of_queries_are_held_to_the_bounds_that_are_described(
    http: httpx.Client, plane: SaidPlane
) -> None:
    described = http.get("/openapi.json").json()["paths"]
    tried = 0
    for path, methods in described.items():
        for parameter in methods.get("get", {}).get("parameters", ()):
            if (schema := parameter["schema"])["type"] != "integer" or path.startswith("/v1/entries/"):
                continue
            for value in (schema["minimum"] - 1, schema["maximum"] + 1):
                told = problem(http.get(path, params={parameter["name"]: value}), 422, "malformed")
                assert told["where"] == f"?{parameter['name']}"
            tried += 1
    assert tried > 5
    assert {"type": "boolean"} in [one["schema"] for one in described["/v1/runs"]["get"]["parameters"]]


def test_every_reference_in_the_description_leads_somewhere() -> None:
    told = document(ROUTES)

    def refs(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for inner in value.values():
                yield from refs(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from refs(inner)

    for ref in set(refs(told)):
        place: Any = told
        for step in ref.removeprefix("#/").split("/"):
            place = place[step]


def test_the_examples_of_bodies_fit_their_schemas() -> None:
    from jsonschema import Draft202012Validator

    told = document(ROUTES)
    for route in ROUTES:
        if route.body is None:
            continue
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}", "components": told["components"]}
        assert route.example is not None, f"{route.name} has no example"
        Draft202012Validator(schema).validate(route.example)
