"""The CEL engine `cel`, without its command line: that one brings libraries for terminals, a third of all that `check` imports."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

_COMMAND_LINE = "cel.cli"


def _engine() -> ModuleType:
    if "cel" in sys.modules:
        return sys.modules["cel"]
    sys.modules[_COMMAND_LINE] = ModuleType(_COMMAND_LINE)  # the package imports it by name, and uses nothing of it
    try:
        found = importlib.import_module("cel")
    except ImportError:  # a version that does use it
        del sys.modules[_COMMAND_LINE]
        return importlib.import_module("cel")
    del sys.modules[_COMMAND_LINE]  # whoever wants it imports the real one
    vars(found).pop("cli", None)
    return found


if TYPE_CHECKING:
    import cel
else:
    cel = _engine()

__all__ = ["cel"]
