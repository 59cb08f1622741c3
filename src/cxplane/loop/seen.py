"""What a leg knows of its customer, between two looks at the store."""

from __future__ import annotations

from cxplane.domain.customer import Situation
from cxplane.domain.record import AsSeen
from cxplane.domain.request import ActionRequest
from cxplane.ports.store import Store


class Seen:
    """The situation of a customer as it was last read, so that it need not be read at each step.

    What is decided by it goes on record only if it is still so (`Write.as_seen`).
    """

    __slots__ = ("about", "situation")

    def __init__(self) -> None:
        self.situation: Situation | None = None
        self.about: tuple[str | None, str | None] | tuple[()] = ()  # nobody yet

    def put(self, customer: str | None, conversation: str | None, situation: Situation | None) -> None:
        self.about, self.situation = (customer, conversation), situation

    def of(self, request: ActionRequest) -> Situation | None:
        return self.situation if self.about == (request.customer, request.conversation) else None

    def as_seen(self, request: ActionRequest) -> AsSeen | None:
        found = self.of(request)
        if found is None or found.version is None:
            return None
        return AsSeen(request.customer, request.conversation, found.version)

    async def stands(self, store: Store, request: ActionRequest) -> bool:
        """Whether it is still so, by a look at the store."""
        now = await store.situation(request.tenant, request.customer, request.conversation)
        return self.situation is not None and now.version == self.situation.version

    def forget(self) -> None:
        self.situation = None
