"""The Kubernetes documents: against schemas, against kustomize, and against our own command line."""

from __future__ import annotations

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from manifests import (
    INFRA,
    OVERLAYS,
    Document,
    built,
    containers,
    files,
    load_all,
    pod_schema,
    pods,
    problems,
    schemas,
    written,
)
from manifests import settings as deployed_settings

from mattemill.cluster.cli import options
from mattemill.cluster.cli.main import build_parser, main
from mattemill.cluster.machine import object_store_bytes
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.holder import Holder
from mattemill.pipeline.ledger.layout import layout_below
from mattemill.pipeline.ledger.lease import EXPIRES_AFTER, acquire_lease
from mattemill.pipeline.storage.location import Location, open_store

WITH_PODS = ("cpu", "gpu", "ray", "ray-gpu")


def quantity(text: str) -> float:
    """Bytes of '9Gi'."""
    found = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", text)
    assert found, text
    return int(found[1]) * 1024.0 ** (1 + ["Ki", "Mi", "Gi"].index(found[2]))


def of_kind(kind: str, documents: Any) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


# --- against the schemas


def test_every_custom_resource_fits_its_definition_strictly() -> None:
    checked = set()
    for path, document in written():
        schema = schemas().get((document["apiVersion"], document["kind"]))
        if schema is not None:
            assert problems(document, schema) == [], path.name
            checked.add(document["kind"])
    assert checked == {"RayCluster", "RayCronJob", "NodePool", "EC2NodeClass"}


def test_every_pod_template_is_one_strictly_of_plain_jobs_and_deployments_too() -> None:
    schema, checked = pod_schema(), 0
    for overlay in WITH_PODS:
        for document in built(overlay):
            for pod in pods(document):
                assert problems(pod, schema) == [], f"{overlay} {document['kind']} {document['metadata']['name']}"
                checked += 1
    assert checked == 14


def test_every_document_of_kubernetes_itself_is_one_strictly() -> None:
    checker = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate, of the extra `infra`")
    custom = {"RayCluster", "RayCronJob", "NodePool", "EC2NodeClass"}
    kinds = set()
    for overlay in OVERLAYS:
        for document in built(overlay):
            if document["kind"] not in custom:
                checker.validate(document, checker.latest_version(), strict=True)
                kinds.add(document["kind"])
    assert {"CronJob", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Role", "ServiceAccount"} <= kinds
    wrong = copy.deepcopy(next(document for document in built("cpu") if document["kind"] == "CronJob"))
    wrong["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(checker.ValidationError):
        checker.validate(wrong, checker.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("kind", "mistake"),
    [
        ("RayCluster", lambda spec: spec.update(enableInTreeAutoscalling=True)),
        ("RayCluster", lambda spec: spec["autoscalerOptions"].update(version="v3")),
        ("RayCluster", lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0})),
        ("RayCluster", lambda spec: spec["workerGroupSpecs"][0].pop("groupName")),
        ("RayCronJob", lambda spec: spec["jobTemplate"].update(concurrencyPolicy="Forbid")),
        ("NodePool", lambda spec: spec["template"]["spec"]["requirements"][0].update(operator="Is")),
        ("EC2NodeClass", lambda spec: spec.pop("subnetSelectorTerms")),
    ],
    ids=[
        "misspelt field",
        "unknown version",
        "number for text",
        "missing name",
        "field of another kind",
        "",
        "missing",
    ],
)
def test_a_planted_mistake_is_caught(kind: str, mistake: Any) -> None:
    document = copy.deepcopy(next(document for _, document in written() if document["kind"] == kind))
    mistake(document["spec"])
    assert problems(document, schemas()[document["apiVersion"], kind])


def test_a_planted_mistake_in_a_plain_pod_is_caught() -> None:
    pod = copy.deepcopy(next(pods(next(d for _, d in written() if d["kind"] == "Deployment"))))
    pod["spec"]["containers"][0]["volumeMount"] = []
    assert problems(pod, pod_schema())


# --- as kustomize builds them


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_built_and_no_two_documents_are_the_same_thing(overlay: str) -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in built(overlay)]
    assert len(names) == len(set(names)) > 0


@pytest.mark.parametrize("overlay", WITH_PODS)
def test_every_container_has_our_image_and_the_settings_that_are_there(overlay: str) -> None:
    documents = built(overlay)
    maps = {document["metadata"]["name"] for document in of_kind("ConfigMap", documents)}
    accounts = {document["metadata"]["name"] for document in of_kind("ServiceAccount", documents)}
    for document in documents:
        for pod in pods(document):
            assert pod["spec"]["serviceAccountName"] in accounts
            for container in pod["spec"]["containers"]:
                assert re.fullmatch(r"registry\.example/mattemill:0\.1\.0-(cpu|gpu)", container["image"])
                for source in container.get("envFrom", ()):
                    assert source["configMapRef"]["name"] in maps


