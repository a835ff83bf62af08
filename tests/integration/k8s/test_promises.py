"""What the files below k8s/ say of the exporter is true of the exporter."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from botocore.utils import METADATA_BASE_URL, METADATA_BASE_URL_IPv6

from neuron_exporter import __version__
from neuron_exporter.config import load
from neuron_exporter.daemon.daemon import STOP_SECONDS
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.host import EXPORTER_NEED, NEURON_MONITOR_NEED, compare_limit
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.identity.local import ENVIRONMENT_VARIABLES
from neuron_exporter.identity.owners import container_logs
from neuron_exporter.pipeline.owners import DEFAULT_KUBELET_SOCKET
from tests.support import kubernetes
from tests.support.commands import run
from tests.support.kubernetes import COMPONENTS, EXPORTERS, K8S, Object, rendered

pytestmark = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())

every_overlay = pytest.mark.parametrize("overlay", EXPORTERS)
on_nodes = pytest.mark.parametrize(
    "overlay", [name for name in EXPORTERS if name != "overlays/simulator"]
)


@pytest.fixture
def config_file(overlay: str, tmp_path: Path) -> Path:
    """The overlay's configuration as a file."""
    path = tmp_path / "exporter.yaml"
    path.write_text(kubernetes.configuration(rendered(overlay)))
    return path


@every_overlay
def test_check_accepts_the_configuration(overlay: str, config_file: Path) -> None:
    """What is mounted is a configuration that `check` takes without a word of complaint."""
    done = run("check", "--config", str(config_file), "--strict")
    assert (done.status, done.err) == (0, "")


@every_overlay
def test_the_port_is_the_configurations(overlay: str, config_file: Path) -> None:
    """The port named `metrics` is the one that is listened on, at every address, and the only one;
    probes and annotations go by its name."""
    (address,) = load(str(config_file)).config.prometheus.listen
    container = kubernetes.container(rendered(overlay))
    (port,) = container["ports"]
    assert address == f":{port['containerPort']}"
    assert port["name"] == "metrics"
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "metrics"


