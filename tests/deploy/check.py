"""What is handed to other programs, read as they read it: the OpenAPI document, compose.yaml, the alerts.

check.py OPENAPI.json: needs openapi-spec-validator, and the YAML reader that comes with it.
"""

import json
import pathlib
import re
import sys

import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
CONDITIONS = {"service_healthy", "service_completed_successfully"}


def openapi(path):
    document = json.loads(pathlib.Path(path).read_text())
    return [f"openapi: {error.message} at {list(error.path)}" for error in OpenAPIV31SpecValidator(document).iter_errors()]


def compose():
    wrong = []
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services, secrets, volumes = file["services"], file["secrets"], file["volumes"]
    for name, service in services.items():
        if "image" not in service:
            wrong.append(f"compose: {name} has no image")
        for other, how in service.get("depends_on", {}).items():
            if other not in services or how["condition"] not in CONDITIONS:
                wrong.append(f"compose: {name} waits for {other} {how}")
            elif how["condition"] == "service_healthy" and "test" not in services[other].get("healthcheck", {}):
                wrong.append(f"compose: {name} waits for the health of {other}, which has no check")
        mine = set(service.get("secrets", []))
        text = json.dumps(service)
        wrong += [f"compose: {name}: no such secret {secret}" for secret in mine - set(secrets)]
        read = set(re.findall(r"/run/secrets/(\w+)", text))
        if read != mine:
            wrong.append(f"compose: {name} reads {sorted(read)} and is given {sorted(mine)}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                if not (DEPLOY / source).exists():
                    wrong.append(f"compose: {name}: {source} is not there")
            elif source not in volumes:
                wrong.append(f"compose: {name}: no such volume {source}")
        build = service.get("build")
        if build and not (DEPLOY / build["context"] / build["dockerfile"]).exists():
            wrong.append(f"compose: {name}: {build} is not there")
    for name, secret in secrets.items():
        if not secret["file"].startswith("./secrets/"):
            wrong.append(f"compose: secret {name} lies outside of secrets/")
    return wrong


def alerts():
    wrong, seen = [], set()
    for group in yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            name = rule.get("alert")
            if not name or name in seen or not rule.get("expr") or not rule["annotations"].get("summary"):
                wrong.append(f"alerts: {rule}")
            if rule["labels"].get("severity") not in {"page", "ticket"}:
                wrong.append(f"alerts: {name} has no severity")
            if not re.fullmatch(r"\d+[smh]", str(rule.get("for", "0s"))):
                wrong.append(f"alerts: {name} waits for {rule['for']}")
            seen.add(name)
    return wrong


if __name__ == "__main__":
    found = openapi(sys.argv[1]) + compose() + alerts()
    print("\n".join(found) or "the OpenAPI document, compose.yaml and the alerts are as other programs read them")
    sys.exit(1 if found else 0)
