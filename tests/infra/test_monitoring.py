"""The alert rules and the dashboard name only what the code exports, and the alerts are raised when they should be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from manifests import INFRA, load, load_all, problems, program, schemas

from mattemill.cluster.metrics.catalogue import CATALOGUE

HERE = INFRA / "monitoring"
EXPORTED = {metric.exported for metric in CATALOGUE}


def named(text: str) -> set[str]:
    return set(re.findall(r"ray_mattemill_\w+", text))


def rules() -> list[dict[str, Any]]:
    document = load((HERE / "rules.yaml").read_text())
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    panels = json.loads((HERE / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]] + [rule["expr"] for rule in rules()]


def test_rules_and_dashboard_name_only_metrics_that_are_exported() -> None:
    found = named(" ".join(expressions()))
    assert len(found) > 15
    assert found - EXPORTED == set()


def test_a_planted_wrong_name_is_caught() -> None:
    planted = [*expressions(), "rate(ray_mattemill_images[5m])"]  # a counter without its suffix
    assert named(" ".join(planted)) - EXPORTED == {"ray_mattemill_images"}


def test_every_label_that_is_asked_for_is_one_that_its_metric_has() -> None:
    known = {metric.exported: {"fingerprint", *metric.labels} for metric in CATALOGUE}
    asked = [
        (name, label)
        for expression in expressions()
        for name, inside in re.findall(r"(ray_mattemill_\w+)\{([^}]*)\}", expression)
        for label in re.findall(r"(\w+)\s*=", inside)
    ]
    assert len(asked) > 15
    assert [pair for pair in asked if pair[1] not in known[pair[0]]] == []


def test_every_alert_stands_in_the_operate_page_and_no_other() -> None:
    page = (INFRA / "docs" / "operate.md").read_text()
    assert set(re.findall(r"^\| `(Mattemill\w+)` \|", page, re.MULTILINE)) == {rule["alert"] for rule in rules()}


def test_every_alert_has_a_case_that_raises_it_and_one_that_does_not() -> None:
    cases = [case["name"] for case in load((HERE / "rules_test.yaml").read_text())["tests"]]
    assert len(set(cases)) == len(cases)
    said = {" ".join(case.split()[:3]) for case in cases}
    assert said == {f"{rule['alert']} {how}" for rule in rules() for how in ("is raised", "is quiet")}


@pytest.mark.parametrize("name", ["pod-monitor.yaml", "rules.yaml"])
def test_a_document_is_what_the_prometheus_operator_takes(name: str) -> None:
    document = load((HERE / name).read_text(encoding="utf-8"))
    schema = schemas()[document["apiVersion"], document["kind"]]
    assert problems(document, schema) == []
    planted = {**document, "spec": {**document["spec"], "podMetricEndpoints": []}}
    assert any("podMetricEndpoints" in problem for problem in problems(planted, schema))


def test_kustomize_builds_the_monitoring_with_the_dashboard_for_grafana_to_find() -> None:
    command = [program("kubectl"), "kustomize", str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = {document["kind"]: document for document in load_all(done.stdout)}
    assert set(found) == {"ConfigMap", "NetworkPolicy", "PodMonitor", "PrometheusRule"}
    assert {document["metadata"]["namespace"] for document in found.values()} == {"mattemill"}
    assert found["ConfigMap"]["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert json.loads(found["ConfigMap"]["data"]["mattemill.json"])["uid"] == "mattemill"


def test_what_is_scraped_is_let_in_and_the_metrics_are_kept() -> None:
    (endpoint,) = load((HERE / "pod-monitor.yaml").read_text())["spec"]["podMetricsEndpoints"]
    policy = load((HERE / "network-policy.yaml").read_text())["spec"]
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": endpoint["port"]}]
    assert policy["podSelector"] == load((HERE / "pod-monitor.yaml").read_text())["spec"]["selector"]
    (keep,) = endpoint["metricRelabelings"]
    assert [name for name in EXPORTED if re.fullmatch(keep["regex"], name) is None] == []


def test_the_alerts_are_raised_by_what_should_raise_them_and_by_nothing_less(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian's package prometheus has it)")
    groups = load((HERE / "rules.yaml").read_text())["spec"]
    (tmp_path / "groups.yaml").write_text(json.dumps(groups))
    shutil.copy(HERE / "rules_test.yaml", tmp_path)
    for command in (["check", "rules", "groups.yaml"], ["test", "rules", "rules_test.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
