"""Checks deploy/systemd as systemd itself sees it, and against the configuration beside it.

usage: systemd.py PARQUEDUCT, the program that the unit is to start

Prints findings, one a line, and exits with 1 if there are any. Run from the root of the repository.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path("deploy/systemd")
INSTALLED = "/usr/local/bin/parqueduct"
CREDENTIALS = "/etc/parqueduct/secrets/"
# Of `systemd-analyze security`, in tenths: 0 is locked up, 100 wide open.
EXPOSURE_MAX = 15
# From the end of `run.drain_timeout` until the process has ended at the latest: docs/operate.md, "Running and stopping".
GIVING_BACK_SECONDS = 12


def main() -> int:
    unit, configuration = (HOME / "parqueduct.service").read_text(), (HOME / "parqueduct.toml").read_text()
    with tempfile.TemporaryDirectory() as root:
        findings = check_unit(unit.replace(INSTALLED, sys.argv[1]), Path(root))
        findings += check_configuration(unit, configuration, Path(root))
    findings += check_meaning(unit, configuration)
    print("\n".join(findings))
    return 1 if findings else 0


def settings(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


def check_unit(unit: str, root: Path) -> list[str]:
    """What systemd says of the unit: `verify` knows every directive and its values, `security` rates what is left open."""
    if not shutil.which("systemd-analyze"):
        return ["systemd-analyze is missing: run `make test`, or install systemd"]
    path = root / "parqueduct.service"
    path.write_text(unit)
    commands = [["verify", "--man=no"]]
    version = int(re.search(r"\d+", analyze("--version")[1])[0])
    if version >= 250:
        commands.append(["security", "--offline=true", f"--threshold={EXPOSURE_MAX}"])
    else:
        print(f"systemd {version} cannot rate a unit that is not loaded: `systemd-analyze security` was left out", file=sys.stderr)
    findings = []
    for command in commands:
        code, said = analyze(*command, str(path))
        # A directive that is not known is a warning only; other units of this machine are not ours.
        if code != 0 or (command[0] == "verify" and path.name in said):
            findings.append(f"systemd-analyze {' '.join(command)}:\n{said}")
    return findings


def analyze(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def check_configuration(unit: str, configuration: str, root: Path) -> list[str]:
    """The program finds nothing in the configuration, with the secrets that the unit hands over."""
    shutil.copytree("config/schemas", root / "schemas")
    (root / "parqueduct.toml").write_text(configuration)
    (root / "secrets").mkdir()
    for credential in settings(unit, "LoadCredential"):
        (root / "secrets" / credential.split(":")[0]).write_text("a-secret")
    command = [sys.argv[1], "check", "--config", str(root / "parqueduct.toml")]
    done = subprocess.run(command, env=os.environ | {"CREDENTIALS_DIRECTORY": str(root / "secrets")}, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else ["`parqueduct check`:", done.stdout + done.stderr]


def check_meaning(unit: str, configuration: str) -> list[str]:
    findings = []
    if settings(unit, "ExecStart") != [f"{INSTALLED} run --config /etc/parqueduct/parqueduct.toml"]:
        findings.append("ExecStart is not `run` with the configuration that the guide installs")
    credentials = dict(each.split(":") for each in settings(unit, "LoadCredential"))
    if set(re.findall(r'"\$\{CREDENTIALS_DIRECTORY\}/([^"]*)"', configuration)) != credentials.keys():
        findings.append("the credentials of the unit are not those that the configuration reads")
    findings += [f"{path} is not {CREDENTIALS}{name}" for name, path in credentials.items() if path != CREDENTIALS + name]
    drain = re.search(r'^drain_timeout = "(\d+)s"$', configuration, re.MULTILINE)
    patience = re.fullmatch(r"(\d+)s", settings(unit, "TimeoutStopSec")[0])
    if int(patience[1]) <= int(drain[1]) + GIVING_BACK_SECONDS:
        findings.append("TimeoutStopSec is not above run.drain_timeout and 12 s")
    # What the unit says in its comments, and what would be easy to undo.
    expected = {
        "KillMode": "mixed",
        "OOMPolicy": "continue",
        "ProtectProc": "noaccess",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "2",
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "MemoryDenyWriteExecute": "yes",
    }
    findings += [f"{name} is not {value}" for name, value in expected.items() if settings(unit, name) != [value]]
    if settings(unit, "ProcSubset"):
        findings.append("ProcSubset hides /proc/sys/kernel, by which owners of flushes are known")
    guide = Path("docs/deploy.md").read_text()
    if f"below {EXPOSURE_MAX / 10}" not in guide:
        findings.append(f"docs/deploy.md does not say that the unit is rated below {EXPOSURE_MAX / 10}")
    findings += [f"docs/deploy.md does not install {name}" for name in credentials if f"{CREDENTIALS}{name}" not in guide]
    return findings


if __name__ == "__main__":
    sys.exit(main())
