"""The engine cache: whole or absent, built once, checked when read, emptied of what nobody needs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from engine_case import H200, PARITY, recipe, sidecar_of

from mattemill.pipeline.engines.engine_cache import EngineCache, default_engine_folder
from mattemill.pipeline.engines.prune import prunable
from mattemill.pipeline.errors import EngineError

_PLAN = b"a plan" * 1000
_SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def _put(cache: EngineCache, plan: bytes = _PLAN, **changes: object) -> None:
    sidecar = sidecar_of(plan, **changes)  # type: ignore[arg-type]
    with cache.lock(sidecar.recipe, sidecar.target) as scratch:
        (scratch / "plan").write_bytes(plan)
        cache.publish(sidecar, scratch / "plan")


def test_an_empty_cache_holds_nothing_and_makes_no_folder(cache: EngineCache) -> None:
    assert cache.find(recipe(), H200) is None
    assert cache.entries() == []
    assert not cache.folder.exists()


def test_what_is_published_is_found_under_its_recipe_and_target_only(cache: EngineCache) -> None:
    _put(cache)
    entry = cache.find(recipe(), H200)
    assert entry is not None
    assert cache.read(entry) == _PLAN
    assert cache.find(recipe(precision="fp32"), H200) is None
    assert [found.stem for found in cache.entries()] == [entry.stem]
    assert entry.stem.startswith("u2netp-fp16-tensorrt-")


def test_a_plan_that_is_not_the_one_of_its_sidecar_is_not_published(cache: EngineCache) -> None:
    sidecar = sidecar_of(_PLAN)
    with cache.lock(sidecar.recipe, sidecar.target) as scratch:
        (scratch / "plan").write_bytes(_PLAN[:-1])
        with pytest.raises(EngineError, match="not published"):
            cache.publish(sidecar, scratch / "plan")
    assert cache.entries() == []


def test_a_plan_without_its_sidecar_is_not_found(cache: EngineCache) -> None:
    _put(cache)
    entry = cache.entries()[0]
    entry.plan.with_suffix(".json").unlink()
    assert cache.find(recipe(), H200) is None
    assert "no sidecar" in str(cache.entries()[0].problem)


@pytest.mark.parametrize("damage", [lambda plan: plan[:-1], lambda plan: b"x" + plan[1:]], ids=["cut off", "changed"])
def test_a_damaged_plan_is_an_error_when_it_is_read(cache: EngineCache, damage: object) -> None:
    _put(cache)
    entry = cache.entries()[0]
    assert cache.problem_of(entry) is None
    entry.plan.write_bytes(damage(_PLAN))  # type: ignore[operator]
    assert cache.problem_of(entry) is not None
    with pytest.raises(EngineError, match="mattemill engines prune"):
        cache.read(entry)


def test_a_sidecar_under_another_engines_name_is_a_problem(cache: EngineCache) -> None:
    _put(cache)
    side = cache.entries()[0].plan.with_suffix(".json")
    side.write_text(sidecar_of(_PLAN, precision="fp32").dumps())
    assert "another engine" in str(cache.entries()[0].problem)


def test_parity_that_is_found_later_is_noted_in_the_sidecar(cache: EngineCache) -> None:
    _put(cache, parity=None)
    entry = cache.entries()[0]
    assert entry.sidecar is not None
    assert entry.sidecar.parity is None
    noted = cache.record_parity(entry, PARITY)
    assert noted.sidecar is not None
    assert noted.sidecar.parity == PARITY
    assert cache.read(noted) == _PLAN


def _find_or_build(folder: Path, log: Path) -> None:
    cache = EngineCache(folder)
    with cache.lock(recipe(), H200) as scratch:
        if cache.find(recipe(), H200) is None:
            with log.open("a") as file:
                file.write("built\n")
            time.sleep(0.3)  # the others come while this one builds
            (scratch / "plan").write_bytes(_PLAN)
            cache.publish(sidecar_of(_PLAN), scratch / "plan")


def test_processes_that_ask_at_once_build_once(cache: EngineCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [_SPAWN.Process(target=_find_or_build, args=(cache.folder, log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert log.read_text() == "built\n"
    assert len(cache.entries()) == 1


def _die_while_building(folder: Path) -> None:
    with EngineCache(folder).lock(recipe(), H200) as scratch:
        (scratch / "plan").write_bytes(_PLAN[:100])
        os.kill(os.getpid(), signal.SIGKILL)


def _killed_build(cache: EngineCache) -> None:
    worker = _SPAWN.Process(target=_die_while_building, args=(cache.folder,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    assert len(list(cache.folder.glob(".*-*/"))) == 1


def test_the_next_build_takes_over_from_one_that_was_killed(cache: EngineCache) -> None:
    _killed_build(cache)
    assert cache.entries() == []
    _put(cache)
    assert len(cache.entries()) == 1
    assert list(cache.folder.glob(".*-*/")) == []


def test_a_killed_builds_leavings_are_swept_and_a_running_ones_are_not(cache: EngineCache) -> None:
    _killed_build(cache)
    with cache.lock(recipe(precision="fp32"), H200) as scratch:
        assert cache.sweep() == 1
        assert scratch.is_dir()


def test_an_engine_that_is_being_built_is_not_removed(cache: EngineCache) -> None:
    _put(cache)
    entry = cache.entries()[0]
    with cache.lock(recipe(), H200):
        assert not cache.remove(entry)
    assert cache.find(recipe(), H200) is not None
    assert cache.remove(entry)
    assert cache.entries() == []


def test_an_engine_that_was_mended_since_one_looked_is_not_removed(cache: EngineCache) -> None:
    _put(cache)
    side = cache.entries()[0].plan.with_suffix(".json")
    side.unlink()
    damaged = cache.entries()[0]
    _put(cache)
    assert not cache.remove(damaged)
    assert cache.find(recipe(), H200) is not None


def test_prune_takes_other_versions_damaged_and_long_unused_engines_and_leaves_the_rest(cache: EngineCache) -> None:
    _put(cache)
    _put(cache, model="u2net")
    _put(cache, model="isnet", target=H200.__class__("10.9", "9.0", "NVIDIA H200"))
    _put(cache, model="yolox_nano", backend="tensorrt_rtx")
    _put(cache, model="mattenet")
    by_model = {entry.sidecar.recipe.model: entry for entry in cache.entries() if entry.sidecar}
    by_model["mattenet"].plan.with_suffix(".json").write_text("{")
    now = time.time()
    os.utime(by_model["u2net"].plan, (now - 61 * 86_400, now - 61 * 86_400))
    why = {
        found.entry.stem.split("-")[0]: found.why
        for found in prunable(cache.entries(), now=now, versions={"tensorrt": H200.version})
    }
    assert why.keys() == {"u2net", "isnet", "mattenet"}
    assert why["u2net"] == "not used for 61 days"
    assert "installed is 11.4.0.106" in why["isnet"]
    assert "sidecar" in why["mattenet"]


def test_reading_an_engine_keeps_it_from_being_pruned_for_its_age(cache: EngineCache) -> None:
    _put(cache)
    entry = cache.entries()[0]
    os.utime(entry.plan, (0, 0))
    assert prunable(cache.entries(), now=time.time(), versions={})
    cache.read(entry)
    assert not prunable(cache.entries(), now=time.time(), versions={})


def test_everything_goes_when_everything_is_asked_for(cache: EngineCache) -> None:
    _put(cache)
    assert len(prunable(cache.entries(), now=time.time(), versions={}, everything=True)) == 1


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTEMILL_ENGINES", str(tmp_path))
    assert default_engine_folder() == tmp_path
    monkeypatch.delenv("MATTEMILL_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_engine_folder() == Path("/somewhere/mattemill/engines")


def test_a_cache_that_cannot_be_made_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EngineError, match="MATTEMILL_ENGINES"),
        EngineCache(tmp_path / "file" / "x").lock(recipe(), H200),
    ):
        pass
