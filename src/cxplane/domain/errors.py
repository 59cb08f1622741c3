"""Everything that can go wrong, as one family.

    CxplaneError
    ├── ControlError         the control repo has mistakes (all of them, each with file, line and a hint)
    ├── SystemFailure        a business system did not do what was asked (kind says what is safe to do next)
    ├── FactFailure          a fact that policy needs could not be had
    ├── ExpressionError      a CEL expression could not be compiled or computed
    ├── SecretMissing        the vault has no secret of that name
    ├── SealKeyWrong         the key that signs checkpoints cannot be used
    ├── SinkFailure          the place where checkpoints are kept apart does not take or give them
    ├── SealBroken           the record is not what was signed
    ├── ExportFailed         the place that the record is exported to cannot be used, or was changed
    ├── NotSealed            what is asked for is not under a signed checkpoint (yet)
    ├── StoreError           the store cannot be used (busy, wrong version, unreachable)
    │   ├── NothingLive      no release is live, so that no tenant can be meant without its name
    │   ├── StoreUnavailable the store does not answer now; asking again is safe
    │   └── KeyDestroyed     the customer was erased while this was being written
    ├── CallerUnknown        nobody we know is asking (no, wrong, expired or forged credentials)
    ├── Forbidden            the caller is known, and may not do this
    ├── Malformed            the request cannot be understood
    ├── NotFound             no such thing
    ├── Conflict             it contradicts what is already on record
    └── Overloaded           more than the plane takes now; come back after `retry_after_s`

A refusal is not an error: it is a value (`domain.decision.Refused`).
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


def where_it_broke(problem: BaseException) -> str:
    """The error's kind and its last frames, for a log. Without its text, which may quote a customer's data."""
    frames = "".join(traceback.format_tb(problem.__traceback__)[-12:])
    cause = f" from {type(problem.__cause__).__name__}" if problem.__cause__ else ""
    return f"{type(problem).__name__}{cause}\n{frames}"


class CxplaneError(Exception):
    """The root of the family. `next` is one sentence on what to do now."""

    next: str = "See the log of the plane for details, then ask again."


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake in a control repo: where, what, and how to repair it."""

    file: str  # path relative to the control repo
    line: int  # 1-based; 0 if the whole file is meant
    what: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class ControlError(CxplaneError):
    """The control repo has mistakes; `mistakes` holds all of them, not only the first."""

    next = "Mend the files named, then run `cxplane check`."

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes))
        count = len(self.mistakes)
        super().__init__(
            f"{count} mistake{'' if count == 1 else 's'} in the control repo:\n"
            + "\n".join(f"  {m}" for m in self.mistakes)
        )


class FailureKind(StrEnum):
    """What a failed call means for the next step."""

    RETRY = "retry"  # not done; asking again is safe
    REFUSED = "refused"  # not done; the system said no
    UNKNOWN = "unknown"  # may have been done