@pytest.mark.parametrize("overlay", WITH_PODS)
def test_no_pod_may_be_root_or_more_than_the_namespace_allows(overlay: str) -> None:
    documents = built(overlay)
    (namespace,) = of_kind("Namespace", documents)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for document in documents:
        for pod in pods(document):
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            assert pod["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in containers(document):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


@pytest.mark.parametrize("overlay", WITH_PODS)
def test_no_credential_stands_in_a_document(overlay: str) -> None:
    documents = built(overlay)
    assert not of_kind("Secret", documents)
    assert not re.search(r"AWS_(SECRET|ACCESS|SESSION)|password|AKIA", json.dumps(documents))


@pytest.mark.parametrize("overlay", WITH_PODS)
def test_budgets_select_pods_that_exist(overlay: str) -> None:
    documents = built(overlay)
    labels = [pod["metadata"]["labels"] for document in documents for pod in pods(document) if "metadata" in pod]
    for budget in of_kind("PodDisruptionBudget", documents):
        wanted = dict(budget["spec"]["selector"]["matchLabels"])
        wanted.pop("ray.io/node-type", None)  # set by KubeRay on every pod
        assert any(wanted.items() <= each.items() for each in labels), budget["metadata"]["name"]


def test_gpu_pods_tolerate_and_select_the_nodes_that_karpenter_makes() -> None:
    pools = {pool["spec"]["template"]["metadata"]["labels"]["mattemill/pool"]: pool for pool in built("karpenter")[1:]}
    checked = 0
    for overlay in ("gpu", "ray", "ray-gpu"):
        for document in built(overlay):
            for pod in pods(document):
                name = pod["spec"].get("nodeSelector", {}).get("mattemill/pool")
                if name is None:
                    continue
                tolerated = {toleration["key"] for toleration in pod["spec"].get("tolerations", ())}
                taints = {taint["key"] for taint in pools[name]["spec"]["template"]["spec"].get("taints", ())}
                assert taints <= tolerated, f"{overlay} {document['kind']}"
                limits = pod["spec"]["containers"][0]["resources"]["limits"]
                assert ("nvidia.com/gpu" in limits) == name.startswith("gpu")
                checked += 1
    assert checked == 10


# --- against our own code


def as_document(document: Any) -> Document:
    """A list of changes as the document that has what they put."""
    if isinstance(document, dict):
        return document
    put = {change["path"].rpartition("/")[2]: change["value"] for change in document}
    pod = {"spec": {"containers": [{"args": put.get("args", [])}]}}
    return {"spec": {"jobTemplate": {"entrypoint": put.get("entrypoint")}, "template": pod}}


def commands() -> list[tuple[str, list[str]]]:
    """Every `mattemill ...` in the files, as its arguments."""
    found = []
    for path in files():
        for document in load_all(path.read_text(encoding="utf-8")):
            where = path.relative_to(INFRA).as_posix()
            document = as_document(document)
            for container in containers(document):
                args = container.get("args", [])
                if args and args[0] in ("run", "serve"):  # of the image's entry point
                    found.append((where, list(args)))
                found += [(where, shlex.split(text)) for text in re.findall(r"mattemill (.+)", " ".join(args))]
            entrypoint = document.get("spec", {}).get("jobTemplate", {}).get("entrypoint")
            if entrypoint:
                found.append((where, shlex.split(entrypoint)[1:]))
    values = deployed_settings()
    return [
        (where, [re.sub(r"\$\(?(\w+)\)?", lambda name: values[name[1]], argument) for argument in arguments])
        for where, arguments in found
    ]


def test_every_command_in_the_documents_parses_and_makes_a_valid_config() -> None:
    found = commands()
    assert sorted(where for where, _ in found) == [
        "k8s/cpu/nightly.yaml",
        "k8s/cpu/uploads.yaml",
        "k8s/gpu/nightly-patch.yaml",
        "k8s/gpu/uploads-patch.yaml",
        "k8s/ray-gpu/nightly-patch.yaml",
        "k8s/ray-gpu/uploads-patch.yaml",
        "k8s/ray/nightly.yaml",
        "k8s/ray/uploads.yaml",
    ]
    for where, arguments in found:
        args = build_parser().parse_args(arguments)
        config = options.config_of(args)
        assert config.device == ("cuda" if "gpu/" in where else "auto"), where
        assert config.ray_address == ("auto" if where.startswith("k8s/ray") else None), where


def test_a_command_with_a_flag_that_there_is_not_would_be_caught() -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([*commands()[0][1], "--no-such-flag"])


def test_the_night_and_the_uploads_have_sinks_of_their_own() -> None:
    values = deployed_settings()
    night, uploads = Location.parse(values["CATALOGUE_SINK"]), Location.parse(values["UPLOADS_SINK"])
    assert not night.contains(uploads)
    assert not uploads.contains(night)  # one lease a sink: the service would hold the night's for ever


@pytest.mark.parametrize("overlay", WITH_PODS)
def test_every_pod_has_longer_to_end_than_a_drain_takes(overlay: str) -> None:
    for document in built(overlay):
        for pod in pods(document):
            if pod["spec"]["containers"][0]["name"] != "submitter":
                assert pod["spec"]["terminationGracePeriodSeconds"] >= max(120, JobConfig().drain_timeout + 20)


@pytest.mark.parametrize("overlay", WITH_PODS)
def test_the_object_store_fits_into_shared_memory_and_that_into_the_container(overlay: str) -> None:
    for document in built(overlay):
        for pod in pods(document):
            volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
            for container in pod["spec"]["containers"]:
                if container["name"] == "submitter":
                    continue
                mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
                shared = volumes[mounts["/dev/shm"]]["emptyDir"]
                memory = quantity(container["resources"]["limits"]["memory"])
                assert shared["medium"] == "Memory"
                assert object_store_bytes(memory=int(memory)) <= quantity(shared["sizeLimit"]) < memory / 2


def test_a_held_lease_ends_the_run_with_the_code_that_the_cron_job_tries_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, sink = tmp_path / "photographs", tmp_path / "mattes"
    source.mkdir()
    (source / "a.jpg").write_bytes(b"no image")
    where = Location.parse(str(sink))
    other = Holder("another-pod", 1, "1", "boot", "pid:[1]", "run", "2026-11-23T22:00:00Z")
    lease = acquire_lease(open_store(where, JobConfig()), layout_below(where.prefix), "f" * 16, other)
    assert lease.number == 0
    code = main(["run", str(source), str(sink), "--json", "--detector", "saliency", "--refine", "none", *_stand_in()])
    assert code == 1
    assert "is writing to this sink" in capsys.readouterr().err
    (night,) = [document for _, document in written() if document["kind"] == "CronJob"]
    job = night["spec"]["jobTemplate"]["spec"]
    rules = {
        value: rule["action"]
        for rule in job["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
        for value in rule["onExitCodes"]["values"]
    }
    assert rules == {code: "Count", 2: "FailJob"}
    assert sum(10 * 2**i for i in range(job["backoffLimit"])) > EXPIRES_AFTER  # the waits between a Job's tries


def _stand_in() -> list[str]:
    from mattemill.pipeline.models.cache import is_fetched
    from mattemill.pipeline.models.cards import DEFAULT_MODEL, card_of

    if not is_fetched(card_of(DEFAULT_MODEL)):
        pytest.skip(f"needs the network {DEFAULT_MODEL}: `mattemill models fetch {DEFAULT_MODEL}`")
    return []


def test_wrong_use_ends_with_the_code_at_which_the_cron_job_gives_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "s3://", "s3://mattes/", "--json"]) == 2
    assert "names no bucket" in capsys.readouterr().err


