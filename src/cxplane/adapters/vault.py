"""Credentials, by name: from the environment, from a folder of files, or from one after the other.

A secret is read when it is needed, so that a changed one is used at once. No repr and no error holds a value.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxplane.domain.errors import SecretMissing
from cxplane.ports.systems import Vault

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


class EnvironmentVault:
    """CXPLANE_SECRET_<NAME>, else <NAME>. An empty value counts as none."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ: Mapping[str, str] = os.environ if environ is None else environ

    def secret(self, name: str) -> str:
        value = self._environ.get(f"CXPLANE_SECRET_{name}") or self._environ.get(name)
        if not _NAME.match(name) or not value:
            raise SecretMissing(name)
        return value

    def __repr__(self) -> str:
        return "EnvironmentVault()"


class FolderVault:
    """One file a secret, named like it; a line end after the value is not part of it.

    A file that everybody on the machine may read is refused: SecretMissing says how to repair it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def secret(self, name: str) -> str:
        if not _NAME.match(name):
            raise SecretMissing(name)
        try:
            with (self._folder / name).open(encoding="utf-8") as file:
                mode = os.fstat(file.fileno()).st_mode
                value = file.read().rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise SecretMissing(name) from None
        if not stat.S_ISREG(mode) or not value:
            raise SecretMissing(name)
        if mode & stat.S_IROTH:
            problem = SecretMissing(name)
            problem.next = (
                f"Everybody may read the file of {name}: `chmod 600` it (or mode 0440 with the plane's group)."
            )
            raise problem
        return value

    def __repr__(self) -> str:
        return "FolderVault()"


class ChainVault:
    """The first vault that has the secret gives it."""

    def __init__(self, vaults: Sequence[Vault]) -> None:
        self._vaults = tuple(vaults)

    def secret(self, name: str) -> str:
        problem = SecretMissing(name)
        for vault in self._vaults:
            try:
                return vault.secret(name)
            except SecretMissing as missing:
                if "chmod" in missing.next:
                    problem = missing
        raise problem

    def __repr__(self) -> str:
        return f"ChainVault({len(self._vaults)} vaults)"


def vault_from(environ: Mapping[str, str], folder: Path | None = None) -> Vault:
    """The environment first, then the folder where one is given."""
    environment = EnvironmentVault(environ)
    return ChainVault([environment, FolderVault(folder)]) if folder is not None else environment
