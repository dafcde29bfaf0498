"""The Dockerfiles and what they run. No container engine is needed: what they run is run, or read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from manifests import INFRA, built, pods, program

from mattemill.cluster.cli.main import build_parser

DOCKER = INFRA / "docker"
ROOT = INFRA.parent
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.gpu")

sys.path.insert(0, str(DOCKER))
import sbom  # noqa: E402


def text_of(name: str) -> str:
    return (DOCKER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_is_clean_for_hadolint_and_a_mistake_is_not(name: str, tmp_path: Path) -> None:
    lint = program("hadolint")
    done = subprocess.run([lint, str(DOCKER / name)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(re.sub(r"tini=\S+", "tini", text_of(name)))
    assert subprocess.run([lint, str(wrong)], capture_output=True, timeout=30).returncode != 0


@pytest.mark.parametrize("name", DOCKERFILES)
def test_bases_have_exact_versions(name: str) -> None:
    bases = re.findall(r"^FROM (\S+)", text_of(name), re.MULTILINE)
    assert len(bases) == 2
    for base in bases:
        assert re.search(r":\d+\.\d+\.\d+-", base), base


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_images_user_is_the_one_of_the_manifests_and_not_root(name: str) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", text_of(name), re.MULTILINE)
    for overlay in ("cpu", "gpu", "ray"):
        for document in built(overlay):
            for pod in pods(document):
                assert str(pod["spec"]["securityContext"]["runAsUser"]) == user[0] != "0"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_entry_point_and_the_health_check_are_commands_that_there_are(name: str) -> None:
    (check,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text_of(name), re.MULTILINE)
    program_name, *arguments = json.loads(check)
    assert program_name == "mattemill"
    build_parser().parse_args(arguments)
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text_of(name), re.MULTILINE)
    assert json.loads(entry) == ["tini", "--", "mattemill"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_a_dockerfile_sends_to_the_builder_is_there_and_no_more_than_it_needs(name: str) -> None:
    sent = {line[1:] for line in text_of(f"{name}.dockerignore").splitlines() if line.startswith("!")}
    assert sent == {
        "LICENSE",
        "README.md",
        "constraints.txt",
        "pyproject.toml",
        "cluster",
        "kernels",
        "pipeline",
        "infra/docker",
    }
    for path in sent:
        assert (ROOT / path).exists(), path
    for script in re.findall(r"/source/(\S+\.sh)", text_of(name)):
        assert (ROOT / script).is_file(), script
        assert subprocess.run(["sh", "-n", str(ROOT / script)], timeout=10).returncode == 0


def test_both_lock_files_pin_every_package_once() -> None:
    common, cluster = (sbom.pinned([lock]) for lock in sbom.LOCKS)
    assert common
    assert cluster
    assert not set(common) & set(cluster)


def test_a_lock_line_without_a_version_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "constraints.txt"
    lock.write_text("numpy>=2.0\n")
    with pytest.raises(ValueError, match=r"numpy>=2\.0 names no exact version"):
        sbom.pinned([lock])


def test_the_bill_of_materials_names_every_pin_and_the_networks_with_their_hashes() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCKER / "sbom.py")], capture_output=True, text=True, timeout=60, cwd=ROOT, check=True
    )
    document = json.loads(done.stdout)
    listed = {(each["name"], each["version"]) for each in document["components"] if each["type"] == "library"}
    assert listed == set(sbom.pinned().items())
    models = [each for each in document["components"] if each["type"] == "machine-learning-model"]
    assert {each["name"] for each in models} == {"u2netp", "mattenet"}
    for each in models:
        assert re.fullmatch(r"[0-9a-f]{64}", each["hashes"][0]["content"])


def test_the_bill_of_materials_fits_its_schema() -> None:
    validation: Any = pytest.importorskip(
        "cyclonedx.validation.json", reason="needs cyclonedx-python-lib, of the extra `infra`, which is not installed"
    )
    from cyclonedx.schema import SchemaVersion

    document = sbom.bill(sbom.pinned())
    check = validation.JsonStrictValidator(SchemaVersion.V1_6)
    assert check.validate_str(json.dumps(document)) is None
    document["components"][0]["type"] = "liberry"
    assert check.validate_str(json.dumps(document)) is not None


def test_a_package_that_is_not_as_pinned_is_told() -> None:
    assert sbom.unpinned({"numpy": "2.4.6"}, {"numpy": "2.4.6"}) == []
    assert sbom.unpinned({"numpy": "1.0", "other": "2"}, {"numpy": "2.4.6"}) == [
        "numpy 1.0 is installed, 2.4.6 is pinned",
        "other 2 is installed, not pinned",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not os.environ.get("MATTEMILL_TEST_INSTALL"), reason="set MATTEMILL_TEST_INSTALL=1: 3 min, 400 MB")
def test_the_images_install_steps_run_in_a_fresh_folder(tmp_path: Path) -> None:
    target = tmp_path / "image"
    subprocess.run(["sh", str(DOCKER / "install.sh"), str(ROOT), str(target)], check=True, timeout=1000)
    done = subprocess.run(
        [
            str(target / "venv" / "bin" / "mattemill"),
            "cut",
            str(ROOT / "tests" / "samples" / "photos" / "astronaut.jpg"),
            "-o",
            str(tmp_path / "matte.png"),
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MATTEMILL_MODELS": str(target / "models")},
        timeout=120,
    )
    assert done.returncode == 0
    assert (tmp_path / "matte.png").stat().st_size > 0
    assert sbom.unpinned(sbom.installed(target / "venv"), sbom.pinned()) == []
