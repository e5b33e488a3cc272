"""docker-compose.yml, Dockerfile and dashboards name only what there is, and give nobody more than it needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from app.cli import main
from app.config import Settings
from app.embedded.postgres import SETTINGS, WAL_SEGMENT_MB

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"].startswith("zmart-backend") and name != "pod"}
BIN = Path(sys.executable).parent
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/dashboards/zmart.json").read_text())["panels"]


def lines_of(*command: str) -> str:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def test_the_compose_file_fits_the_compose_specification() -> None:
    assert lines_of("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml") == ""


def test_the_dockerfile_is_clean() -> None:
    assert lines_of("hadolint", "Dockerfile") == ""


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_bounded_and_without_privileges(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].partition(":")
    assert re.match(r"(\$\{ZMART_VERSION:-)?v?\d+\.\d+", tag), image
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), "by number, whatever names the image has"
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert "healthcheck" in service or name in ("pod", "migrate")


@pytest.mark.parametrize("name", OURS)
def test_a_command_of_ours_and_its_probe_exist(name: str) -> None:
    probe = OURS[name].get("healthcheck", {}).get("test", ["CMD", "zmart", "probe", "actors"])
    assert probe[:2] == ["CMD", "zmart"]
    for command, *arguments in (OURS[name]["command"], probe[2:]):
        takes = main.commands[command].params
        for argument, taken in zip(arguments, takes, strict=False):
            assert argument in getattr(taken.type, "choices", ())


def test_commits_wait_no_longer_for_segments_than_on_the_embedded_server() -> None:
    postgres = SERVICES["postgres"]
    assert postgres["environment"]["POSTGRES_INITDB_ARGS"] == f"--wal-segsize={WAL_SEGMENT_MB}"
    given = [word for word in postgres["command"] if "=" in word]
    assert given == [f"{name}={SETTINGS[name]}" for name in ("min_wal_size", "max_wal_size")]


def test_services_wait_in_no_circle_and_only_for_what_is_started_and_can_be_asked() -> None:
    waits = {name: dict(service.get("depends_on", {})) for name, service in SERVICES.items()}
    for name, service in SERVICES.items():
        if service.get("network_mode", "").startswith("service:"):
            waits[name].setdefault(service["network_mode"].removeprefix("service:"), {"condition": "service_started"})
    assert set(TopologicalSorter(waits).static_order()) == SERVICES.keys()
    for other, how in (each for of_one in waits.values() for each in of_one.items()):
        assert "profiles" not in SERVICES[other], "else it is missing where nobody names its profile"
        assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]


def test_envoy_stops_after_those_whom_it_forwards_to_so_that_calls_through_it_are_answered() -> None:
    assert "envoy" in OURS["grpc"]["depends_on"]
    assert "envoy" in OURS["bridge"]["depends_on"]
    assert not OURS["envoy"]["depends_on"].keys() & OURS.keys()


def test_envoy_has_the_room_that_its_configuration_counts_on() -> None:
    """Past its own limits it refuses with an answer; past those of the container the kernel ends it."""
    configured = (ROOT / "deploy/envoy/envoy.yaml").read_text()
    heap_bytes, connections = (
        int(re.findall(rf"{name}: (\d+)", configured)[0])
        for name in ("max_heap_size_bytes", "max_active_downstream_connections")
    )
    memory = OURS["envoy"]["deploy"]["resources"]["limits"]["memory"]
    assert memory.endswith("M") and int(memory[:-1]) * 2**20 > heap_bytes
    assert OURS["envoy"]["ulimits"]["nofile"]["soft"] > 2 * connections


def test_nobody_connects_to_the_server_that_only_makes_the_database() -> None:
    """It listens on the socket alone, and is stopped as soon as the database is made."""
    assert "--host=127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"]


def test_every_base_of_the_image_and_its_installer_are_pinned_to_a_release() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    bases = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert len(bases) == 1, "what is built with one Python runs with the same"
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", *bases)
    assert re.search(r"pip install --no-cache-dir uv==\d+\.\d+\.\d+$", dockerfile, re.MULTILINE)


def test_every_variable_of_ours_is_a_setting_and_so_is_every_secret_of_that_name() -> None:
    named = {variable for service in OURS.values() for variable in service["environment"]}
    named |= {secret.upper() for secret in COMPOSE["secrets"] if secret.startswith("zmart_")}
    assert {name for name in named if name.removeprefix("ZMART_").lower() not in Settings.model_fields} == set()


def test_every_secret_that_is_named_is_declared_and_every_mounted_file_exists() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == COMPOSE["secrets"].keys()
    paths = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    assert all((ROOT / path).exists() for path in paths if path.startswith("./"))
    assert {path for path in paths if not path.startswith("./")} == COMPOSE["volumes"].keys()


def test_the_image_has_every_package_and_file_that_the_build_needs() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {path for path in sent if not (ROOT / path).exists()} == set()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "tools"}
    assert packages | {"protos", "deploy", "pyproject.toml", "uv.lock", "README.md"} == sent


def test_prometheus_asks_every_role_where_it_answers() -> None:
    asked = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    targets = {each["labels"]["role"]: each["targets"] for each in asked["static_configs"]}
    answering = {name: each["environment"].get("ZMART_METRICS_PORT") for name, each in OURS.items()}
    assert targets == {name: [f"127.0.0.1:{port}"] for name, port in answering.items() if port}


def test_rules_say_what_they_mean_and_panels_have_an_expression_each() -> None:
    for rule in RULES:
        assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
        assert rule["labels"]["severity"] in ("critical", "high", "medium", "low")
        assert rule["annotations"]["summary"]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(target["expr"] for panel in PANELS for target in panel["targets"])


@pytest.mark.parametrize(
    "expression",
    [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]],
)
def test_an_expression_of_a_rule_or_panel_is_promql_of_the_right_types(expression: str) -> None:
    """The parser checks functions, their arguments' types and matchings, as promtool does."""
    promql_parser.parse(expression.replace("$__rate_interval", "5m"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_has_a_name_a_comparison_and_a_duration(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
    assert re.fullmatch(r"[a-zA-Z_]\w*", rule["alert"])
    assert promql_parser.parse_duration(rule.get("for", "1m"))
    assert re.search(r"[<>]|[!=]=|absent", rule["expr"]), "else it fires whenever there is a sample"


def test_a_setting_may_be_a_file_of_a_containers_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zmart_service_keys").write_text("first,second\n")
    (tmp_path / "zmart_database_url").write_text("postgresql://from-a-file\n")
    monkeypatch.setenv("ZMART_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ZMART_DATABASE_URL", "postgresql://from-the-environment")
    settings = Settings(_env_file=None)
    assert settings.service_keys == ("first", "second")
    assert settings.database_url == "postgresql://from-the-environment"
