"""The control repo that `cxplane init` writes, and what a test changes in it."""

from __future__ import annotations

from collections.abc import Mapping

from cxplane.control.init import starter
from cxplane.control.load import load
from cxplane.domain.errors import ControlError, Mistake

REFUND = "catalog/shop/refund_order.yaml"
ORDER = "catalog/shop/get_order.yaml"
SYSTEM = "systems/shop.yaml"
POLICIES = "policies/refunds.cedar"
TESTS = "policies/tests/refunds.yaml"
BUDGET = "budgets/refunds-by-ai.yaml"
PEOPLE = "people/people.yaml"
AGENT = "agents/helper.md"
PLANE = "plane.yaml"
JOURNEY = "journeys/refund/journey.yaml"
CHARTER = "journeys/refund/charter.md"

FILES: Mapping[str, str] = starter("shop")


def changed(file: str, old: str, new: str, files: Mapping[str, str] = FILES) -> dict[str, str]:
    """The files, with the first `old` of one file replaced. The test is wrong if it is not there."""
    assert old in files[file], f"{old!r} is not in {file}"
    return {**files, file: files[file].replace(old, new, 1)}


def line_of(files: Mapping[str, str], file: str, text: str) -> int:
    """The line on which a text first stands, the editor's line at the head aside."""
    lines = files[file].split("\n")
    return next(n for n, line in enumerate(lines, 1) if text in line and not line.startswith("# yaml-language"))


def mistakes(files: Mapping[str, str]) -> tuple[Mistake, ...]:
    """What `load` complains about; empty if it does not."""
    try:
        load(files)
    except ControlError as error:
        return error.mistakes
    return ()
