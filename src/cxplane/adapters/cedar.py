"""Cedar through `cedarpy`: parsed handles, a schema made from the catalog, and no way for an error to open the gate.

What Cedar does that would open it, and what is done here:
- Without the schema, entities know no action groups, and a `forbid` on a group never matches: entities are always
  parsed with it, and `compile` asks the canary (`cedar_canary`) whether group forbids hold.
- A policy that errors is skipped: any error makes the answer `error`.
- A context that breaks the schema gives no exception: the answer is `no_decision`, which refuses.
- Policies are named by position: ids are mapped to `@id`; one that is not known makes the answer `error`.
- Messages quote values: none of them leaves this file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cxplane.adapters import cedar_policies
from cxplane.adapters.cedar_answers import CedarPolicies
from cxplane.adapters.cedar_canary import sing
from cxplane.adapters.cedar_check import policy_mistakes, schemaless
from cxplane.adapters.cedar_schema import schema_of
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.release import ControlRepo


class CedarEngine:
    """Compiles the policies of a control repo."""

    def compile(self, repo: ControlRepo) -> CedarPolicies:
        found = cedar_policies.read(repo)
        if mistakes := policy_mistakes(repo, found):
            raise ControlError(mistakes)
        try:
            policies = CedarPolicies(repo, found.chunks, found.metas)
        except ValueError as problem:
            raise ControlError([schemaless(problem)]) from None
        if silent := sing(policies, repo):
            raise ControlError(
                [
                    Mistake("policies", 0, f"the policy engine failed its canary: {why}", "do not run this build")
                    for why in silent
                ]
            )
        return policies

    def check(self, repo: ControlRepo) -> Sequence[Mistake]:
        try:
            self.compile(repo)
        except ControlError as problem:
            return problem.mistakes
        return ()

    def schema(self, repo: ControlRepo) -> str:
        return json.dumps(schema_of(repo).json, indent=2, sort_keys=True)
