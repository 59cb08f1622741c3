"""Roles say what somebody is; attributes say for what: policies read both."""

from __future__ import annotations

import pytest

from cxplane.control.release import build
from cxplane.domain.errors import ControlError
from cxplane.domain.people import CallerKind
from cxplane.wiring import policy_engine
from tests.loop.world import AGENT, PEOPLE, PLANE, POLICY, control, world

TYPED = f"{PLANE}callers: {{attributes: {{region: String, level: Long, brands: Set<String>}}}}\n"
NORTH = (
    POLICY
    + """
@id("region") @reason("Only the north credits")
forbid (principal, action in Action::"billing.issue_credit:any", resource)
unless { principal has region && principal.region == "north" && principal has level && principal.level >= 2 };
"""
)


def agent(attributes: str) -> str:
    return AGENT.format(name="fin", data="billing").replace("data:", f"attributes: {attributes}\ndata:")


@pytest.mark.parametrize(
    ("attributes", "verdict"),
    [
        ("{region: north, level: 2, brands: [one, two]}", "allow"),
        ("{region: south, level: 2}", "refuse"),
        ("{region: north, level: 1}", "refuse"),
        ("{}", "refuse"),
    ],
)
async def test_a_policy_reads_the_attributes_of_who_asks(dsn: str, attributes: str, verdict: str) -> None:
    async with world(dsn, plane=TYPED, policies__billing=NORTH, agents__fin=agent(attributes)) as w:
        await w.know()
        assert (await w.ask()).decision == verdict


def mistakes(**files: str) -> list[str]:
    try:
        return [m.what for m in policy_engine().check(build(control(**files)).repo)]
    except ControlError as problem:
        return [m.what for m in problem.mistakes]


def test_attributes_are_declared_and_typed() -> None:
    assert mistakes(plane=TYPED, agents__fin=agent("{region: north}"), policies__billing=NORTH) == []
    assert "does not declare" in mistakes(plane=TYPED, agents__fin=agent("{regoin: north}"))[0]
    assert "is not a Long" in mistakes(plane=TYPED, agents__fin=agent("{level: high}"))[0]
    assert "must be one of Bool" in mistakes(plane=TYPED.replace("Long", "Number"))[0]
    assert "team" in mistakes(plane=TYPED.replace("region", "team"))[0]
    person = PEOPLE.replace("{id: ben, roles", "{id: ben, attributes: {level: x}, roles")
    assert "person:ben" in mistakes(plane=TYPED, people__people=person)[0]
    assert (
        mistakes(policies__billing=NORTH.replace("principal has region && ", "")) != []
    )  # a policy cannot read what nobody declares


async def test_an_agent_with_the_role_of_an_approver_does_not_see_what_persons_decide(dsn: str) -> None:
    boss = AGENT.format(name="fin", data="billing").replace("[service-agent]", "[service-agent, desk]")
    other = AGENT.format(name="nosy", data="billing").replace("[service-agent]", "[service-agent, desk]")
    people = PEOPLE.replace("  - {role: integration}", "  - {role: integration}\n  - {role: desk}").replace(
        "{id: ben, roles: [service-agent]", "{id: ben, roles: [service-agent, desk]"
    )
    policy = POLICY.replace('@approvers("supervisor")', '@approvers("desk")')
    assert policy != POLICY
    files = {"agents__fin": boss, "agents__nosy": other, "people__people": people, "policies__billing": policy}
    async with world(dsn, **files) as w:
        await w.know()
        view = await w.ask(8000)
        assert view.status == "held", view
        seen = {}
        for name in ("agent:fin", "agent:nosy", "person:ben"):
            caller = w.plane.caller(name)
            assert (caller.kind is CallerKind.PERSON) == (name == "person:ben")
            seen[name] = [row.request for row in (await w.plane.approvals(caller))[0]]
        assert seen == {"agent:fin": [view.id], "agent:nosy": [], "person:ben": [view.id]}
