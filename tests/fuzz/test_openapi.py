"""What /openapi.json says is so: schemathesis asks a running plane what the document allows, and what it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cxplane.edges.http import routes
from cxplane.edges.http.route import Route
from tests.edges.running import Running, set_up
from tests.fuzz.profile import bounded

ANSWERS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
PEOPLE = """\
roles:
  - {role: service-agent, summary: serves customers}
  - {role: supervisor, summary: decides what was held}
  - {role: integration, summary: another system of ours}
teams:
  - {team: service-team, lead: sam}
persons:
  - {id: sam, roles: [supervisor, service-agent, integration], team: service-team}
services:
  - {id: crm-sync, roles: [integration]}
"""
ROUTES = [  # a stream never ends: tests/edges/test_stream.py
    pytest.param(route, id=f"{route.method} {route.path}") for route in routes.ROUTES if not route.streams
]
QUICK = (Phase.explicit, Phase.generate)  # what is found is printed as it is; a plane with a memory shrinks badly


@dataclass
class Known:
    """A plane, what it says of itself, and ids that lead somewhere."""

    plane: Running
    schema: BaseSchema
    ids: dict[str, str]

    def operation(self, route: Route) -> APIOperation:
        return self.schema[route.path][route.method]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    plane = set_up(tmp_path_factory.mktemp("plane"), {"keys": []}, {"people/people.yaml": PEOPLE})
    try:
        done = plane.refund(plane.shop.order("o-1"), 1000).json()["id"]
        held = plane.refund(plane.shop.order("o-2"), 9000).json()["approval"]
        plane.shop.order("o-3")
        start = {"journey": "refund", "customer": "c-1", "input": {"order_id": "o-3", "amount": 9000}}
        with plane.http("person:sam") as http:
            journey = "refund"
            run = http.post("/v1/runs", json={**start, "journey": journey})
            assert run.status_code == 201, run.text
        ids = {
            "/v1/actions": "shop.refund_order",
            "/v1/requests": done,
            "/v1/decisions": done,
            "/v1/approvals": held,
            "/v1/journeys": journey,
            "/v1/runs": run.json()["run"]["id"],
            "/v1/customers": "c-1",
            "/v1/conversations": "talk-1",
        }
        schema = schemathesis.openapi.from_url(f"{plane.url}/openapi.json")
        schema.config.generation = GenerationConfig(
            modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE], deterministic=True, with_security_parameters=False
        )
        yield Known(plane, schema, ids)
    finally:
        if plane.process is not None:
            plane.stop()
        plane.shop.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_privileged_caller_gets_what_the_document_says(known: Known, route: Route, mode: GenerationMode) -> None:
    """Data as the document describes it, and data off it; half of the good addresses are those of something that is there."""
    operation = known.operation(route)
    headers = {"Authorization": f"Bearer {known.plane.keys['person:sam']}"}
    real = next((id for start, id in known.ids.items() if route.path.startswith(start)), None)

    @settings(bounded(8, None), phases=QUICK)
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def ask(case: Case, there: bool) -> None:
        if there and real and case.path_parameters and mode is GenerationMode.POSITIVE:
            case.path_parameters = dict.fromkeys(case.path_parameters, real)
        case.call_and_validate(headers=headers, checks=[*ANSWERS, negative_data_rejection], timeout=30)

    ask_unless_nothing_can_be_wrong(ask)


@pytest.mark.parametrize("route", [r for r in ROUTES if not r.values[0].open])
def test_nobody_gets_anything_without_a_credential(known: Known, route: Route) -> None:
    """Whatever is sent, the answer is that nobody we know is asking."""
    operation = known.operation(route)

    @settings(bounded(3, None), phases=QUICK)
    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case: Case) -> None:
        for authorization in (None, "Bearer cxp_" + "x" * 40, f"Basic {known.plane.keys['person:sam']}"):
            headers = {"Authorization": authorization} if authorization else {}
            answer = case.call_and_validate(headers=headers, checks=ANSWERS, timeout=30)
            assert answer.status_code == 401, answer.status_code

    ask()


def ask_unless_nothing_can_be_wrong(ask: Callable[[], None]) -> None:
    """A route without parameters and body takes no bad data."""
    with contextlib.suppress(Unsatisfiable):
        ask()


def test_all_that_was_asked_left_the_plane_ready_and_its_log_without_a_failure(known: Known) -> None:
    with known.plane.http() as http:
        assert http.get("/health/ready").status_code == 200
    log = (known.plane.root / "serve.log").read_text()
    assert "Traceback" not in log
    assert " failed with " not in log
