"""The exporter as Kubernetes runs it: command line, configuration, probes and scrapes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import helm, kubernetes
from tests.support.commands import run
from tests.support.endpoint import Endpoint
from tests.support.exporter import EXPORTER, RunningExporter, running_exporter, simulated
from tests.support.kubernetes import EXPORTERS, K8S, rendered
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for

can_render = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())

SCRAPE_CONFIG = K8S / "prometheus" / "scrape-config.yaml"

KUBECONFIG = os.environ.get("NEURON_EXPORTER_TEST_KUBECONFIG")
"""How to reach an API server to try the objects on."""


def kubectl(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run kubectl against the test cluster with this text on stdin."""
    return subprocess.run(
        ["kubectl", f"--kubeconfig={KUBECONFIG}", *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


GIVEN_BY_EKS = {
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}
"""What a pod whose service account has a role is given; credentials in another form."""

EXPORTER_POD = "neuron-exporter-abcde"


def configuration(overlay: str, endpoint: str) -> dict[str, Any]:
    """Return an overlay's configuration with a simulated source and local AWS endpoints."""
    found = yaml.safe_load(kubernetes.configuration(rendered(overlay)))
    source = found.get("source", {})
    if "command" in source:
        assert source["command"][0] == "neuron-exporter"
        source = {"command": [*EXPORTER, *source["command"][1:]], "period": "1s"}
    else:
        source = simulated("--scenario", "mixed", "--kubernetes")
    found["source"] = source
    found.setdefault("prometheus", {})["listen"] = "127.0.0.1:0"
    if "cloudwatch" in found:
        found["cloudwatch"].update(endpoint_url=endpoint, flush_interval="1s")
    return dict(found)


@can_render
@pytest.mark.parametrize("overlay", EXPORTERS)
def test_overlay(overlay: str, tmp_path: Path, endpoint: Endpoint) -> None:
    """With an overlay's command line and configuration the exporter answers the probes, serves
    metrics and sends as configured, and stops in time."""
    objects = rendered(overlay)
    container = kubernetes.container(objects)
    assert container["args"] == ["run", "--config", str(kubernetes.config_path(objects))]
    config = configuration(overlay, endpoint.url)
    with running_exporter(tmp_path, config, environment=GIVEN_BY_EKS) as exporter:
        for probe in ("readinessProbe", "livenessProbe"):
            path = container[probe]["httpGet"]["path"]
            wait_for(lambda path=path: exporter.get(path)[0] == 200)
        shown = config["prometheus"].get("enabled", True)
        assert exporter.get("/metrics")[0] == (200 if shown else 404)
        if "cloudwatch" in config:
            wait_for(lambda: endpoint.requests)
        assert exporter.stop() == 0


def operators(monitor: dict[str, Any]) -> dict[str, Any]:
    """Return the scrape job that the Prometheus Operator builds from a monitor, without its
    discovery: target labels, then the monitor's relabelings."""
    own = {"namespace": "namespace", "pod_container_name": "container", "pod_name": "pod"}
    if monitor["kind"] == "PodMonitor":
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    else:
        (endpoint,) = monitor["spec"]["endpoints"]
        own["service_name"] = "service"
    return {
        "honor_labels": endpoint["honorLabels"],
        "relabel_configs": [
            *(
                {"source_labels": [f"__meta_kubernetes_{meta}"], "target_label": label}
                for meta, label in own.items()
            ),
            *(
                {
                    {"sourceLabels": "source_labels", "targetLabel": "target_label"}.get(
                        key, key
                    ): value
                    for key, value in rule.items()
                }
                for rule in endpoint["relabelings"]
            ),
        ],
    }


def pod_monitor() -> dict[str, Any]:
    """Return the scrape job of the PodMonitor."""
    path = K8S / "components" / "pod-monitor" / "pod-monitor.yaml"
    return operators(yaml.safe_load(path.read_text()))


def service_monitor() -> dict[str, Any]:
    """Return the scrape job of the chart's ServiceMonitor."""
    objects = helm.rendered({"monitor": {"kind": "ServiceMonitor"}})
    return operators(kubernetes.only(objects, "ServiceMonitor"))


def configured() -> dict[str, Any]:
    """Return the scrape job of the configuration without the Operator."""
    (job,) = yaml.safe_load(SCRAPE_CONFIG.read_text())["scrape_configs"]
    return {key: job[key] for key in ("honor_labels", "relabel_configs")}


ENFORCED = {"target_label": "namespace", "replacement": "enforced"}
"""What a Prometheus that serves several tenants puts last (enforcedNamespaceLabel)."""


def discovered(exporter: RunningExporter) -> list[dict[str, Any]]:
    """Return the exporter as a target that Prometheus discovers in a cluster."""
    labels = {
        "namespace": "neuron-exporter",
        "pod_name": EXPORTER_POD,
        "pod_container_name": "exporter",
        "pod_container_port_name": "metrics",
        "pod_phase": "Running",
        "pod_node_name": "node-a",
        "service_name": "exporter",
    }
    address = exporter.url.removeprefix("http://")
    return [
        {
            "targets": [address],
            "labels": {f"__meta_kubernetes_{name}": value for name, value in labels.items()},
        }
    ]


def report_with_one_allocated_core() -> str:
    """Return a report of a machine with 32 cores, one of them allocated to a pod."""
    done = run("simulate", "--kubernetes", "--speed", "0", "--reports", "2")
    report = json.loads(done.out.splitlines()[-1])
    cores = report["neuron_k8s_info"]["neuroncores_k8s_info"]
    report["neuron_k8s_info"]["neuroncores_k8s_info"] = {"0": cores["0"]}
    report["neuron_k8s_info"]["neurondevices_k8s_info"] = {}
    return json.dumps(report) + "\n"


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize("job", [pod_monitor, service_monitor, configured])
def test_pod_label(
    job: Callable[[], dict[str, Any]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In Prometheus, `pod` is the owner of a core, absent for a free core, and never the exporter's
    own pod, nor are `container` and `service`; `node` is on every series. Forced target labels
    change none of this."""
    if job is service_monitor:
        request.getfixturevalue("needs_helm")
    path = tmp_path / "report.ndjson"
    path.write_text(report_with_one_allocated_core())
    source = {"kind": "file", "path": str(path), "replay": {"at_end": "repeat"}}
    with running_exporter(tmp_path, {"source": source}) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        more = {"static_configs": discovered(exporter), **job()}
        more["relabel_configs"].append(ENFORCED)
        target = exporter.url.removeprefix("http://")
        with prometheus_server(tmp_path, target, **more) as prometheus:
            cores = wait_for(lambda: prometheus.query("neuroncore_utilization_ratio"))
            everything = [each["metric"] for each in prometheus.query('{__name__!=""}')]
    pods = {each["metric"]["neuroncore"]: each["metric"].get("pod") for each in cores}
    assert len(pods) == 32
    assert pods.pop("0") not in (None, EXPORTER_POD)
    assert set(pods.values()) == {None}
    assert {labels.get("node") for labels in everything} == {"node-a"}
    assert not [labels for labels in everything if {EXPORTER_POD, "exporter"} & {*labels.values()}]
    assert not [labels for labels in everything if "exported_namespace" in labels]


@pytest.mark.usefixtures("needs_prometheus")
def test_promtool_accepts_the_job(tmp_path: Path) -> None:
    """Debian builds promtool without Kubernetes support, so the job is checked without its
    discovery."""
    document = yaml.safe_load(SCRAPE_CONFIG.read_text())
    (discovery,) = document["scrape_configs"][0].pop("kubernetes_sd_configs")
    assert discovery["role"] == "pod"
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "check", "config", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    shutil.which("victoria-metrics") is None,
    reason="victoria-metrics is not installed (Debian: victoria-metrics)",
)
def test_discovery_is_valid() -> None:
    """VictoriaMetrics, which knows Kubernetes discovery, accepts the whole job."""
    flags = (f"-promscrape.config={SCRAPE_CONFIG}", "-promscrape.config.strictParse", "-dryRun")
    done = subprocess.run(["victoria-metrics", *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@can_render
def test_discovery_selects_the_pods() -> None:
    """The job's selector and port match every exporter pod, and not the simulator."""
    (job,) = yaml.safe_load(SCRAPE_CONFIG.read_text())["scrape_configs"]
    (selector,) = job["kubernetes_sd_configs"][0]["selectors"]
    wanted = dict(part.split("=") for part in selector["label"].split(","))
    (port,) = (
        rule["regex"]
        for rule in job["relabel_configs"]
        if "port_name" in str(rule["source_labels"])
    )
    for overlay in EXPORTERS:
        template = kubernetes.workload(rendered(overlay))["spec"]["template"]
        found = wanted.items() <= template["metadata"]["labels"].items()
        assert found == (overlay != "overlays/simulator")
        assert template["spec"]["containers"][0]["ports"][0]["name"] == port


@can_render
@pytest.mark.skipif(
    KUBECONFIG is None, reason="NEURON_EXPORTER_TEST_KUBECONFIG names no cluster's configuration"
)
@pytest.mark.parametrize("overlay", [name for name in EXPORTERS if name != "base"])
def test_api_server_accepts_manifests(overlay: str) -> None:
    """A real API server accepts everything in a dry run; only the namespace is created for it."""
    objects = rendered(overlay)
    name = kubernetes.namespace(objects)
    made = kubectl("get", "namespace", name).returncode != 0
    if made:
        document = yaml.safe_dump(kubernetes.only(objects, "Namespace"))
        done = kubectl("apply", "-f", "-", given=document)
        assert done.returncode == 0, done.stderr
    try:
        trial = ("--dry-run=server", "--validate=strict")
        done = kubectl("apply", "-k", str(K8S / overlay), *trial)
        assert done.returncode == 0, done.stderr
    finally:
        if made:
            kubectl("delete", "namespace", name)


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.skipif(
    KUBECONFIG is None, reason="NEURON_EXPORTER_TEST_KUBECONFIG names no cluster's configuration"
)
@pytest.mark.parametrize("simulator", [False, True])
def test_api_server_accepts_chart(simulator: bool) -> None:
    """A real API server accepts the objects of the chart in a dry run."""
    values = {
        "simulator": {"enabled": simulator},
        "networkPolicy": {"enabled": True},
        "dashboards": {"enabled": True},
        "webConfig": {"tlsSecret": "tls"},
    }
    document = yaml.safe_dump_all(helm.rendered(values, namespace="default"))
    done = kubectl("apply", "-f", "-", "--dry-run=server", "--validate=strict", given=document)
    assert done.returncode == 0, done.stderr
