"""The processes of the stack: RabbitMQ, an S3-compatible store, Parqueduct twice, Prometheus and Alertmanager, natively, with
the files of deploy/ and dashboards/ where there is one. All is below `.parqueduct/stack`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from . import between, scale

ROOT = Path(__file__).resolve().parent.parent.parent
STATE = ROOT / ".parqueduct" / "stack"
RULES = ROOT / "dashboards" / "alerts" / "parqueduct.rules.yml"
DEFINITIONS = ROOT / "deploy" / "rabbitmq" / "definitions.json"
CONFIG = ROOT / "config" / "stack" / "parqueduct.toml"
SCHEMA = ROOT / "config" / "schemas" / "flight.v1.json"

# Debian's Alertmanager insists on a template in /usr/share, where it is not installed: it is given another one to see.
TEMPLATES = Path("/usr/share/prometheus/alertmanager")
IN_SHARE = 'mount --bind "$1" /usr/share && shift && exec "$@"'

# Of DEFINITIONS.
LOGIN = ("admin", "admin-demo")
BUCKET = "archive"

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60


class Failure(Exception):
    """The stack cannot go on; the text says what, where and what to do."""


class Process:
    """A program whose output goes to a file of its name."""

    def __init__(self, name: str, command: list, environment: dict[str, str] | None = None):
        self.name, self.log = name, STATE / "logs" / f"{name}.log"
        self.command, self.environment = [str(word) for word in command], os.environ | (environment or {})
        self.child: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_for(self, url: str) -> None:
        """Until `url` is answered with 200."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not answers(url):
            if self.child.poll() is not None or time.monotonic() > deadline:
                ended = f"ended with {self.child.returncode}" if self.child.poll() is not None else f"had {READY_SECONDS_MAX} s"
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise Failure(f"{self.name} does not answer at {url}: it {ended}; the end of {self.log}:\n{tail}")
            time.sleep(0.1)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(url: str, **parameters: object):
    """The parsed answer of an API to a GET."""
    query = urllib.parse.urlencode(parameters, doseq=True)
    with urllib.request.urlopen(f"{url}?{query}" if query else url, timeout=30) as answer:
        return json.load(answer)


class Prometheus(Process):
    """Prometheus over the data below STATE, with `config`, or with none."""

    def __init__(self, tools: Path, config: dict, factor: float):
        self.address = f"127.0.0.1:{free_port()}"
        written = STATE / ("prometheus.yml" if config else "nothing.yml")
        written.write_text(yaml.safe_dump(config, sort_keys=False))
        # What the files do not say is in quick motion, too: Prometheus' own defaults.
        defaults = {"query.lookback-delta": "5m", "rules.alert.resend-delay": "1m"}
        flags = [f"--{name}={scale.scaled(value, factor)}" for name, value in defaults.items()]
        super().__init__("prometheus", [
            tools / "prometheus", f"--config.file={written}", f"--storage.tsdb.path={STATE / 'prometheus'}",
            "--storage.tsdb.retention.time=1y", f"--web.listen-address={self.address}", "--log.level=warn", *flags,
        ])

    def data(self, query: str, **parameters: object) -> list[dict]:
        """The result of a query; one at `time`, or over `start`, `end` and `step`."""
        kind = "query_range" if "step" in parameters else "query"
        return ask(f"http://{self.address}/api/v1/{kind}", query=query, **parameters)["data"]["result"]


