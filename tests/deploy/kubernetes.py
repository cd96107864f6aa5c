"""Checks deploy/kubernetes without a cluster: each object against the schema of its kind, and all of them against each other, the
configuration, the Dockerfile and the alert rules.

usage: kubernetes.py PARQUEDUCT, the program, which checks the configuration as a pod sees it

Prints findings, one a line, and exits with 1 if there are any. Run from the root of the repository.
"""

import copy
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator

HOME = Path("deploy/kubernetes")
# The oldest one that the guide names, and the newest one known.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
# Kinds that others define, as their published definitions have them.
DEFINED = {
    "PrometheusRule": prometheus_operator.PrometheusRule,
    "ServiceMonitor": prometheus_operator.ServiceMonitor,
    "ScaledObject": keda.ScaledObject,
    "TriggerAuthentication": keda.TriggerAuthentication,
}
# From the end of `run.drain_timeout` until the process has ended at the latest: docs/operate.md, "Running and stopping".
GIVING_BACK_SECONDS = 12
LABELS = {"app.kubernetes.io/name": "parqueduct"}


def main() -> int:
    objects = {each["kind"]: each for path in sorted(HOME.rglob("*.yml")) for each in load(path) if path.name != "kustomization.yml"}
    objects["ConfigMap"] = generated("base")
    stateful = {**objects, **patched("stateful", objects)}
    findings = check_kustomizations() + check_schemas([*objects.values(), stateful["StatefulSet"], stateful["ScaledObject"]])
    findings += check_workload(objects["Deployment"]) + check_labels(objects) + check_reach(objects)
    findings += check_secret(objects) + check_scaling(objects, "Deployment") + check_scaling(stateful, "StatefulSet")
    if stateful["StatefulSet"]["spec"].get("serviceName") != objects["Service"]["metadata"]["name"]:
        findings.append("StatefulSet: serviceName is not that of the Service")
    findings += check_configuration(objects, sys.argv[1]) + check_rules(objects["PrometheusRule"])
    print("\n".join(findings))
    return 1 if findings else 0