class SystemFailure(CxplaneError):
    """A business system did not do what was asked. `said` never holds customer data."""

    def __init__(
        self,
        system: str,
        said: str,
        *,
        kind: FailureKind,
        not_found: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        self.system, self.said, self.kind = system, said, kind
        self.not_found, self.retry_after_s = not_found, retry_after_s
        self.next = {
            FailureKind.RETRY: "Ask again later; nothing was done.",
            FailureKind.REFUSED: "Change the request or ask the owner of the system; nothing was done.",
            FailureKind.UNKNOWN: "Wait; cxplane finds out whether it was done, and does not guess.",
        }[kind]
        super().__init__(f"{system} said: {said} ({kind})")


class FactFailure(CxplaneError):
    """A fact that policy needs could not be had: the source is down, the answer stale or of the wrong shape."""

    next = "See that the source of the fact answers, then ask again."

    def __init__(self, fact: str, why: str, *, later: bool = False) -> None:
        self.fact, self.why, self.later = fact, why, later  # later: its system does not answer now
        super().__init__(f"fact {fact!r} could not be had: {why}")


class ExpressionError(CxplaneError):
    """A CEL expression could not be compiled or computed. The message holds no values."""

    next = "Mend the expression in the control repo; `cxplane check` names file and line."

    def __init__(self, text: str, why: str) -> None:
        self.text, self.why = text, why
        super().__init__(f"{why} in the expression {text!r}")


class SecretMissing(CxplaneError):
    """The vault has no secret of that name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next = f"Set {name} in the environment, or as a file in the secrets folder."
        super().__init__(f"the vault holds no secret named {name!r}")


class SealKeyWrong(CxplaneError):
    """The key that signs checkpoints cannot be used. The message never shows it."""

    next = "Set CXPLANE_SEAL_KEY to what `cxplane audit keys new` printed: one key, or several with the newest first."

    def __init__(self, why: str, *, next: str | None = None) -> None:
        self.next = next or self.next
        super().__init__(f"the key that signs the record {why}")


class SinkFailure(CxplaneError):
    """The place where checkpoints are kept apart does not take or give them. Sealing goes on; they are sent later."""

    next = "See that CXPLANE_SEAL_SINK can be written; what was missed is sent by itself."

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"the checkpoints' sink {where} {why}")


class SealBroken(CxplaneError):
    """The record is not what was signed. Nothing more is signed on it until a person has looked."""

    def __init__(
        self, what: str, *, next: str = "Do not delete anything; read docs/how-to/verify-the-record.md."
    ) -> None:
        self.next = next
        super().__init__(what)


class ExportFailed(CxplaneError):
    """The place that the record is exported to cannot be used, or was changed by somebody else."""

    def __init__(self, where: str, why: str, *, next: str) -> None:
        self.next = next
        super().__init__(f"{where} {why}")


class NotSealed(CxplaneError):
    """What is asked for is not under a signed checkpoint (yet)."""

    exit_code = 4

    def __init__(
        self, what: str, *, next: str = "Wait a few seconds for a plane to seal it, or run `cxplane audit seal`."
    ) -> None:
        self.next = next
        super().__init__(what)


class StoreError(CxplaneError):
    """The store cannot be used."""

    def __init__(self, why: str, *, next: str = "Run `cxplane serve` with a store that answers.") -> None:
        self.next = next
        super().__init__(why)


class NothingLive(StoreError):
    """No tenant has a live release, so that none can be meant without its name."""


class StoreUnavailable(StoreError):
    """The store does not answer now. What was asked is either on record or not done; asking again is safe."""

    def __init__(self, why: str) -> None:
        super().__init__(why, next="Ask again with the same key in a moment; nothing is done twice.")


class KeyDestroyed(StoreError):
    """Personal data was to be written under a key that was destroyed meanwhile: nothing of it is on record."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(
            "the customer was erased while this was being written; nothing of it is on record",
            next="Ask again if it is still wanted.",
        )


class CallerUnknown(CxplaneError):
    """Nobody we know is asking."""

    def __init__(self, why: str, *, next: str = "Send a valid API key or token as `Authorization: Bearer …`.") -> None:
        self.next = next
        super().__init__(why)


class Forbidden(CxplaneError):
    """The caller is known, and may not do this."""

    def __init__(self, why: str, *, next: str = "Ask the owner of the plane for a role that may.") -> None:
        self.next = next
        super().__init__(why)


class Malformed(CxplaneError):
    """The request cannot be understood; `where` is a JSON pointer where one is known."""

    def __init__(self, why: str, *, where: str = "", next: str = "Mend the request and send it again.") -> None:
        self.where, self.next = where, next
        super().__init__(why)


class NotFound(CxplaneError):
    """No such thing."""

    def __init__(
        self, what: str, *, next: str = "Check the id; list what there is with a GET on the collection."
    ) -> None:
        self.next = next
        super().__init__(what)


class Conflict(CxplaneError):
    """It contradicts what is already on record."""

    def __init__(self, why: str, *, next: str) -> None:
        self.next = next
        super().__init__(why)


class Overloaded(CxplaneError):
    """More than the plane takes now."""

    def __init__(self, why: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        self.next = f"Ask again after {retry_after_s:g} s, with the same key."
        super().__init__(why)
