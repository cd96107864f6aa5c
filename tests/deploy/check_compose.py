"""Checks docker-compose.yml and what it mounts, without an engine: that everything referred to exists and is pinned, and what
`docker compose config` says of it, where there is one.

Prints findings, one a line, and exits with 1 if there are any. Run from the root of the repository.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml


def main() -> int:
    compose = yaml.safe_load(Path("docker-compose.yml").read_text())
    findings = []
    services, volumes = compose["services"], compose.get("volumes") or {}
    for name, service in services.items():
        findings += [f"{name}: {finding}" for finding in check_service(service, services, volumes)]
    used = {mount.split(":")[0] for service in services.values() for mount in service.get("volumes", [])}
    findings += [f"volume {name} is used by nobody" for name in volumes if name not in used]
    findings += check_dockerfile() + check_prometheus(services) + check_grafana(services) + check_definitions()
    findings += check_parqueduct(services) + check_engine()
    print("\n".join(findings))
    return 1 if findings else 0


def check_service(service: dict, services: dict, volumes: dict) -> list[str]:
    findings = []
    if "image" in service:
        tag = service["image"].rpartition(":")[2]
        if not re.search(r"\d", tag) or tag == "latest":
            findings.append(f"image {service['image']} names no version")
    elif not Path(str(service.get("build")), "Dockerfile").is_file():
        findings.append("neither an image nor a Dockerfile")
    findings += [f"depends on {other}, which is no service" for other in service.get("depends_on", []) if other not in services]
    if isinstance(service.get("depends_on"), list):
        findings.append("waits for others to be started, not to be healthy")
    for other in service.get("depends_on", []):
        condition = service["depends_on"][other].get("condition") if isinstance(service["depends_on"], dict) else None
        if condition == "service_healthy" and "healthcheck" not in services.get(other, {}):
            findings.append(f"waits for {other} to be healthy, which has no health check")
    shared = service.get("network_mode", "")
    if shared.startswith("service:") and shared.removeprefix("service:") not in services:
        findings.append(f"shares the network of {shared}, which is no service")
    if shared and "ports" in service:
        findings.append("ports belong to the service whose network it shares")
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith(".") and not Path(source).exists():
            findings.append(f"mounts {source}, which does not exist")
        if not source.startswith((".", "/")) and source not in volumes:
            findings.append(f"mounts the volume {source}, which is not declared")
    findings += [f"port {port} is open to other machines" for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
    return findings


def check_dockerfile() -> list[str]:
    findings = []
    text = Path("Dockerfile").read_text()
    ignored = Path(".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            if not Path(source).exists():
                findings.append(f"Dockerfile copies {source}, which does not exist")
            if f"!{source}" not in ignored:
                findings.append(f"Dockerfile copies {source}, which .dockerignore keeps out")
    if not re.search(r"^USER [1-9]\d*$", text, re.MULTILINE):
        findings.append("Dockerfile does not leave root, by a number")
    channel = re.search(r'channel = "(\d+\.\d+)', Path("rust-toolchain.toml").read_text())
    if f"FROM rust:{channel[1]}-" not in text:
        findings.append(f"Dockerfile does not build with Rust {channel[1]}")
    return findings


def mounted(service: dict, inside: str) -> Path | None:
    """The file of the repository that a service sees at the path `inside`."""
    for mount in service.get("volumes", []):
        source, target = mount.split(":")[:2]
        if source.startswith(".") and (inside == target or inside.startswith(f"{target}/")):
            return Path(source, inside[len(target):].lstrip("/"))
    return None


def check_prometheus(services: dict) -> list[str]:
    config = yaml.safe_load(Path("deploy/prometheus/prometheus.yml").read_text())
    missing = [path for path in config["rule_files"] if not (mounted(services["prometheus"], path) or Path("nowhere")).is_file()]
    findings = [f"prometheus: rules {path} are not mounted" for path in missing]
    places = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    for target in [target for place in places for each in place["static_configs"] for target in each["targets"]]:
        host, port = target.split(":")
        if host not in services:
            findings.append(f"prometheus: asks {host}, which is no service")
        elif not listens(services, host, port):
            findings.append(f"prometheus: {host} does not listen on port {port} for other containers")
    return findings


def listens(services: dict, host: str, port: str) -> bool:
    """Whether a service is told to listen there; Alertmanager and RabbitMQ's plugin do by themselves."""
    if host == "rabbitmq":
        plugins = mounted(services[host], "/etc/rabbitmq/enabled_plugins")
        return port == "15692" and plugins is not None and "rabbitmq_prometheus" in plugins.read_text()
    if host == "alertmanager":
        config = re.search(r"--config.file=(\S+)", " ".join(services[host]["command"]))
        return port == "9093" and config is not None and (mounted(services[host], config[1]) or Path("nowhere")).is_file()
    return f'listen = "0.0.0.0:{port}"' in Path(f"deploy/{host}/{host}.toml").read_text()


def check_grafana(services: dict) -> list[str]:
    findings = []
    for path in Path("deploy/grafana/provisioning").rglob("*.yml"):
        provisioned = yaml.safe_load(path.read_text())
        for provider in provisioned.get("providers", []):
            place = mounted(services["grafana"], provider["options"]["path"])
            if place is None or not list(place.glob("*.json")):
                findings.append(f"{path}: no dashboards at {provider['options']['path']}")
        for source in provisioned.get("datasources", []):
            host = re.match(r"http://([^:/]+)", source["url"])[1]
            if host not in services:
                findings.append(f"{path}: {host} is no service")
    return findings


def check_parqueduct(services: dict) -> list[str]:
    """What runs our image cannot write to it, has no rights, and finds its configuration and its files."""
    findings = []
    for name, service in services.items():
        if "build" not in service:
            continue
        closed = service.get("read_only") is True and service.get("cap_drop") == ["ALL"]
        if not closed or "no-new-privileges:true" not in service.get("security_opt", []):
            findings.append(f"{name}: its root can be written to, or it has rights")
        for word in service["command"]:
            if word.startswith("/") and not (mounted(service, word) or Path("nowhere")).is_file():
                findings.append(f"{name}: {word} is not mounted")
    return findings


def check_engine() -> list[str]:
    """What `docker compose` finds in the file, where it is installed."""
    command = ["docker", "compose"]
    if not shutil.which("docker") or subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0:
        print("no `docker compose` here: `docker compose config` was left out", file=sys.stderr)
        return []
    done = subprocess.run([*command, "--profile", "demo", "config", "--quiet"], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else ["`docker compose config`:", done.stderr.strip()]


def check_definitions() -> list[str]:
    """The queue and the user that Parqueduct is configured with are the broker's."""
    definitions = json.loads(Path("deploy/rabbitmq/definitions.json").read_text())
    pipeline = Path("deploy/parqueduct/parqueduct.toml").read_text()
    queue = re.search(r'^queue = "(.*)"$', pipeline, re.MULTILINE)[1]
    user = re.search(r'^uri = "amqp://(\w+):', pipeline, re.MULTILINE)[1]
    findings = []
    if queue not in [each["name"] for each in definitions["queues"]]:
        findings.append(f"rabbitmq: no queue {queue}")
    granted = [each for each in definitions["permissions"] if each["user"] == user]
    if [(each["configure"], each["write"]) for each in granted] != [("", "")] or not re.match(granted[0]["read"], queue):
        findings.append(f"rabbitmq: {user} is to read {queue}, and nothing else")
    return findings


if __name__ == "__main__":
    sys.exit(main())
