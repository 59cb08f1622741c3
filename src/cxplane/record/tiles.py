"""How the tree is kept: tiles of 256 hashes, as in https://c2sp.org/tlog-tiles.

Tile (level, n) holds the nodes (8·level, 256·n) up to (8·level, 256·n + 255). The last one of a level is not full yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxplane.record.merkle import HASH, Frontier, Node, Plan, complete_root, proof_of

WIDTH = 256
HEIGHT = 8  # 2^HEIGHT == WIDTH

Place = tuple[int, int]  # (level, n) of a tile


@dataclass(frozen=True, slots=True)
class Addition:
    """Hashes to be added to a tile. `first`: the position of its first entry, where it begins a tile of level 0."""

    level: int
    n: int
    hashes: bytes
    first: int | None = None


def place_of(node: Node) -> tuple[Place, int, int]:
    """(tile, first hash in it, how many hashes make up the node)."""
    level, n = node
    height = level % HEIGHT
    start = n << height
    return (level // HEIGHT, start // WIDTH), start % WIDTH, 1 << height


def needed(plan: Plan) -> set[Place]:
    """The tiles that a proof is made from."""
    return {place_of(node)[0] for nodes in plan for node in nodes}


def prove(plan: Plan, tiles: Mapping[Place, bytes]) -> tuple[bytes, ...]:
    """The proof, from the tiles that it needs. ValueError where one is missing or too short."""

    def read(node: Node) -> bytes:
        place, start, count = place_of(node)
        data = tiles.get(place, b"")[start * HASH : (start + count) * HASH]
        if len(data) != count * HASH:
            raise ValueError(f"tile {place[0]}/{place[1]} does not hold what the proof needs")
        return complete_root([data[n : n + HASH] for n in range(0, len(data), HASH)])

    return proof_of(plan, read)


def grow(
    frontier: Frontier, leaves: Sequence[bytes], positions: Sequence[int], open_tiles: Mapping[int, bytes]
) -> list[Addition]:
    """Add leaves to the tree (`frontier` is changed); what to add to which tiles.

    `open_tiles`: by level, the hashes of the tile that is not full, where there is one; longer than this tree needs does not
    matter. ValueError if they are not those of the tree.
    """
    held_at = _held(frontier, open_tiles)
    additions: list[Addition] = []
    level, size, new = 0, frontier.size, list(leaves)
    for leaf in leaves:
        frontier.push(leaf)
    while new:
        held = held_at.get(level, b"")
        roots: list[bytes] = []
        done, n = 0, size // WIDTH
        while done < len(new):
            part = new[done : done + WIDTH - len(held) // HASH]
            first = positions[done] if level == 0 and not held else None
            additions.append(Addition(level, n, b"".join(part), first))
            whole = held + additions[-1].hashes
            if len(whole) == WIDTH * HASH:
                roots.append(complete_root(split(whole)))
            done, n, held = done + len(part), n + 1, b""
        level, size, new = level + 1, size // WIDTH, roots
    return additions


def _held(frontier: Frontier, open_tiles: Mapping[int, bytes]) -> dict[int, bytes]:
    """The hashes of the open tiles that belong to this tree: together they make up its frontier."""
    held: dict[int, bytes] = {}
    parts: list[bytes] = []
    for level, n in open_places(frontier.size):
        count = (frontier.size >> (HEIGHT * level)) - n * WIDTH
        held[level] = open_tiles.get(level, b"")[: count * HASH]
        part = Frontier()
        for hash in split(held[level]):
            part.push(hash)
        parts = part.hashes + parts
    if parts != frontier.hashes:
        raise ValueError("its open tiles do not make up the tree")
    return held


def split(data: bytes) -> list[bytes]:
    return [data[n : n + HASH] for n in range(0, len(data), HASH)]


def open_places(size: int) -> list[Place]:
    """The tiles that are not full in a tree of that size."""
    places, level = [], 0
    while size:
        if size % WIDTH:
            places.append((level, size // WIDTH))
        level, size = level + 1, size // WIDTH
    return places
