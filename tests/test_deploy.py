"""What `deploy/` has is right: linted by the tools that know it, and true to the program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vision_recs.serve.metrics import Metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
PROGRAMS = Path(sys.executable).parent
promql = pytest.importorskip("promql_parser")


def dashboard():
    return json.loads((DEPLOY / "grafana.json").read_text("utf-8"))


def alerts():
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    return group["rules"]


def expressions():
    """Return every expression of the dashboard and of the alerts, with what Grafana puts in for its variables."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    found += [each["expr"] for each in dashboard()["annotations"]["list"]]
    found += [rule["expr"] for rule in alerts()]
    return [each.replace("$__rate_interval", "5m").replace("$job", "visrec") for each in found]


def exposed():
    """Return the samples that `/metrics` has, with the names of their labels."""
    metrics = Metrics()
    metrics.observe_request("similar", 200, 0.1)
    metrics.set_queue_depth("queries", 1)
    metrics.set_generation(1, images=1, items=1)
    metrics.count_events(1, "lost")
    metrics.count_answers(1, is_kept=True)
    samples = re.findall(r"^(visrec_\w+)(?:\{(.*)\})? ", metrics.text().decode(), re.MULTILINE)
    return {name: {label.split("=")[0] for label in labels.split(",") if label} for name, labels in samples}


def selectors(expression):
    """Return the metrics that *expression* names, with the names of the labels that it asks for."""
    promql.parse(expression)
    found = re.findall(r"\b(visrec_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)\s*[=!]~?", labels))) for name, labels in found]


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are():
    known = exposed()
    named = [each for expression in expressions() for each in selectors(expression)]
    assert len(named) > 25
    for name, labels in named:
        assert name in known, name
        assert labels <= known[name] | {"job"}, (name, labels)
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in known if not name.endswith("_created")}
    shown = {re.sub(r"_bucket$", "", name) for name, _ in named}
    assert families - shown == set()  # the dashboard shows every metric


def test_a_metric_that_there_is_not_and_an_expression_that_is_none_are_noticed():
    assert [name for name, _ in selectors('rate(visrec_nothing_total{route="x"}[5m])')] == ["visrec_nothing_total"]
    assert "visrec_nothing_total" not in exposed()
    with pytest.raises(ValueError, match="unclosed"):
        selectors("sum(rate(visrec_items[5m])")


def test_every_alert_says_how_urgent_it_is_and_what_is_the_matter():
    assert len({rule["alert"] for rule in alerts()}) == len(alerts()) >= 6
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "warning"}
        assert rule["annotations"]["summary"].endswith((".", "?"))


def test_an_alert_for_what_does_not_change_waits_for_that_long():
    still = [rule["expr"] for rule in alerts() if "changes(" in rule["expr"]]
    assert len(still) == 1
    for expression in still:  # a metric that is younger than the time has no value then, and no alert
        (since,) = re.findall(r"changes\(visrec_generation\[(\w+)\]\) == 0", expression)
        assert expression.endswith(f" and visrec_generation offset {since}")


def test_the_container_file_is_linted_and_runs_without_root():
    lint = PROGRAMS / "hadolint"
    if not lint.exists() and not os.environ.get("CI"):
        pytest.skip("there is no hadolint for this machine")
    done = subprocess.run([lint, DEPLOY / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    final = text[text.rindex("\nFROM") :]
    assert re.search(r"^USER 10001$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    assert '"--wait"' in final


def test_kubernetes_takes_the_example():
    validate = pytest.importorskip("kubernetes_validate")
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))
    assert {each["kind"] for each in documents} >= {"Deployment", "Service", "CronJob", "PersistentVolumeClaim"}
    for document in documents:
        validate.validate(document, "1.31", strict=True)
    pods = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]
    pods += [each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in documents if each["kind"] == "CronJob"]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    (server,) = pods[0]["containers"]
    assert "--wait" in server["args"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd on this machine")
def test_systemd_takes_the_unit(tmp_path):
    unit = (DEPLOY / "visrec.service").read_text("utf-8")
    (tmp_path / "visrec.service").write_text(unit.replace("/opt/visrec/bin/visrec", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", tmp_path / "visrec.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    checked = ["systemd-analyze", "security", "--offline=true", "--threshold=25", tmp_path / "visrec.service"]
    secured = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert secured.returncode == 0, secured.stdout  # an exposure of at most 2.5 of 10


@pytest.mark.parametrize("file", ["visrec.service", "Containerfile", "kubernetes.yaml"])
def test_the_commands_are_those_of_the_program(file):
    text = (DEPLOY / file).read_text("utf-8")
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - _OF_OTHERS
    reference = (DEPLOY.parent / "docs" / "reference" / "cli.md").read_text("utf-8")  # which another test compares
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", reference))
    assert options - known == set()


_OF_OTHERS = {"--file", "--tag", "--rm", "--read-only", "--tmpfs", "--volume", "--publish", "--yes"} | {
    "--no-install-recommends",
    "--no-cache-dir",
    "--constraint",
    "--uid",
    "--home-dir",
    "--create-home",
    "--shell",
    "--interval",
    "--timeout",
    "--start-period",
    "--from",
}
