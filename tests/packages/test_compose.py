"""docker/compose.yml without an engine: its schema, and what its values mean to the programs that get them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest
import yaml

from node.config import Config, load
from tests.packages.test_wheel import VERSION, is_junk
from tests.packages.unit import shutdown_seconds
from tests.tools import ROOT

COMPOSE: Final = ROOT / "docker" / "compose.yml"
GIVEN: Final = {"NODE_HTTP__TOKEN": "secret"}
PROFILES: Final = {
    "embedded": {"node"},
    "kafka": {"node-kafka", "kafka", "prometheus", "grafana"},
    "monitoring": {"prometheus", "grafana"},
}
NODES: Final = ("node", "node-kafka")
# ${NAME}, ${NAME:-default}, ${NAME:?message} (compose-spec, interpolation)
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def resolved(text: str, given: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if given.get(name):
            return given[name]
        if kind == "?":
            raise KeyError(f"{name} {rest}")
        return rest or ""

    return _VARIABLE.sub(value, text)


def services(given: Mapping[str, str] = GIVEN) -> dict[str, Any]:
    """Service -> what it is, with variables resolved and anchors merged."""

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: resolve(one) for key, one in value.items()}
        if isinstance(value, list):
            return [resolve(one) for one in value]
        return resolved(value, given) if isinstance(value, str) else value

    found: dict[str, Any] = resolve(yaml.safe_load(COMPOSE.read_text()))["services"]
    return found


def seconds(span: str) -> float:
    return float(span.removesuffix("s"))


def test_schema() -> None:
    """The Compose Specification's own, which check-jsonschema ships."""
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(COMPOSE),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles(profile: str) -> None:
    found = {name for name, service in services().items() if profile in service["profiles"]}
    assert found == PROFILES[profile]
    needed = {other for name in found for other in services()[name].get("depends_on", {})}
    assert needed <= found


def test_without_a_token_nothing_starts() -> None:
    with pytest.raises(KeyError, match=r"NODE_HTTP__TOKEN write it into docker/.env"):
        services({})


def config_of(name: str) -> Config:
    """What the node in this service runs with: the mounted file under the image's and the service's variables."""
    service = services()[name]
    (mounted,) = [one for one in service["volumes"] if one.endswith("node.toml:ro")]
    host, inside, _ = mounted.split(":")
    assert service["command"] == ["serve", "--config", inside]
    return load(COMPOSE.parent / host, service["environment"])


def test_the_node_takes_its_environment() -> None:
    embedded, kafka = (config_of(name) for name in NODES)
    assert embedded.events.sink == "ndjson"
    assert kafka.events.sink == "kafka"
    assert kafka.events.kafka.create_topics
    for config in (embedded, kafka):
        assert config.http.token.get_secret_value() == "secret"
        assert config.http.allowed_hosts == ("node",)
        assert config.http.public_url == "http://localhost:8042"
    listeners = services()["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"//{kafka.events.kafka.bootstrap_servers}" in listeners


@pytest.mark.parametrize("name", NODES)
def test_a_stop_has_the_time_to_drain(name: str) -> None:
    assert seconds(services()[name]["stop_grace_period"]) >= shutdown_seconds() + 20


def test_prometheus_finds_the_node() -> None:
    """Whichever of the two runs, it is node:8042 in the network, and may be asked by that name."""
    assert "node" in services()["node-kafka"]["networks"]["default"]["aliases"]
    settings = yaml.safe_load((ROOT / "conf" / "prometheus" / "prometheus.yml").read_text())
    targets = [
        target
        for job in settings["scrape_configs"]
        for group in job.get("static_configs", [])
        for target in group["targets"]
    ]
    assert "node:8042" in targets


@pytest.mark.parametrize("name", services())
def test_restrictions(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"] == "unless-stopped"
    # Kafka's start script writes its configuration into its own folders.
    assert service.get("read_only", False) is (name != "kafka")
    public = [port for port in service["ports"] if not port.startswith("127.0.0.1:")]
    assert public == (["11112:11112"] if name in NODES else [])
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"])


def test_versions() -> None:
    assert {services()[name]["image"] for name in NODES} == {f"dicom-fhir-node:{VERSION}"}
    pom = ElementTree.parse(ROOT / "docker" / "kafka" / "pom.xml").getroot()
    tested = next(
        dependency.findtext("{*}version")
        for dependency in pom.iterfind(".//{*}dependency")
        if dependency.findtext("{*}groupId") == "org.apache.kafka"
    )
    assert services()["kafka"]["image"] == f"apache/kafka:{tested}"


def test_what_is_mounted_exists() -> None:
    """An engine would make an empty folder of what does not, and say nothing."""
    named = set(yaml.safe_load(COMPOSE.read_text())["volumes"])
    for name, service in services().items():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in named or (COMPOSE.parent / source).exists(), f"{name}: {volume}"
    build = services()["node"]["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file()


def scripts() -> list[Path]:
    """Every shell script of the repository. Git is not asked: it answers nobody but the checkout's owner."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not is_junk(path.relative_to(ROOT))]
    found = [path for folder in folders for path in sorted(folder.rglob("*.sh"))]
    return [ROOT / ".ci" / "run", *found]


def test_shell_scripts() -> None:
    assert ROOT / "tests" / "install" / "tools.sh" in scripts()
    command = [Path(sys.executable).with_name("shellcheck"), *scripts()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_yaml_files() -> None:
    files = sorted(
        path
        for folder in ("conf", "docker")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".yml", ".yaml")
    )
    assert COMPOSE in files
    off = "line-length: disable, document-start: disable, braces: {max-spaces-inside: 1}"
    off += ", indentation: {indent-sequences: consistent}"
    rules = f"{{extends: default, rules: {{{off}}}}}"
    command = [sys.executable, "-m", "yamllint", "--strict", "-d", rules, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
