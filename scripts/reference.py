"""The reference pages, made from the code: what is written there cannot be wrong for long."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pages import ROOT
from reference_control import control, settings
from reference_edges import cli, http
from reference_plane import answers, entries, errors, export_schema, metrics

__all__ = ["PAGES", "ROOT"]

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/reference/cli.md": cli,
    "docs/reference/http.md": http,
    "docs/reference/control-repo.md": control,
    "docs/reference/answers.md": answers,
    "docs/reference/errors.md": errors,
    "docs/reference/settings.md": settings,
    "docs/reference/metrics.md": metrics,
    "docs/reference/entries.md": entries,
    "docs/reference/export-schema.md": export_schema,
}
