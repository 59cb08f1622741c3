"""Which of the media types that a route can give the caller would rather have (RFC 9110, Accept)."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str, offers: Sequence[str]) -> str:
    """The best of `offers`; the first one where the caller does not say, or likes none of them."""
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return offers[0]

    def quality(offer: str) -> float:
        matching = [(name.count("*"), quality) for name, quality in ranges if _matches(name, offer)]
        return min(matching)[1] if matching else 0.0  # the most exact range counts

    best = max(offers, key=quality)
    return best if quality(best) > 0 else offers[0]


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return name, quality


def _matches(name: str, offer: str) -> bool:
    return name in ("*/*", offer) or (name.endswith("/*") and offer.startswith(name[:-1]))