@every_overlay
def test_probes_have_their_own_paths(overlay: str) -> None:
    """A failing driver makes the pod unready (/readyz) and never restarts it (/healthz)."""
    container = kubernetes.container(rendered(overlay))
    paths = {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {probe: container[probe]["httpGet"]["path"] for probe in paths} == paths


@every_overlay
def test_short_pause_restarts_nothing(overlay: str) -> None:
    """A machine that is busy or paused for less than a minute does not lose its exporter."""
    probe = kubernetes.container(rendered(overlay))["livenessProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 60
    assert probe["timeoutSeconds"] >= 5


@on_nodes
def test_rights(overlay: str) -> None:
    """The pod has the rights of the README's table, without which hardware or owners are absent."""
    pod, container = kubernetes.pod(rendered(overlay)), kubernetes.container(rendered(overlay))
    assert container["securityContext"]["privileged"] is True
    assert container["securityContext"]["runAsUser"] == 0
    assert pod["hostPID"] is True
    assert pod["priorityClassName"] == "system-node-critical"


@on_nodes
def test_missing_directories_of_the_host_do_not_stop_the_pod(overlay: str) -> None:
    types = {
        each["hostPath"]["type"]
        for each in kubernetes.pod(rendered(overlay))["volumes"]
        if "hostPath" in each
    }
    assert types == {"DirectoryOrCreate"}


@on_nodes
def test_memory_is_what_doctor_asks_for(overlay: str) -> None:
    """The scheduler reserves what the exporter needs and half of what neuron-monitor may need."""
    resources = kubernetes.container(rendered(overlay))["resources"]
    requested, limit = (
        int(resources[each]["memory"].removesuffix("Mi")) * 2**20 for each in ("requests", "limits")
    )
    finding = compare_limit(limit, EXPORTER_NEED + NEURON_MONITOR_NEED)
    assert finding.verdict is Verdict.OK, finding
    assert requested >= EXPORTER_NEED + NEURON_MONITOR_NEED // 2


@every_overlay
def test_only_variables_that_are_read_are_set(overlay: str) -> None:
    """No variable of the container is unknown to the exporter."""
    known = {name for names in ENVIRONMENT_VARIABLES.values() for name in names}
    given = {each["name"] for each in kubernetes.container(rendered(overlay)).get("env", ())}
    assert given <= known


@on_nodes
def test_a_pod_knows_who_it_is(overlay: str) -> None:
    """Node, name, namespace and uid of the pod come from the downward API, by their first names."""
    fields = {
        each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in kubernetes.container(rendered(overlay))["env"]
    }
    assert fields == {
        ENVIRONMENT_VARIABLES["node_name"][0]: "spec.nodeName",
        ENVIRONMENT_VARIABLES["pod_name"][0]: "metadata.name",
        ENVIRONMENT_VARIABLES["pod_namespace"][0]: "metadata.namespace",
        ENVIRONMENT_VARIABLES["pod_uid"][0]: "metadata.uid",
    }


@every_overlay
def test_there_is_time_to_stop(overlay: str) -> None:
    """Kubernetes kills the pod later than the exporter takes at most, with seconds to spare."""
    assert kubernetes.pod(rendered(overlay))["terminationGracePeriodSeconds"] >= STOP_SECONDS + 5


def _values(key: str) -> list[str]:
    """What the affinity's term of this label allows."""
    affinity = kubernetes.pod(rendered("base"))["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (found,) = (
        expression["values"]
        for term in terms
        for expression in term["matchExpressions"]
        if expression["key"] == key
    )
    return list(found)


@pytest.mark.parametrize(
    "label", ["karpenter.k8s.aws/instance-family", "eks.amazonaws.com/instance-family"]
)
def test_every_family_is_selected(label: str) -> None:
    """The families of the affinity are those of the table of instance types, and no others."""
    assert sorted(_values(label)) == sorted({name.partition(".")[0] for name in INSTANCE_TYPES})


def test_every_type_is_selected() -> None:
    """The types of the affinity are those of the table, and their twins of SageMaker."""
    label = "node.kubernetes.io/instance-type"
    assert sorted(_values(label)) == sorted(
        [*INSTANCE_TYPES, *(f"ml.{name}" for name in INSTANCE_TYPES)]
    )


def test_whatever_the_device_plugin_finds_is_selected() -> None:
    """A machine that the table does not know is selected by the device plugin's label."""
    assert _values("neuron.amazonaws.com/present") == ["true"]


@on_nodes
def test_it_goes_wherever_the_devices_are(overlay: str) -> None:
    """Every taint is tolerated, and an update never takes more than a tenth of the nodes."""
    workload = kubernetes.workload(rendered(overlay))
    assert kubernetes.pod(rendered(overlay))["tolerations"] == [{"operator": "Exists"}]
    assert workload["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "10%"}


def _writable(objects: list[Object]) -> dict[str, Object]:
    """The container's writable mounts: path, and the volume."""
    volumes = {each["name"]: each for each in kubernetes.pod(objects)["volumes"]}
    return {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in kubernetes.container(objects)["volumeMounts"]
        if not mount.get("readOnly")
    }


@every_overlay
def test_what_is_written_has_a_place(overlay: str, config_file: Path) -> None:
    """The root is read-only, and there is a place for temporary files; the spool is on the host
    where something is sent, and no other folder of the host can be written to."""
    objects = rendered(overlay)
    writable = _writable(objects)
    assert kubernetes.container(objects)["securityContext"]["readOnlyRootFilesystem"] is True
    assert "emptyDir" in writable.pop("/run/neuron-exporter")
    cloudwatch = load(str(config_file)).config.cloudwatch
    on_host = [path for path, volume in writable.items() if "hostPath" in volume]
    if overlay != "base":
        assert bool(on_host) == cloudwatch.enabled
    assert cloudwatch.spool.path is not None
    assert writable.keys() <= {str(Path(cloudwatch.spool.path).parent)}


@every_overlay
def test_no_rights_in_the_cluster(overlay: str) -> None:
    """There is no role and no token, since nothing asks the API server."""
    objects = rendered(overlay)
    assert not [each for each in objects if each["apiVersion"].startswith("rbac.")]
    assert kubernetes.pod(objects)["automountServiceAccountToken"] is False


def test_labels_of_pods_take_one_right(tmp_path: Path) -> None:
    """The component grants the exporter's account a token and `get` on pods, and nothing else."""
    objects = kubernetes.with_components(tmp_path, "overlays/eks", ["components/pod-labels"])
    (role,) = [each for each in objects if each["kind"] == "ClusterRole"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    binding = kubernetes.only(objects, "ClusterRoleBinding")
    account = kubernetes.only(objects, "ServiceAccount")["metadata"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    assert kubernetes.pod(objects)["automountServiceAccountToken"] is True


@on_nodes
def test_sources_of_owners_are_mounted(overlay: str) -> None:
    """The kubelet's socket and the names of containers' logs are mounted, read-only, at the paths
    that the exporter reads."""
    objects = rendered(overlay)
    folders = {
        each["name"]: each["hostPath"]["path"]
        for each in kubernetes.pod(objects)["volumes"]
        if "hostPath" in each
    }
    mounted = {
        each["mountPath"]: folders[each["name"]]
        for each in kubernetes.container(objects)["volumeMounts"]
        if each.get("readOnly") and each["name"] in folders
    }
    for folder in (str(Path(DEFAULT_KUBELET_SOCKET).parent), str(container_logs.FOLDER)):
        assert mounted[folder] == folder


def test_the_simulator_has_no_rights_on_its_node() -> None:
    """Nothing of the host is in the simulator's pod, and its namespace would refuse it."""
    objects = rendered("overlays/simulator")
    pod, container = kubernetes.pod(objects), kubernetes.container(objects)
    assert not {"hostPID", "hostNetwork", "hostIPC", "priorityClassName"} & pod.keys()
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in container["securityContext"]
    level = kubernetes.only(objects, "Namespace")["metadata"]["labels"]
    assert level["pod-security.kubernetes.io/enforce"] == "restricted"


@every_overlay
def test_no_hosts_network(overlay: str) -> None:
    """The exporter's port is the pod's, and takes none of the node's."""
    assert "hostNetwork" not in kubernetes.pod(rendered(overlay))


@every_overlay
def test_one_place_names_the_image(overlay: str) -> None:
    """Every container's image is that of k8s/image, in this version."""
    (image,) = yaml.safe_load((K8S / "image" / "kustomization.yaml").read_text())["images"]
    assert image["newTag"] == __version__
    assert kubernetes.container(rendered(overlay))["image"] == f"{image['newName']}:{__version__}"


@every_overlay
@pytest.mark.parametrize("component", ["components/pod-monitor", "components/network-policy"])
def test_what_selects_pods_selects_them(component: str, overlay: str, tmp_path: Path) -> None:
    """Monitor and policy are in the pod's namespace, select it by labels that it has, and name a
    port that it has."""
    assert component in COMPONENTS
    objects = kubernetes.with_components(tmp_path, overlay, [component])
    added = kubernetes.only(objects, "PodMonitor", "NetworkPolicy")
    labels = kubernetes.workload(objects)["spec"]["template"]["metadata"]["labels"]
    (port,) = kubernetes.container(objects)["ports"]
    if added["kind"] == "PodMonitor":
        selector, ports = added["spec"]["selector"], added["spec"]["podMetricsEndpoints"]
        assert ports[0]["honorLabels"] is True
    else:
        selector, ports = added["spec"]["podSelector"], added["spec"]["ingress"][0]["ports"]
    assert selector["matchLabels"].items() <= labels.items()
    assert [each["port"] for each in ports] == [port["name"]]
    assert added["metadata"]["namespace"] == kubernetes.namespace(objects)


def _admits(rules: list[Object], address: str, protocol: str, port: int) -> bool:
    """Return whether a rule of a NetworkPolicy admits a connection outside of the cluster."""
    return any(
        {"protocol": protocol, "port": port} in rule["ports"]
        and ("to" not in rule or any(_contains(peer, address) for peer in rule["to"]))
        for rule in rules
    )


def _contains(peer: Object, address: str) -> bool:
    return ip_address(address) in ip_network(peer["ipBlock"]["cidr"])


@pytest.mark.parametrize(
    ("address", "protocol", "port"),
    [
        ("169.254.170.23", "TCP", 80),  # EKS Pod Identity (EKS user guide, pod identity agent)
        ("fd00:ec2::23", "TCP", 80),
        (urlsplit(METADATA_BASE_URL).hostname, "TCP", 80),
        (urlsplit(METADATA_BASE_URL_IPv6).hostname, "TCP", 80),
        ("192.0.2.1", "TCP", 443),  # CloudWatch, STS
        ("192.0.2.1", "UDP", 53),
        ("192.0.2.1", "TCP", 53),
    ],
)
def test_network_policy_admits_what_the_exporter_needs(
    address: str, protocol: str, port: int
) -> None:
    policy = yaml.safe_load((K8S / "components/network-policy/network-policy.yaml").read_text())
    assert _admits(policy["spec"]["egress"], address, protocol, port)
    assert not _admits(policy["spec"]["egress"], "192.0.2.1", "TCP", 80)


@every_overlay
def test_the_workload_selects_its_pods(overlay: str) -> None:
    """The selector's labels are those of the template."""
    spec = kubernetes.workload(rendered(overlay))["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_aws_names_are_those_of_aws(tmp_path: Path) -> None:
    """The overlay in place of AWS's DaemonSet has its namespace, name, selector, labels, container,
    port and series, as the manifest in AWS's documentation of the SDK (215b421) has them."""
    objects = rendered("overlays/compat")
    workload, container = kubernetes.workload(objects), kubernetes.container(objects)
    assert (workload["metadata"]["namespace"], workload["metadata"]["name"]) == (
        "neuron-monitor",
    ) * 2
    assert workload["spec"]["selector"] == {"matchLabels": {"app": "neuron-monitor"}}
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert {"app": "neuron-monitor", "version": "v1"}.items() <= labels.items()
    assert (container["name"], container["ports"][0]["containerPort"]) == ("neuron-monitor", 8000)
    path = tmp_path / "exporter.yaml"
    path.write_text(kubernetes.configuration(objects))
    assert load(str(path)).config.prometheus.layout == "aws"
