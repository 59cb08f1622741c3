"""Signed notes: what Go's note package signed is read here, and what is written here is strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.adapters.signing import Ed25519Signer, new_private_key, signers_from, verify
from cxplane.domain.errors import SealKeyWrong
from cxplane.record import note as notes
from cxplane.record.note import Checkpoint, Key, NoteError

# the example of golang.org/x/mod/sumdb/note
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNED = (
    TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def by(signer: Ed25519Signer) -> tuple[Key, object]:
    return Key(signer.name, signer.public), signer.sign


def checkpoint(*signers: Ed25519Signer, size: int = 3) -> str:
    text = Checkpoint("cxplane/acme", size, bytes(32)).text
    return str(notes.sign(text, [by(s) for s in signers]))  # type: ignore[misc]


def test_a_note_of_go_is_read_and_checked() -> None:
    key = Key.parse(PETER)
    note = notes.parse_note(SIGNED)
    assert note.text == TEXT and note.signed_by([key], verify) == (key,) and str(note) == SIGNED


def test_a_note_is_signed_to_the_same_bytes_as_by_go() -> None:
    signer = Ed25519Signer(PETERS)
    assert str(Key(signer.name, signer.public)) == PETER
    assert str(notes.sign(TEXT, [by(signer)])) == SIGNED  # type: ignore[list-item]


def test_several_keys_sign_one_note_and_each_is_found() -> None:
    signers = signers_from(f"{new_private_key('cxplane/acme')}\n{new_private_key('cxplane/acme')}")
    keys = [Key(s.name, s.public) for s in signers]
    note = notes.parse_checkpoint(checkpoint(*signers)).note
    assert note is not None and note.signed_by(keys, verify) == tuple(keys)
    assert note.signed_by(keys[1:], verify) == (keys[1],)
    assert note.signed_by([Key("cxplane/acme", bytes(32))], verify) == ()


def test_a_checkpoint_says_origin_size_and_root() -> None:
    read = notes.parse_checkpoint(checkpoint(Ed25519Signer(PETERS)))
    assert (read.origin, read.size, read.root) == ("cxplane/acme", 3, bytes(32))


@given(st.data())
def test_no_changed_byte_of_a_checkpoint_passes(data: st.DataObject) -> None:
    good = checkpoint(Ed25519Signer(PETERS)).encode()
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != good[at]))
    changed = good[:at] + bytes([byte]) + good[at + 1 :]
    key = Key.parse(PETER)
    try:
        note = notes.parse_checkpoint(changed.decode()).note
        assert note is not None and note.signed_by([key], verify) == ()
    except (NoteError, UnicodeDecodeError):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n\n",
        "\n\n— a b\n",
        "a\n\n— a AAAA\n",
        "a\n\n— a+b AAAAAAAA\n",
        "a\n\n— a AAAAAAAA",
        "a\x00\n\n— a AAAAAAA=\n",
    ],
)
def test_what_is_no_note_is_not_read(text: str) -> None:
    with pytest.raises(NoteError):
        notes.parse_note(text)


@pytest.mark.parametrize("change", [("3\n", "03\n"), ("3\n", "-3\n"), ("AAA=", "AAB="), ("cxplane/acme\n", "\n")])
def test_what_is_no_checkpoint_is_not_read(change: tuple[str, str]) -> None:
    with pytest.raises(NoteError):
        notes.parse_checkpoint(checkpoint(Ed25519Signer(PETERS)).replace(*change, 1))


@pytest.mark.parametrize("text", ["", "a+b", PETER[:-4], PETER.replace("c74f", "c74e"), PETER.replace("+AR", "+BR")])
def test_what_is_no_key_is_not_read(text: str) -> None:
    with pytest.raises(NoteError):
        Key.parse(text)


@pytest.mark.parametrize("text", ["", "x", PETER, PETERS[:-4], PETERS.replace("c74f", "c74e"), PETERS + "\n" + "x"])
def test_a_wrong_private_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SealKeyWrong) as told:
        signers_from(text)
    assert "AYEK" not in str(told.value) + told.value.next and "AYEK" not in repr(Ed25519Signer(PETERS))


def test_notes_in_one_file_come_back_one_by_one_and_a_cut_one_is_noticed() -> None:
    several = [checkpoint(Ed25519Signer(PETERS), size=n) for n in (1, 2, 30)]
    text = notes.join_notes(several)
    assert list(notes.split_notes(text)) == several
    for cut in (5, 30, 60):
        with pytest.raises(NoteError):
            list(map(notes.parse_checkpoint, notes.split_notes(text[:-cut])))