def load(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


def configuration() -> str:
    return (HOME / "base/parqueduct.toml").read_text()


def setting(key: str) -> str | None:
    """The text of a key of the configuration, whichever section it is in."""
    found = re.search(rf'^{key} = "(.*)"$', configuration(), re.MULTILINE)
    return found and found[1]


# Kustomize


def check_kustomizations() -> list[str]:
    """Everything that is named exists, and everything that exists is named."""
    findings = []
    for path in sorted(HOME.rglob("kustomization.yml")):
        (kustomization,), home = load(path), path.parent
        unknown = kustomization.keys() - {"apiVersion", "kind", "resources", "components", "configMapGenerator", "patches"}
        findings += [f"{path}: {key} is not looked at by this check" for key in unknown]
        named = kustomization.get("resources", []) + kustomization.get("components", [])
        findings += [f"{path}: {name} does not exist" for name in named if not (home / name).exists()]
        findings += [f"{path}: {name} is no component" for name in kustomization.get("components", []) if kind_of(home / name) != "Component"]
        beside = {each.name for each in home.glob("*.yml")} - {path.name}
        findings += [f"{path}: {name} is not used" for name in beside - set(named)]
    if (HOME / "base/flight.v1.json").read_text() != Path("config/schemas/flight.v1.json").read_text():
        findings.append("base/flight.v1.json is no longer a copy of config/schemas/flight.v1.json")
    return findings


def kind_of(directory: Path) -> str:
    return load(directory / "kustomization.yml")[0]["kind"]


def generated(directory: str) -> dict:
    """The ConfigMap that the generator makes, without the hash in its name."""
    (generator,) = load(HOME / directory / "kustomization.yml")[0]["configMapGenerator"]
    data = {name: (HOME / directory / name).read_text() for name in generator["files"]}
    metadata = {"name": generator["name"], "labels": generator["options"]["labels"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def patched(directory: str, objects: dict) -> dict:
    """What the component's patches (RFC 6902) make of the objects, by kind."""
    made = {}
    for each in load(HOME / directory / "kustomization.yml")[0]["patches"]:
        target = copy.deepcopy(objects[each["target"]["kind"]])
        for step in yaml.safe_load(each["patch"]):
            *way, last = step["path"].strip("/").split("/")
            place = target
            for name in way:
                place = place[name]
            if (last in place) == (step["op"] == "add"):
                raise SystemExit(f"{directory}: cannot {step['op']} {step['path']}")
            if step["op"] == "remove":
                del place[last]
            else:
                place[last] = step["value"]
        made[target["kind"]] = target
    return made


# Schemas


def check_schemas(objects: list[dict]) -> list[str]:
    findings = []
    for each in objects:
        findings += [f"{each['kind']}: {finding}" for finding in schema_findings(each)]
        # A schema that takes anything would find nothing.
        place = "data" if each["kind"] == "ConfigMap" else "metadata"
        if not schema_findings({**each, place: {**each[place], "misspelt": {"a": 1}}}):
            findings.append(f"{each['kind']}: a key that does not exist is not found")
    return findings


def schema_findings(each: dict) -> list[str]:
    if model := DEFINED.get(each["kind"]):
        known = model.model_fields["api_version"].default
        wrong = [] if each["apiVersion"] == known else [f"apiVersion is not {known}"]
        return wrong + [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(strict(model.model_json_schema())).iter_errors(each)]
    findings = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            findings.append(f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")
    return findings


def strict(schema):
    """The same schema, which no longer passes over keys that it does not know."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


# Meaning


def pod_of(workload: dict) -> dict:
    return workload["spec"]["template"]["spec"]


def check_workload(deployment: dict) -> list[str]:
    pod, findings = pod_of(deployment), []
    (container,) = pod["containers"]
    dockerfile = Path("Dockerfile").read_text()
    if str(pod["securityContext"]["runAsUser"]) != re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)[1]:
        findings.append("the pod's user is not that of the Dockerfile")
    expected = {
        "runAsNonRoot": pod["securityContext"].get("runAsNonRoot") is True,
        "seccompProfile": pod["securityContext"].get("seccompProfile") == {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": container["securityContext"].get("allowPrivilegeEscalation") is False,
        "readOnlyRootFilesystem": container["securityContext"].get("readOnlyRootFilesystem") is True,
        "capabilities": container["securityContext"].get("capabilities") == {"drop": ["ALL"]},
        "automountServiceAccountToken": pod.get("automountServiceAccountToken") is False,
        "limits.memory": "memory" in container["resources"]["limits"],
        # The name of the instance is the host's.
        "hostNetwork, hostname": "hostNetwork" not in pod and "hostname" not in pod,
        # KEDA's, or whoever scales.
        "replicas": "replicas" not in deployment["spec"],
    }
    findings += [f"Deployment: {name}" for name, holds in expected.items() if not holds]
    version = re.search(r'^version = "(.*)"$', Path("Cargo.toml").read_text(), re.MULTILINE)[1]
    if container["image"] != f"parqueduct:{version}":
        findings.append(f"Deployment: the image is not parqueduct:{version}")
    drain = re.fullmatch(r"(\d+)s", setting("drain_timeout") or "15s")
    if not drain or pod["terminationGracePeriodSeconds"] <= int(drain[1]) + GIVING_BACK_SECONDS:
        findings.append("Deployment: terminationGracePeriodSeconds is not above run.drain_timeout and 12 s")
    if setting("instance"):
        findings.append("run.instance is set, and so the same for all pods")
    return findings


def check_labels(objects: dict) -> list[str]:
    """All objects are labelled, and all selectors mean the pods, or the Service."""
    findings = [f"{kind}: lacks the label" for kind, each in objects.items() if each["metadata"]["labels"] != LABELS]
    deployment = objects["Deployment"]["spec"]
    selectors = {
        "Deployment": deployment["selector"]["matchLabels"],
        "Deployment, spread": deployment["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        "pods": deployment["template"]["metadata"]["labels"],
        "Service": objects["Service"]["spec"]["selector"],
        "PodDisruptionBudget": objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        "ServiceMonitor": objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"],
    }
    findings += [f"{name}: selects {selector}" for name, selector in selectors.items() if selector != LABELS]
    if pod_of(objects["Deployment"])["serviceAccountName"] != objects["ServiceAccount"]["metadata"]["name"]:
        findings.append("Deployment: no such ServiceAccount")
    return findings


def check_reach(objects: dict) -> list[str]:
    """Ports, paths and addresses agree with `http.listen`, `rabbitmq.uri` and `store.url`."""
    findings = []
    (container,) = pod_of(objects["Deployment"])["containers"]
    (port,) = container["ports"]
    address, _, listened = setting("listen").rpartition(":")
    if address != "0.0.0.0" or str(port["containerPort"]) != listened:
        findings.append("Deployment: http.listen is not the container's port, for others to reach")
    for name, path in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]:
        get = container[name]["httpGet"]
        if (get["path"], get["port"]) != (path, port["name"]):
            findings.append(f"Deployment: {name} asks for {get['path']} at {get['port']}")
    (served,) = objects["Service"]["spec"]["ports"]
    if served["targetPort"] != port["name"] or str(served["port"]) != listened:
        findings.append("Service: not the container's port")
    if not objects["Service"]["spec"]["publishNotReadyAddresses"]:
        findings.append("Service: pods that are not ready are not scraped")
    (endpoint,) = objects["ServiceMonitor"]["spec"]["endpoints"]
    if (endpoint["port"], endpoint["path"]) != (served["name"], "/metrics"):
        findings.append("ServiceMonitor: does not ask the Service for /metrics")
    policy = objects["NetworkPolicy"]["spec"]
    if [each["port"] for rule in policy["ingress"] for each in rule["ports"]] != [port["name"]]:
        findings.append("NetworkPolicy: lets in to other ports than that of the metrics")
    namespace, broker = re.fullmatch(r"amqps?://[^.]+\.([^.]+)\.svc:(\d+)/%2f", setting("uri")).groups()
    let_out = [(namespaces(rule), each["port"]) for rule in policy["egress"] for each in rule["ports"]]
    for wanted in [(["kube-system"], 53), ([namespace], int(broker)), ([], 443)]:
        if wanted not in let_out:
            findings.append(f"NetworkPolicy: lets nothing out to {wanted[0]} at port {wanted[1]}")
    if not setting("url").startswith("s3://") or setting("endpoint"):
        findings.append("NetworkPolicy: the store is not at port 443")
    return findings


def namespaces(rule: dict) -> list[str]:
    return [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in rule.get("to", [])]


def check_secret(objects: dict) -> list[str]:
    """The keys of the Secret are those that the configuration reads, that KEDA reads, and that the guide makes."""
    findings = []
    (secret,) = [each["secret"] for each in pod_of(objects["Deployment"])["volumes"] if "secret" in each]
    given = {item["path"] for item in secret["items"]}
    read = set(re.findall(r'file = "\.\./secrets/([^"]*)"', configuration()))
    if given != read:
        findings.append(f"the configuration reads the secrets {sorted(read)}, the pod has {sorted(given)}")
    (target,) = objects["TriggerAuthentication"]["spec"]["secretTargetRef"]
    made = set(re.findall(r"--from-(?:file|literal)=([a-z0-9-]+)", Path("docs/deploy.md").read_text()))
    if made != {item["key"] for item in secret["items"]} | {target["key"]}:
        findings.append(f"docs/deploy.md makes a Secret with the keys {sorted(made)}")
    if f"secret generic {secret['secretName']} " not in Path("docs/deploy.md").read_text() or target["name"] != secret["secretName"]:
        findings.append("Deployment, TriggerAuthentication and docs/deploy.md name different Secrets")
    return findings


def check_scaling(objects: dict, kind: str) -> list[str]:
    findings = []
    scaled, workload = objects["ScaledObject"]["spec"], objects[kind]
    target = {"apiVersion": workload["apiVersion"], "kind": kind, "name": workload["metadata"]["name"]}
    if scaled["scaleTargetRef"] != target:
        findings.append(f"ScaledObject: scales {scaled['scaleTargetRef']}")
    (trigger,) = scaled["triggers"]
    if trigger["metadata"]["queueName"] != setting("queue"):
        findings.append("ScaledObject: another queue than the pipeline's")
    if trigger["authenticationRef"]["name"] != objects["TriggerAuthentication"]["metadata"]["name"]:
        findings.append("ScaledObject: no such TriggerAuthentication")
    if trigger["type"] != "rabbitmq" or trigger["metadata"].keys() != {"protocol", "queueName", "mode", "value"}:
        findings.append("ScaledObject: parameters that are not looked at by this check")
    return findings


def check_configuration(objects: dict, program: str) -> list[str]:
    """The program finds nothing in the configuration, laid out as a pod sees it."""
    pod = pod_of(objects["Deployment"])
    (container,) = pod["containers"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    with tempfile.TemporaryDirectory() as root:
        for mount in container["volumeMounts"]:
            volume, place = volumes[mount["name"]], Path(root + mount["mountPath"])
            place.mkdir(parents=True)
            if "secret" in volume:
                files = {item["path"]: "a-secret" for item in volume["secret"]["items"]}
            elif volume["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]:
                files = objects["ConfigMap"]["data"]
            else:
                return ["Deployment: no such ConfigMap"]
            for name, text in files.items():
                (place / name).write_text(text)
        command, option, config = container["args"]
        if (command, option) != ("run", "--config"):
            return ["Deployment: the arguments are not `run --config FILE`"]
        done = subprocess.run([program, "check", "--config", root + config], capture_output=True, text=True, check=False)
        return [] if done.returncode == 0 else ["`parqueduct check`:", done.stdout + done.stderr]


def check_rules(rule: dict) -> list[str]:
    findings = []
    if rule["spec"] != load(Path("dashboards/alerts/parqueduct.rules.yml"))[0]:
        findings.append("PrometheusRule: other rules than dashboards/alerts: run scripts/kubernetes-rules")
    done = subprocess.run(["scripts/kubernetes-rules", "--check"], capture_output=True, text=True, check=False)
    return findings + ([] if done.returncode == 0 else [done.stdout + done.stderr])


if __name__ == "__main__":
    sys.exit(main())
