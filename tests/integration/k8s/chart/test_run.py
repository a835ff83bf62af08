"""The exporter, `check` and a shell run with the rendered objects."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.integration.k8s.chart.cases import CASES, names
from tests.support import kubernetes
from tests.support.commands import run
from tests.support.documents import blocks
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.helm import CHART, pod_of_test, rendered
from tests.support.kubernetes import Object
from tests.support.paths import ROOT
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder, bcrypt_hash

pytestmark = pytest.mark.usefixtures("needs_helm")

OTLP = ROOT / "k8s" / "examples" / "otlp"
"""Values of examples."""

USERS = {"prometheus": bcrypt_hash("secret", 10)}

_SECTION = (CHART / "values.yaml").read_text().partition("\nconfig:\n")[2].partition("\n\n")[0]
COMMENTED = yaml.safe_load(
    "\n".join(line[1:] for line in _SECTION.splitlines() if line.startswith("#"))
)
"""The keys of `config` that the values name in a comment."""

EXAMPLES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "comments of values.yaml": {"config": COMMENTED},
    **{names(case): case.values for case in CASES if "config" in case.values},
    "simulator": {"simulator": {"enabled": True}},
    "web": {"webConfig": {"tlsSecret": "tls", "users": USERS}},
    **{
        f"README {number}": yaml.safe_load(text)
        for number, text in enumerate(blocks("k8s/README.md", "yaml", "image: {repository"))
    },
    **{path.name: yaml.safe_load(path.read_text()) for path in sorted(OTLP.glob("*.yaml"))},
}


def configuration(objects: list[Object]) -> Any:
    """Return the exporter's configuration."""
    own = [each for each in objects if "dashboard" not in each["metadata"]["name"]]
    return yaml.safe_load(kubernetes.configuration(own))


def test_there_are_examples() -> None:
    assert COMMENTED["cloudwatch"]["enabled"] is True
    assert "README 0" in EXAMPLES
    assert len([name for name in EXAMPLES if name.startswith("to-")]) == 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_check_accepts_the_configuration(example: str, tmp_path: Path) -> None:
    """`check` reads every example's ConfigMap without a warning. It has no files of Secrets."""
    config = configuration(rendered(EXAMPLES[example]))
    if example == "web":
        file = config["prometheus"].pop("web_config_file")
        assert file == "/etc/neuron-exporter-web/web.yaml"
    if example == "to-service.yaml":
        (mounted,) = EXAMPLES[example]["extraVolumeMounts"]
        name, key = "Api-Key", tmp_path / "api-key"
        key.write_text("secret")
        header = config["otlp"]["headers"][name]
        assert header["file"] == f"{mounted['mountPath']}/{key.name}"
        header["file"] = str(key)
    path = tmp_path / "exporter.yaml"
    path.write_text(yaml.safe_dump(config))
    done = run("check", "--config", str(path), "--strict")
    assert (done.status, done.err) == (0, "")


def _mount(objects: list[Object], folder: Path, secrets: dict[str, dict[str, bytes]]) -> str:
    """Write the files of the pod's volume `web` into a folder, as the kubelet does; return the
    path of the web configuration in it."""
    (volume,) = (each for each in kubernetes.pod(objects)["volumes"] if each["name"] == "web")
    (mount,) = (
        each for each in kubernetes.container(objects)["volumeMounts"] if each["name"] == "web"
    )
    own = kubernetes.only(objects, "Secret")
    secrets[own["metadata"]["name"]] = {
        name: text.encode() for name, text in own["stringData"].items()
    }
    for source in volume["projected"]["sources"]:
        for name, content in secrets[source["secret"]["name"]].items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(volume["projected"]["defaultMode"])
    file = configuration(objects)["prometheus"]["web_config_file"]
    return str(folder / Path(file).relative_to(mount["mountPath"]))


def _probe(exporter: RunningExporter, probe: Object, run_directory: Path) -> bool:
    """Return whether a probe of the container succeeds, as the kubelet runs it."""
    if "exec" in probe:
        program, *arguments = probe["exec"]["command"]
        assert program == "neuron-exporter"
        variables = {"NEURON_EXPORTER_RUN_DIRECTORY": str(run_directory)}
        return run(*arguments, environment=variables).status == 0
    assert exporter.url.startswith(probe["httpGet"]["scheme"].lower() + "://")
    return exporter.get(probe["httpGet"]["path"])[0] == 200


