"""The tree over the record: RFC 6962 hashes, tree heads and proofs, with no I/O and no library but SHA-256.

A leaf is the hash of one line. A *node* (level, n) is the root of the complete tree over the leaves n·2^level up to
(n+1)·2^level. What is stored are nodes; every proof is folded from a few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

HASH = 32  # bytes
EMPTY = sha256(b"").digest()  # the root of a tree without leaves

Node = tuple[int, int]  # (level, n)
Plan = tuple[tuple[Node, ...], ...]  # each hash of a proof as the nodes that it is folded from


def leaf_hash(line: bytes) -> bytes:
    return sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root of neighbouring complete trees, largest first; of none, the root of the empty tree."""
    if not hashes:
        return EMPTY
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


@dataclass(slots=True)
class Frontier:
    """A tree that grows: its size, and the roots of the complete trees that make it up, largest first."""

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def push(self, leaf: bytes) -> None:
        self.hashes.append(leaf)
        size = self.size
        while size & 1:
            right = self.hashes.pop()
            self.hashes[-1] = sha256(b"\x01" + self.hashes[-1] + right).digest()
            size >>= 1
        self.size += 1

    def push_tree(self, root: bytes, height: int) -> None:
        """Add a complete tree of 2^height leaves. The size must be a multiple of that."""
        self.hashes.append(root)
        size = self.size >> height
        while size & 1:
            right = self.hashes.pop()
            self.hashes[-1] = sha256(b"\x01" + self.hashes[-1] + right).digest()
            size >>= 1
        self.size += 1 << height

    def root(self) -> bytes:
        return fold(self.hashes)

    def copy(self) -> Frontier:
        return Frontier(self.size, list(self.hashes))

    def to_bytes(self) -> bytes:
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """ValueError unless there are as many hashes as a tree of this size has complete trees."""
        if len(data) != HASH * size.bit_count():
            raise ValueError("the frontier does not fit the size of the tree")
        return cls(size, [data[n : n + HASH] for n in range(0, len(data), HASH)])


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2^k hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [sha256(b"\x01" + row[n] + row[n + 1]).digest() for n in range(0, len(row), 2)]
    return row[0]


def root_of(leaves: Iterable[bytes]) -> bytes:
    frontier = Frontier()
    for leaf in leaves:
        frontier.push(leaf)
    return frontier.root()


def cover(start: int, end: int) -> tuple[Node, ...]:
    """The complete trees that make up the leaves from start to before end, in order.

    `start` must be a multiple of the largest of them, as it is for all ranges that RFC 6962 splits into.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return tuple(nodes)


def _split(size: int) -> int:
    """The largest power of two below size."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_plan(index: int, size: int) -> Plan:
    """What proves that a leaf is in the tree of that size (RFC 6962, 2.1.1). ValueError if it is not in it."""
    if not 0 <= index < size:
        raise ValueError(f"the tree of {size} leaves has no leaf {index}")
    plan: list[tuple[Node, ...]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            plan.append(cover(middle, end))
            end = middle
        else:
            plan.append(cover(start, middle))
            start = middle
    return tuple(reversed(plan))


def consistency_plan(old: int, new: int) -> Plan:
    """What proves that the old tree is the beginning of the new one (RFC 6962, 2.1.2). ValueError for impossible sizes."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} leaves cannot be shown to begin one of {new}")
    plan: list[tuple[Node, ...]] = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            plan.append(cover(middle, end))
            end = middle
        else:
            plan.append(cover(start, middle))
            start, whole = middle, False
    if not whole:
        plan.append(cover(start, end))
    return tuple(reversed(plan))


def proof_of(plan: Plan, hash_of: Mapping[Node, bytes] | Callable[[Node], bytes]) -> tuple[bytes, ...]:
    read = hash_of if callable(hash_of) else hash_of.__getitem__
    return tuple(fold([read(node) for node in nodes]) for nodes in plan)


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that this proof leads to; None for a proof of the wrong length (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    fn, sn, root = index, size - 1, leaf
    for step in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            root = node_hash(step, root)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            root = node_hash(root, step)
        fn >>= 1
        sn >>= 1
    return root if sn == 0 else None


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    return root_from_inclusion(leaf, index, size, proof) == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the old tree is the beginning of the new one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    first = second = path[0]
    for step in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(step, first), node_hash(step, second)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            second = node_hash(second, step)
        fn >>= 1
        sn >>= 1
    return sn == 0 and first == old_root and second == new_root
