"""The tree: known answers of RFC 6962 logs, and what must hold for any tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxplane.record import merkle, tiles
from cxplane.record.merkle import Frontier, leaf_hash

# the tree that the implementations of Certificate Transparency test with
LINES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
LEAVES = [leaf_hash(bytes.fromhex(line)) for line in LINES]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): INCLUSION[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}


def made(count: int) -> list[bytes]:
    return [leaf_hash(str(n).encode()) for n in range(count)]


def stored(leaves: list[bytes], steps: list[int]) -> tuple[Frontier, dict[tuple[int, int], bytes]]:
    """The tree as tiles, grown by so many leaves at a time."""
    frontier, kept, done = Frontier(), dict[tuple[int, int], bytes](), 0
    for step in [*steps, len(leaves)]:
        part = leaves[done : done + step]
        held = {level: kept[level, n] for level, n in tiles.open_places(done)}
        for added in tiles.grow(frontier, part, range(done, done + len(part)), held):
            kept[added.level, added.n] = kept.get((added.level, added.n), b"") + added.hashes
        done += len(part)
    return frontier, kept


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert merkle.root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int) -> None:
    proof = tiles.prove(merkle.inclusion_plan(index, size), {(0, 0): b"".join(LEAVES)})
    assert [step.hex() for step in proof] == INCLUSION[index, size]
    assert merkle.included(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_are_those_of_certificate_transparency(old: int, new: int) -> None:
    proof = tiles.prove(merkle.consistency_plan(old, new), {(0, 0): b"".join(LEAVES)})
    assert [step.hex() for step in proof] == CONSISTENCY[old, new]
    assert merkle.consistent(old, new, bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[new - 1]), proof)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1400), st.data())
def test_every_leaf_is_proven_from_tiles_however_they_grew_and_nothing_else_is(size: int, data: st.DataObject) -> None:
    leaves = made(size)
    frontier, kept = stored(leaves, data.draw(st.lists(st.integers(0, 600), max_size=6)))
    root = merkle.root_of(leaves)
    assert frontier.root() == root and Frontier.from_bytes(size, frontier.to_bytes()).root() == root
    index = data.draw(st.integers(0, size - 1))
    plan = merkle.inclusion_plan(index, size)
    proof = tiles.prove(plan, {place: kept[place] for place in tiles.needed(plan)})
    assert merkle.included(leaves[index], index, size, proof, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index)) if size > 1 else None
    if other is not None:
        assert not merkle.included(leaves[other], index, size, proof, root)
        assert not merkle.included(leaves[index], other, size, proof, root)
    assert not merkle.included(leaves[index], index, size, (*proof, b"x" * 32), root)
    assert not merkle.included(leaves[index], index, size, proof, leaf_hash(root))
    for n in range(len(proof)):
        assert not merkle.included(leaves[index], index, size, (*proof[:n], *proof[n + 1 :]), root)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1400), st.data())
def test_a_tree_is_shown_to_begin_another_and_a_changed_one_is_not(size: int, data: st.DataObject) -> None:
    leaves = made(size)
    old = data.draw(st.integers(1, size))
    _, kept = stored(leaves, [old])
    plan = merkle.consistency_plan(old, size)
    proof = tiles.prove(plan, {place: kept[place] for place in tiles.needed(plan)})
    before, after = merkle.root_of(leaves[:old]), merkle.root_of(leaves)
    assert merkle.consistent(old, size, before, after, proof)
    changed = data.draw(st.integers(0, old - 1))
    other = merkle.root_of([leaf_hash(b"x") if n == changed else leaf for n, leaf in enumerate(leaves[:old])])
    assert not merkle.consistent(old, size, other, after, proof)
    assert not merkle.consistent(old, size, before, leaf_hash(after), proof)
    assert not merkle.consistent(old, size, before, after, (*proof, b"x" * 32))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=8))
def test_adding_complete_trees_is_adding_their_leaves(steps: list[tuple[int, int]]) -> None:
    by_leaf, by_tree = Frontier(), Frontier()
    for height, count in sorted(steps, reverse=True):
        for _ in range(count):
            leaves = [leaf_hash(b"%d" % (by_leaf.size + n)) for n in range(1 << height)]
            by_tree.push_tree(merkle.complete_root(leaves), height)
            for leaf in leaves:
                by_leaf.push(leaf)
    assert by_tree == by_leaf


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_of_what_is_not_in_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaf"):
        merkle.inclusion_plan(index, size)
    assert merkle.root_from_inclusion(b"", index, size, ()) is None


def test_a_proof_from_tiles_that_lost_hashes_is_not_made() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        tiles.prove(merkle.inclusion_plan(5, 8), {(0, 0): b"".join(LEAVES[:6])})
