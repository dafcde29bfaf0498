"""The documents of infra/k8s: as files, as kustomize builds them, and against the schemas of their projects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="needs PyYAML, of the extra `infra`, which is not installed")

INFRA = Path(__file__).parents[2] / "infra"
SCHEMAS = INFRA.parents[1] / "shared" / "schemas"
OVERLAYS = ("cpu", "gpu", "ray", "ray-gpu", "karpenter")

Document = dict[str, Any]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the definitions are 3 MB: 2 s instead of 20


def load(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)


def load_all(text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=_LOADER))


def program(name: str) -> str:
    """Where a tool is, beside this Python or on the path; skips when it is not there."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"needs {name}, of the extra `infra`, which is not installed")
    return found


@cache
def built(overlay: str) -> tuple[Document, ...]:
    """What `kubectl apply -k infra/k8s/<overlay>` would send."""
    done = subprocess.run(
        [program("kubectl"), "kustomize", str(INFRA / "k8s" / overlay)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    return tuple(load_all(done.stdout))


def files() -> list[Path]:
    return sorted((INFRA / "k8s").rglob("*.yaml"))


def written() -> Iterator[tuple[Path, Document]]:
    """Every document of every file that is no kustomization and no patch, as it was written."""
    for path in files():
        if path.name not in ("kustomization.yaml", "names.yaml") and not path.stem.endswith("-patch"):
            for document in load_all(path.read_text(encoding="utf-8")):
                yield path, document


@cache
def schemas() -> Mapping[tuple[str, str], Document]:
    """Schemas of custom resources by (apiVersion, kind), strict: unknown fields are errors. Skips without them."""
    if not SCHEMAS.is_dir():
        pytest.skip("needs ../shared/schemas, the definitions of KubeRay, Karpenter and the Prometheus operator")
    found = {}
    wanted = ("rayclusters", "raycronjobs", "karpenter", "pmon", "prule")
    for path in (path for path in SCHEMAS.glob("*.crd.yaml") if path.name.startswith(wanted)):
        one = load(path.read_text(encoding="utf-8"))
        found |= _of(one["spec"])
    return found


def _of(spec: Document) -> dict[tuple[str, str], Document]:
    found = {}
    for version in spec["versions"]:
        if version["name"] != "v1":
            continue
        key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"]["metadata"] = {"type": "object"}  # not described in a definition
        found[key] = _strict(schema)
    return found


def pod_schema() -> Document:
    """Of a pod template, which KubeRay's definition has in it whole."""
    cluster = schemas()["ray.io/v1", "RayCluster"]["properties"]["spec"]["properties"]
    return dict(cluster["headGroupSpec"]["properties"]["template"])


def _strict(schema: Any) -> Any:
    """A schema of Kubernetes as JSON schema: unknown fields refused, those with a default not required."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: _strict(value) for name, value in schema.items() if name != "format"}
    properties = out.get("properties")
    if isinstance(properties, dict) and "properties" in schema:
        if not out.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
        if isinstance(out.get("required"), list):
            out["required"] = [name for name in out["required"] if "default" not in properties.get(name, {})]
    if out.pop("x-kubernetes-int-or-string", False):
        out.pop("type", None)
        out.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    return out


def problems(document: Document, schema: Document) -> list[str]:
    """What is wrong with it, a line each."""
    validator: Any = pytest.importorskip("jsonschema", reason="needs jsonschema, of the extra `infra`").Draft7Validator
    return [f"{error.json_path}: {error.message}"[:300] for error in validator(schema).iter_errors(document)]


def pods(document: Document) -> Iterator[Document]:
    """The pod templates of a document."""
    if isinstance(document, dict):
        if isinstance(document.get("spec"), dict) and "containers" in document["spec"]:
            yield document
        for value in document.values():
            yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)


def containers(document: Document) -> Iterator[Document]:
    for pod in pods(document):
        yield from pod["spec"]["containers"]


def settings() -> dict[str, str]:
    """The values of settings.env."""
    lines = (INFRA / "k8s" / "base" / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