class Stack:
    """All of it. `surround` starts what Parqueduct needs, `start` the rest, `stop` stops what runs."""

    def __init__(self, binary: Path, tools: Path, factor: float):
        self.binary, self.tools, self.factor = binary, tools, factor
        self.running: list = []
        self.schema = STATE / SCHEMA.name
        shutil.rmtree(STATE, ignore_errors=True)
        (STATE / "logs").mkdir(parents=True)

    def surround(self) -> None:
        self.start_broker()
        self.start_store()
        # The pipeline's own file: what happens to it is no change of the repository's.
        self.schema.write_bytes(SCHEMA.read_bytes())
        self.registry = self.keep(between.Registry(SCHEMA.read_text()))
        self.collector = self.keep(between.Collector())
        self.config = self.configure()

    def start(self) -> None:
        self.receiver = self.keep(between.Receiver())
        self.programs = {name: self.start_program(name) for name in ("a", "b")}
        self.start_alertmanager()
        self.prometheus = self.keep(Prometheus(self.tools, self.prometheus_config(), self.factor))
        self.prometheus.wait_for(f"http://{self.prometheus.address}/-/ready")

    def keep(self, service):
        self.running.append(service)
        return service

    def stop(self) -> None:
        """Parqueduct first, and what it needs last."""
        for service in sorted(self.running, key=lambda one: not is_program(one)):
            service.stop() if isinstance(service, Process) else service.close()
        stop_broker()

    def scaled(self, duration: str) -> str:
        return scale.scaled(duration, self.factor)

    # The broker

    def start_broker(self) -> None:
        definitions = json.loads(DEFINITIONS.read_text())
        for policy in definitions["policies"]:
            # Before 3.12 a policy does not know the types of queues.
            policy["apply-to"] = "queues"
        written = STATE / "definitions.json"
        written.write_text(json.dumps(definitions))
        conf = f"load_definitions = {written}\ncollect_statistics_interval = 1000\n"
        (STATE / "rabbitmq.conf").write_text(conf)
        boot_broker()
        ports = json.loads((STATE / "rabbitmq" / "ports.json").read_text())
        self.amqp, self.exporter = ports["amqp"], f"127.0.0.1:{ports['prometheus']}"
        self.broker = self.keep(between.Broker(self.amqp))

    # The store

    def start_store(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        host, port = address.split(":")
        moto = self.keep(Process("store", [sys.executable, "-m", "moto.server", "-H", host, "-p", port]))
        moto.wait_for(f"http://{address}/moto-api/")
        urllib.request.urlopen(urllib.request.Request(f"http://{address}/{BUCKET}", method="PUT"), timeout=30).close()
        self.store = self.keep(between.Store(address))

    # Parqueduct

    def configure(self) -> Path:
        """The configuration of both processes; what it leaves open is in their environment, durations in quick motion."""
        values = {"STACK_AGE": "2m", "STACK_GRACE": "40m", "STACK_UNACKED": "10m", "STACK_WITHIN": "1m", "STACK_PAUSE": "2m"}
        self.environment = {name: self.scaled(value) for name, value in values.items()} | {
            "STACK_BROKER": f"amqp://{LOGIN[0]}:{LOGIN[1]}@127.0.0.1:{self.broker.port}/%2f",
            "STACK_STORE": f"http://{self.store.address}",
            "STACK_REGISTRY": f"http://{self.registry.address}",
            "STACK_COLLECTOR": f"http://{self.collector.address}",
            "STACK_LISTEN": "off",
            "STACK_INSTANCE": "stack",
        }
        config = STATE / CONFIG.name
        config.write_text(CONFIG.read_text().replace(f"../schemas/{SCHEMA.name}", SCHEMA.name))
        return config

    def start_program(self, name: str) -> Process:
        address = f"127.0.0.1:{free_port()}"
        program = Process(f"parqueduct-{name}", [self.binary, "run", "--config", self.config],
                          self.environment | {"STACK_LISTEN": address, "STACK_INSTANCE": name})
        program.address = address
        self.keep(program).wait_for(f"http://{address}/readyz")
        return program

    def parqueduct(self, *arguments: object, environment: dict[str, str] | None = None) -> str:
        """The standard output of a command."""
        command = [self.binary, *arguments, "--config", self.config]
        done = subprocess.run(command, env=os.environ | self.environment | (environment or {}), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"`parqueduct {' '.join(map(str, arguments))}` ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    # Prometheus and Alertmanager

    def start_alertmanager(self) -> None:
        config = scale.document(yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text()), self.factor)
        for receiver in config["receivers"]:
            for webhook in receiver["webhook_configs"]:
                webhook["url"] = f"http://{self.receiver.address}/{receiver['name']}"
        self.routes = config["route"]
        written = STATE / "alertmanager.yml"
        written.write_text(yaml.safe_dump(config, sort_keys=False))
        address = f"127.0.0.1:{free_port()}"
        self.alertmanager = self.keep(Process("alertmanager", [
            *self.with_templates(), self.tools / "prometheus-alertmanager", f"--config.file={written}", f"--storage.path={STATE / 'alertmanager'}",
            f"--web.listen-address={address}", "--cluster.listen-address=", "--log.level=warn",
        ]))
        self.alertmanager.address = address
        self.alertmanager.wait_for(f"http://{address}/-/ready")

    def with_templates(self) -> list:
        if TEMPLATES.is_dir():
            return []
        # The mount is seen by this command alone, and ends with it. Not being root takes a namespace of users.
        namespace = ["unshare", "--mount", "--propagation", "private", *(["--map-root-user"] if os.geteuid() else [])]
        return [*namespace, "sh", "-c", IN_SHARE, "sh", self.tools.resolve() / "share"]

    def prometheus_config(self) -> dict:
        """deploy/prometheus/prometheus.yml, with the addresses of this stack and in quick motion; so are its rules."""
        rules = STATE / "rules.yml"
        rules.write_text(yaml.safe_dump(scale.document(yaml.safe_load(RULES.read_text()), self.factor), sort_keys=False))
        config = scale.document(yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text()), self.factor)
        config["rule_files"] = [str(rules)]
        here = {
            "parqueduct:9410": [program.address for program in self.programs.values()],
            "rabbitmq:15692": [self.exporter],
            "alertmanager:9093": [self.alertmanager.address],
        }
        for place in [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]:
            for static in place["static_configs"]:
                static["targets"] = [address for target in static["targets"] for address in here[target]]
        return config


def is_program(service: object) -> bool:
    return isinstance(service, Process) and service.name.startswith("parqueduct-")


def boot_broker() -> None:
    """The node keeps its ports and its messages over its stops."""
    done = subprocess.run(
        [ROOT / "scripts" / "rabbitmq", "start", "--dir", STATE / "rabbitmq", "--conf", STATE / "rabbitmq.conf",
         "--plugins", "rabbitmq_management,rabbitmq_prometheus"],
        stdout=subprocess.DEVNULL, check=False,
    )
    if done.returncode != 0:
        raise Failure("RabbitMQ did not start; why is above")


def stop_broker() -> None:
    if (STATE / "rabbitmq").is_dir():
        subprocess.run([ROOT / "scripts" / "rabbitmq", "stop", "--dir", STATE / "rabbitmq"], check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
