"""The example alerts ask for metrics that there are, and each says where to read on."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from cxplane.adapters.telemetry import METRICS, PREFIX
from tests.docs.pages import ROOT

RULES = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())["groups"][0]["rules"]
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
THERE_ARE = {f"{PREFIX}{name}{suffix}": metric for name, metric in METRICS.items() for suffix in SUFFIXES[metric.kind]}


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_asks_for_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    asked = re.findall(r"\b(cxplane_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert asked
    for name, labels in asked:
        assert name in THERE_ARE
        assert set(re.findall(r"(\w+)\s*=", labels)) <= set(THERE_ARE[name].labels)


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_says_what_it_means_for_customers_and_where_to_read_on(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert notes["summary"] and notes["description"]
    assert (ROOT / notes["runbook"]).is_file()
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["for"]
