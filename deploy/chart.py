"""Checks the Helm chart, and compares or rewrites the plain manifest: chart.py CHART MANIFEST [--write].

`cargo xtask chart` runs this in the tests' virtual environment. It prints one line for each thing that is wrong, and
ends with status 1 if there is any.

chart.py CHART --render VALUES prints what the chart renders for an old Kubernetes with these values (JSON)."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import yaml
from helm_python import _native

Document = dict[str, Any]
Values = dict[str, Any]

RELEASE = {"name": "baton", "namespace": "kube-system"}
# Before it AppArmor's profile is an annotation.
OLD_KUBERNETES = "1.29"
# The order in which the objects need each other.
KINDS = ["ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "DaemonSet"]
CAPABILITIES = ["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE"]

HEADER = """\
# baton for `kubectl apply`, on Kubernetes 1.30 and later: what deploy/helm/baton renders for the namespace kube-system.
# Put your registry in front of the image's name. `cargo xtask chart` writes this file: change the chart instead.
"""


def container(pod: Document) -> Document:
    return pod["spec"]["containers"][0]


def capabilities(pod: Document) -> list[str]:
    return container(pod)["securityContext"]["capabilities"]["add"]


def scraped(pod: Document) -> list[str]:
    return [value for key, value in pod["metadata"]["annotations"].items() if key.startswith("prometheus.io/")]


def annotation(pod: Document) -> str | None:
    return pod["metadata"]["annotations"].get("container.apparmor.security.beta.kubernetes.io/baton")


def profile(pod: Document) -> Document | None:
    return container(pod)["securityContext"].get("appArmorProfile")


# What a user may ask for: values, the version of Kubernetes, and what must then be true of the DaemonSet's pods.
CASES: dict[str, tuple[Values, str | None, Callable[[Document], bool]]] = {
    "defaults": (
        {},
        None,
        lambda pod: capabilities(pod) == CAPABILITIES
        and profile(pod) == {"type": "Unconfined"}
        and scraped(pod) == ["true", "9640", "/metrics"]
        and not any(argument.startswith("--listen") for argument in container(pod)["args"]),
    ),
    "an old Kubernetes": ({}, OLD_KUBERNETES, lambda pod: annotation(pod) == "unconfined" and profile(pod) is None),
    "host network": (
        {"hostNetwork": True, "health": {"address": "127.0.0.1", "port": 9641}},
        None,
        lambda pod: pod["spec"]["hostNetwork"] is True
        and "--health=127.0.0.1:9641" in container(pod)["args"]
        and scraped(pod) == []
        and container(pod)["readinessProbe"]["httpGet"]["host"] == "127.0.0.1",
    ),
    "a page": (
        {"page": {"enabled": True, "port": 9700}},
        None,
        lambda pod: "--listen=127.0.0.1:9700" in container(pod)["args"],
    ),
    "DAC_READ_SEARCH": (
        {"capabilities": {"dacReadSearch": True}},
        None,
        lambda pod: capabilities(pod) == [*CAPABILITIES, "DAC_READ_SEARCH"],
    ),
    "an image by digest": (
        {"image": {"repository": "host:5000/team/baton", "digest": "sha256:" + "0" * 64}},
        None,
        lambda pod: container(pod)["image"] == "host:5000/team/baton@sha256:" + "0" * 64,
    ),
    "everything else": (
        {
            "imagePullSecrets": [{"name": "registry"}],
            "fullnameOverride": "carrier",
            "config": {
                "headers": ["x-tenant-id", "ot-baggage-*"],
                "presets": ["w3c"],
                "egress": ["203.0.113.0/24", "2001:db8::/32"],
                "ingress": ["10.0.0.0/8"],
                "attribution": "balanced",
                "limits": {"contexts": 65536, "max_age_seconds": 86400},
                "kubernetes": {"allow": {"headers": ["x-*"], "attribution": ["strict", "balanced"]}},
            },
            "log": "debug",
            "health": {"address": "[::]"},
            "metrics": {"annotations": False},
            "seccompProfile": {"type": "Localhost", "localhostProfile": "baton.json"},
            "appArmorProfile": None,
            "seLinuxOptions": {"type": "spc_t"},
            "resources": {"limits": {"cpu": 1}},
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%"}},
            "priorityClassName": "",
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]}]}
            ]}}},
            "podLabels": {"team": "platform"},
            "podAnnotations": {"note": "kept"},
            "serviceAccount": {"annotations": {"note": "kept"}},
            "extraArgs": ["--json"],
            "extraEnv": [{"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"}],
        },
        None,
        lambda pod: profile(pod) is None and container(pod)["args"][-1] == "--json" and scraped(pod) == [],
    ),
    "objects of others": (
        {"serviceAccount": {"create": False, "name": "theirs"}, "rbac": {"create": False},
         "updateStrategy": {"type": "OnDelete"}},
        None,
        lambda pod: pod["spec"]["serviceAccountName"] == "theirs",
    ),
}  # fmt: skip

# What values.schema.json must refuse: one mistake each.
REFUSED: list[Values] = [
    {"hostNetworking": True},
    {"hostNetwork": "yes"},
    {"image": {"repository": ""}},
    {"image": {"tag": "a b"}},
    {"image": {"digest": "sha256:0"}},
    {"capabilities": {"sysAdmin": True}},
    {"config": {"header": []}},
    {"config": {"headers": ["x y"]}},
    {"config": {"headers": "x-tenant-id"}},
    {"config": {"egress": ["everywhere"]}},
    {"config": {"attribution": "sure"}},
    {"config": {"limits": {"contexts": 0}}},
    {"config": {"workloads": []}},
    {"config": {"kubernetes": {"allow": {"ingress": []}}}},
    {"config": {"kubernetes": {"allow": {"attribution": ["sure"]}}}},
    {"log": "verbose"},
    {"health": {"port": 0}},
    {"health": {"address": "::"}},
    {"metrics": {"annotations": "yes"}},
    {"page": {"enabled": "yes"}},
    {"page": {"address": "0.0.0.0"}},
    {"seccompProfile": {"type": "Localhost"}},
    {"appArmorProfile": {"type": "Off"}},
    {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
    {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "all"}}},
    {"extraEnv": [{"value": "nameless"}]},
    {"nodeSelector": {"a": 1}},
]


def render(chart: helm.Chart, values: Values, version: str | None) -> dict[str, str]:
    """The rendered text of each template. The package's own `render` does not pass on a version of Kubernetes."""
    options = RELEASE | ({"kube_version": f"v{version}.0"} if version else {})
    return json.loads(_native.call_string("helm_render", chart._raw(), json.dumps(values), json.dumps(options)))


