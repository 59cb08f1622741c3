"""Which of the media types that a route can give the caller would rather have (RFC 9110, Accept)."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str, offers: Sequence[str]) -> str:
    """The best of `offers`; of equals, what the caller names first. The first one where the caller likes none of them."""
    ranges = [_range(part) for part in accept.split(",") if part.strip()]

    def rank(offer: str) -> tuple[float, int]:
        matching = [(name.count("*"), place) for place, (name, _) in enumerate(ranges) if _matches(name, offer)]
        if not matching:
            return 0.0, 0
        place = min(matching)[1]  # the most exact range counts
        return ranges[place][1], -place

    best = max(offers, key=rank)
    return best if rank(best)[0] > 0 else offers[0]


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
