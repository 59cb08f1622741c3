from __future__ import annotations

from dataclasses import replace

import pytest

from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.python import PythonConnector
from cxplane.domain.catalog import Action, PythonCall
from cxplane.domain.errors import ControlError, FailureKind, SystemFailure
from tests.connectors import operator_calls
from tests.connectors.world import ACCOUNT, CREDIT, CUSTOMER_VALUE, KEY, SECRET, allowed

PYTHON = PythonConnector(EnvironmentVault({"BILLING_TOKEN": SECRET}))


def by(action: Action, name: str) -> Action:
    return replace(action, via=PythonCall("billing", f"tests.connectors.operator_calls:{name}"))


async def test_a_coroutine_gets_input_key_and_secrets() -> None:
    operator_calls.seen.clear()
    request = allowed()
    reply = await PYTHON.write(by(CREDIT, "credit"), request, timeout_s=1)
    assert reply.output == {"credit_id": "cr-1"}
    assert operator_calls.seen == [(dict(request.request.input), KEY)]
    assert "changed" not in request.request.input


@pytest.mark.parametrize(
    ("name", "on_write", "on_read"),
    [
        ("breaks", FailureKind.UNKNOWN, FailureKind.RETRY),
        ("refuses", FailureKind.REFUSED, FailureKind.REFUSED),
        ("hangs", FailureKind.UNKNOWN, FailureKind.RETRY),
        ("off_contract", FailureKind.UNKNOWN, FailureKind.RETRY),
    ],
)
async def test_what_a_coroutine_does_wrong_is_classed(name: str, on_write: FailureKind, on_read: FailureKind) -> None:
    with pytest.raises(SystemFailure) as wrote:
        await PYTHON.write(by(CREDIT, name), allowed(), timeout_s=0.1)
    with pytest.raises(SystemFailure) as read:
        await PYTHON.read(by(ACCOUNT, name), {"account_id": CUSTOMER_VALUE}, timeout_s=0.1)
    assert (wrote.value.kind, read.value.kind) == (on_write, on_read)
    assert SECRET not in str(wrote.value)
    assert CUSTOMER_VALUE not in str(wrote.value)


@pytest.mark.parametrize(
    "target", ["nowhere:f", "os:nothing", "os:system", "tests.connectors.operator_calls:not_async", "x"]
)
async def test_only_a_coroutine_function_that_is_there_will_do(target: str) -> None:
    with pytest.raises(ControlError):
        await PYTHON.write(replace(CREDIT, via=PythonCall("billing", target)), allowed(), timeout_s=1)