@pytest.mark.parametrize(
    ("web", "tested"),
    [
        ({}, "source and sinks"),
        ({"tlsSecret": "tls"}, "source and sinks"),
        ({"users": USERS}, "requires a password"),
        ({"tlsSecret": "tls", "users": USERS}, "requires a password"),
        ({"tlsSecret": "tls", "clientCertificates": True}, "requires a client certificate"),
    ],
)
def test_probes_and_test_of_a_protected_port(
    web: dict[str, Any], tested: str, tmp_path: Path
) -> None:
    """With TLS, passwords and client certificates, the probes and `helm test` succeed, and others
    are kept out."""
    values = {"webConfig": web, "config": {"source": {"period": "1s"}}}
    objects = rendered(values)
    config = configuration(objects)
    certificates = WebConfigFolder(tmp_path)
    if web:
        mounted = tmp_path / "mounted"
        mounted.mkdir()
        files = {"tls.crt": "server.pem", "tls.key": "server.key", "ca.crt": "authority.pem"}
        tls = {name: (tmp_path / file).read_bytes() for name, file in files.items()}
        config["prometheus"]["web_config_file"] = _mount(objects, mounted, {"tls": tls})
    config["source"] = simulated()
    run_directory = tmp_path / "run"
    run_directory.mkdir()
    pair = certificates.authority.sign("client", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    with running_exporter(
        tmp_path,
        config,
        environment={"NEURON_EXPORTER_RUN_DIRECTORY": str(run_directory)},
        tls=certificates.client_context(pair) if web.get("tlsSecret") else None,
    ) as exporter:
        container = kubernetes.container(objects)
        for name in ("livenessProbe", "readinessProbe"):
            probe = container[name]
            if not web:
                probe["httpGet"]["scheme"] = "HTTP"
            wait_for(lambda probe=probe: _probe(exporter, probe, run_directory))
        assert exporter.get("/metrics")[0] == (401 if web.get("users") else 200)
        wait_for(lambda: "neuron_exporter_up 1" in exporter.get("/metrics")[1] or web.get("users"))
        (tester,) = pod_of_test(values)["spec"]["containers"]
        command, flag, url, *more = tester["args"]
        parts = urlsplit(url)
        assert (parts.hostname, parts.port) == ("neuron-exporter.neuron-exporter.svc", 9415)
        local = f"{parts.scheme}://127.0.0.1:{exporter.port}"
        done = run(command, flag, local, *more)
        assert done.status == 0, done.out
        assert tested in done.out
        assert ("--deep" in more) == (not {"users", "clientCertificates"} & web.keys())
        assert not exporter.events("setting_doubtful")


def test_test_fails_without_an_exporter() -> None:
    (tester,) = pod_of_test()["spec"]["containers"]
    command, flag, _, *more = tester["args"]
    done = run(command, flag, "http://127.0.0.1:1", *more)
    assert done.status == 1
    assert done.out.startswith("unhealthy: ")


@pytest.mark.parametrize("more", [(), ("bin/neuron-ls", "lib/libneuron.so")])
def test_init_container_copies_the_tools(more: tuple[str, ...], tmp_path: Path) -> None:
    """It copies neuron-monitor, which may be a link, and what belongs to it if that is there, to
    the path at which the exporter looks for it."""
    objects = rendered({"tools": "initImage", "toolsImage": "example.com/tools:1"})
    pod = kubernetes.pod(objects)
    (init,) = pod["initContainers"]
    image, volume = tmp_path / "image", tmp_path / "volume"
    volume.mkdir()
    for path in ("bin/other", "libexec/neuron-monitor", *more):
        (image / path).parent.mkdir(parents=True, exist_ok=True)
        (image / path).write_text(path)
    (image / "bin/neuron-monitor").symlink_to("../libexec/neuron-monitor")
    (mount,) = init["volumeMounts"]
    *shell, script = init["command"]
    script = re.sub(r"/opt/aws/neuron\b", str(image), script)
    script = re.sub(rf"(?<!\w){mount['mountPath']}\b", str(volume), script)
    subprocess.run([*shell, script], check=True, timeout=60)
    (target,) = (
        each["mountPath"]
        for each in kubernetes.container(objects)["volumeMounts"]
        if each["name"] == mount["name"]
    )
    assert target == "/opt/aws"
    copied = {str(path.relative_to(volume)) for path in volume.rglob("*") if path.is_file()}
    assert copied == {f"neuron/{path}" for path in ("bin/neuron-monitor", *more)}
    assert (volume / "neuron/bin/neuron-monitor").read_text() == "libexec/neuron-monitor"