def test_nights_never_overlap_within_the_cron_job() -> None:
    (night,) = [document for _, document in written() if document["kind"] == "CronJob"]
    assert night["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize("overlay", ["ray", "ray-gpu"])
def test_a_night_over_many_nodes_asks_the_autoscaler_for_as_many_as_there_may_be(overlay: str) -> None:
    (night,) = of_kind("RayCronJob", built(overlay))
    job = night["spec"]["jobTemplate"]
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    assert f"--set nodes={group['maxReplicas']}" in job["entrypoint"]
    assert group["minReplicas"] == group["replicas"] == 0, "idle machines before the first demand"


def test_the_ray_clusters_are_what_many_nodes_need() -> None:
    documents = built("ray")
    specs = [each["spec"] for each in of_kind("RayCluster", documents)]
    specs += [each["spec"]["jobTemplate"]["rayClusterSpec"] for each in of_kind("RayCronJob", documents)]
    assert len(specs) == 2
    for spec in specs:
        assert spec["authOptions"]["mode"] == "token"
        assert spec["autoscalerOptions"]["version"] == "v2"
        assert spec["enableInTreeAutoscaling"] is True
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert spec["rayVersion"] == _pinned("ray")
    (service,) = of_kind("RayCluster", documents)
    assert service["spec"]["gcsFaultToleranceOptions"]["backend"] == "rocksdb"


def _pinned(name: str) -> str:
    lines = (INFRA.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{name}=="))
