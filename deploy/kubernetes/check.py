"""Checks the overlays: each object against the schemas of Kubernetes, that they fit together, and who reaches whom.

Run by deploy/check-manifests. Says each fault on stderr, and ends with 1 if there is one; with 69 if there is nothing to
render them with.
"""

import pathlib
import shutil
import subprocess
import sys

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
# Native sidecars and preStop.sleep are on by default from the first on.
VERSIONS = ("1.30", "1.37")
faults = []


def fault(overlay, what):
    faults.append(f"{overlay}: {what}")


def render(overlay):
    """The objects of an overlay."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        print("deploy/check-manifests: neither kustomize nor kubectl (1.27 or later) is here", file=sys.stderr)
        sys.exit(69)
    text = subprocess.run([*command, str(HERE / overlay)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return list(yaml.safe_load_all(text))


def pods(objects):
    """Each workload's name and pod template."""
    return {o["metadata"]["name"]: o["spec"]["template"] for o in objects if o["kind"] in ("Deployment", "StatefulSet")}


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def port_number(pod, port):
    """The number of a port that may be given by name; None if the pod does not have it."""
    for container in containers(pod):
        for known in container.get("ports", []):
            if port in (known["name"], known["containerPort"]):
                return known["containerPort"]
    return None


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def labels_of(pod):
    return pod["metadata"]["labels"]


def rule_allows(rule, peers, other, pod, port):
    """Whether one rule lets `other` (labels of a pod of this namespace, or None: any other place) through to the port."""
    if "ports" in rule and all(port_number(pod, p["port"]) != port for p in rule["ports"]):
        return False
    if peers not in rule:
        return True
    return any(
        other is not None and "podSelector" in peer and "namespaceSelector" not in peer and matches(peer["podSelector"], other)
        for peer in rule[peers]
    )


def reaches(objects, source, target, port):
    """Whether a pod (None: something outside) may connect to a pod's port, as the NetworkPolicies say."""
    policies = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy"]

    def allowed(pod, direction, rules, peers, other):
        about = [p for p in policies if direction in p["policyTypes"] and matches(p["podSelector"], labels_of(pod))]
        return not about or any(rule_allows(r, peers, other, target, port) for p in about for r in p.get(rules, []))

    into = allowed(target, "Ingress", "ingress", "from", source and labels_of(source))
    return into and (source is None or allowed(source, "Egress", "egress", "to", labels_of(target)))


def check_schemas(overlay, objects):
    for item in objects:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                fault(overlay, f"{item['kind']} {item['metadata']['name']}, Kubernetes {version}: {error.message}")


def check_pods(overlay, objects):
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    for name, pod in pods(objects).items():
        spec = pod["spec"]
        if spec.get("automountServiceAccountToken") is not False:
            fault(overlay, f"{name}: has a token for the API server")
        if not spec["securityContext"].get("runAsNonRoot"):
            fault(overlay, f"{name}: may run as root")
        volumes = {v["name"] for v in spec.get("volumes", [])}
        for volume in spec.get("volumes", []):
            if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in names:
                fault(overlay, f"{name}: mounts a ConfigMap that is not there")
            # Keys that others than root and the pod's group can read, the gateway does not take.
            if "secret" in volume and volume["secret"].get("defaultMode") != 0o440:
                fault(overlay, f"{name}: mounts a secret with the wrong mode")
        for container in containers(pod):
            where = f"{name}/{container['name']}"
            security = container.get("securityContext", {})
            if not security.get("readOnlyRootFilesystem") or security.get("allowPrivilegeEscalation") is not False:
                fault(overlay, f"{where}: may write to its root, or gain rights")
            if security.get("capabilities", {}).get("drop") != ["ALL"]:
                fault(overlay, f"{where}: keeps capabilities")
            if "memory" not in container.get("resources", {}).get("limits", {}):
                fault(overlay, f"{where}: memory without limit")
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    fault(overlay, f"{where}: mounts {mount['name']}, which is not there")
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container.get(probe, {})
                port = (asked.get("httpGet") or asked.get("tcpSocket") or {}).get("port")
                if port is not None and port_number(pod, port) is None:
                    fault(overlay, f"{where}: {probe} asks at a port that it does not have")


def check_references(overlay, objects):
    templates = pods(objects)
    for item in objects:
        kind, name, spec = item["kind"], item["metadata"]["name"], item.get("spec", {})
        if kind == "Service":
            chosen = [p for p in templates.values() if matches({"matchLabels": spec["selector"]}, labels_of(p))]
            if not chosen:
                fault(overlay, f"Service {name} chooses no pod")
            for pod in chosen:
                for port in spec["ports"]:
                    if port_number(pod, port["targetPort"]) is None:
                        fault(overlay, f"Service {name}: {port['targetPort']} is no port of its pods")
        elif kind in ("PodDisruptionBudget", "NetworkPolicy"):
            selector = spec.get("selector") or spec.get("podSelector")
            if not any(matches(selector, labels_of(p)) for p in templates.values()):
                fault(overlay, f"{kind} {name} chooses no pod")
        elif kind == "HorizontalPodAutoscaler":
            if spec["scaleTargetRef"]["name"] not in templates:
                fault(overlay, f"{kind} {name} scales nothing")


def check_ways(overlay, objects, ways):
    templates = pods(objects)
    for source, target, port, open_ in ways:
        number = port_number(templates[target], port)
        if reaches(objects, templates.get(source), templates[target], number) != open_:
            fault(overlay, f"{source} {'does not reach' if open_ else 'reaches'} {target} at {port}")


# Who (None: something outside the namespace) reaches whom, at which port; and whether it should.
WAYS = {
    "sidecar": [
        (None, "server", "http", True),
        (None, "server", "syncml", False),
        (None, "server", "admin", False),
    ],
    "fleet": [
        (None, "gateway", "http", True),
        (None, "gateway", "admin", False),
        ("gateway", "server", "syncml", True),
        ("gateway", "redis", "redis", True),
        (None, "server", "syncml", False),
        ("redis", "server", "syncml", False),
        (None, "redis", "redis", False),
        ("server", "redis", "redis", False),
    ],
}


def main():
    checked = 0
    for overlay, ways in WAYS.items():
        objects = render(overlay)
        check_schemas(overlay, objects)
        check_pods(overlay, objects)
        check_references(overlay, objects)
        check_ways(overlay, objects, ways)
        checked += len(objects)
    for line in faults:
        print(line, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{checked} objects of {len(WAYS)} overlays are as Kubernetes {' and '.join(VERSIONS)} want them, and reach each other as they should")


main()