def parse(rendered: dict[str, str]) -> list[tuple[str, Document]]:
    """Each object with its text, without the notes and without templates that have rendered nothing."""
    texts = [text.strip() + "\n" for path, text in rendered.items() if path.endswith(".yaml")]
    objects = [(text, yaml.safe_load(text)) for text in texts]
    return sorted(((text, value) for text, value in objects if value), key=lambda pair: KINDS.index(pair[1]["kind"]))


def lint(path: str) -> list[str]:
    # Severity 1 is advice, such as to have an icon.
    messages = helm.lint(path, strict=True)["messages"]
    return [f"lint: {each['path']}: {each['error']}" for each in messages if each["severity"] > 1]


def check_case(chart: helm.Chart, name: str) -> list[str]:
    values, version, holds = CASES[name]
    problems = []
    for _, document in parse(render(chart, values, version)):
        kind = document["kind"]
        try:
            kubernetes_validate.validate(document, version or kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.path))
            problems.append(f"{name}: {kind}: {where}: {error.message}")
        if kind == "DaemonSet" and not holds(document["spec"]["template"]):
            problems.append(f"{name}: the DaemonSet is not what these values ask for")
    return problems


def check_refusal(chart: helm.Chart, values: Values) -> list[str]:
    try:
        chart.validate_schema(chart.merge_values(values))
    except helm.HelmValuesError:
        return []
    return [f"values.schema.json lets through {json.dumps(values)}"]


def main(path: str, manifest: Path, *, write: bool) -> int:
    problems = lint(path)
    with helm.Chart.load(path) as chart:
        for name in CASES:
            problems += check_case(chart, name)
        for values in REFUSED:
            problems += check_refusal(chart, values)
        fresh = HEADER + "".join("---\n" + text for text, _ in parse(render(chart, {}, None)))
    if write and not problems:
        manifest.write_text(fresh)
    elif not manifest.is_file() or manifest.read_text() != fresh:
        problems.append(f"{manifest} is not what the chart renders: run `cargo xtask chart`")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    print(f"{len(CASES)} sets of values render to legal objects, and {len(REFUSED)} wrong ones are refused")
    return 0


def show(path: str, values: Values) -> int:
    with helm.Chart.load(path) as chart:
        print("".join("---\n" + text for text, _ in parse(render(chart, values, OLD_KUBERNETES))))
    return 0


if __name__ == "__main__":
    if sys.argv[2] == "--render":
        sys.exit(show(sys.argv[1], json.loads(sys.argv[3])))
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), write="--write" in sys.argv[3:]))
