"""benchmarks/gpu.py: what it makes of its figures, the shape of its file, and its end where there is no GPU."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import gpu as benchmark
import gpu_jobs
from gpu_figures import (
    batch_rates,
    between,
    fused_over_split,
    in_turns,
    lines_of,
    parse_sample,
    repetitions,
    table,
    targets,
)
from gpu_tests import of_report

from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.place import CPU

BENCHMARKS = Path(benchmark.__file__).parent


def run(**changes: Any) -> dict[str, Any]:
    row = {"megapixels": 2, "output": "matte", "placement": "split", "steady_images_per_second": 100.0}
    return row | {"cores_used": 8.0, "gpu_busy": 0.4} | changes


def test_without_a_gpu_it_says_so_and_ends_with_2() -> None:
    if find_gpus().gpus:
        pytest.skip("this machine has a GPU")
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), "--save"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "measures a GPU, and there is none: " in ended.stderr
    assert not (BENCHMARKS / "results" / "gpu.json").exists()


def test_samples_of_nvidia_smi_are_read_and_lines_without_figures_left_out() -> None:
    assert parse_sample(5.0, "37, 1024\n") == (5.0, 0.37, float(1 << 30))
    assert parse_sample(5.0, "[N/A], 1024") is None
    assert parse_sample(5.0, "") is None


def test_the_gpu_is_judged_in_the_steady_part_alone() -> None:
    samples = [(0.0, 0.0, 9e9), (1.0, 0.5, 1e9), (2.0, 1.0, 2e9), (3.0, 0.0, 8e9)]
    assert between(samples, 0.5, 2.5) == (0.75, 2_000_000_000)
    assert between(samples, 10.0, 11.0) == (None, None)


def test_the_rate_of_a_batch_is_that_of_its_median_pass() -> None:
    rows = batch_rates({8: [0.02, 0.04, 9.0], 1: [0.01] * 5})
    assert [(row["batch"], row["images_per_second"], row["passes"]) for row in rows] == [(1, 100.0, 5), (8, 200.0, 3)]


def test_ways_that_are_compared_take_turns_for_as_long_as_was_asked() -> None:
    now, calls = [0.0], []

    def call(way: str, seconds: float) -> None:
        calls.append(way)
        now[0] += seconds

    taken = in_turns({"a": lambda: call("a", 1.0), "b": lambda: call("b", 2.0)}, 20.0, clock=lambda: now[0])
    assert calls == ["a", "b"] * 7
    assert taken == {"a": [1.0] * 7, "b": [2.0] * 7}
    assert len(in_turns({"a": lambda: call("a", 9.0)}, 0.0, clock=lambda: now[0])["a"]) == 5


def test_a_run_has_as_many_images_as_its_seconds_ask_for_and_never_too_few() -> None:
    assert repetitions(100.0, 30.0, 40) == 3000
    assert repetitions(0.5, 30.0, 40) == 40


def test_fused_is_set_against_split_of_the_same_case_only() -> None:
    rows = [run(), run(placement="fused", steady_images_per_second=150.0), run(megapixels=12)]
    assert fused_over_split(rows) == [{"megapixels": 2, "output": "matte", "fused_over_split": 1.5}]


def test_targets_are_met_missed_or_not_measured() -> None:
    kernels = {"kernels": [{"kernel": "trimap", "share_of_copy": 0.8}, {"kernel": "png_up", "share_of_copy": 0.6}]}
    ends = {"runs": [run(steady_images_per_second=450.0, cores_used=15.0), run(megapixels=12)]}
    found = targets({"kernels": kernels, "end_to_end": ends}, cores=16)
    assert [(row["found"], row["met"]) for row in found] == [(0.6, False), (450.0, True), (0.938, True)]
    assert "png_up" in found[0]["target"]
    assert [row["met"] for row in targets({"kernels": {"failed": "x"}}, cores=16)] == [None, None, None]


def test_a_part_that_fails_is_in_the_file_and_costs_the_others_nothing() -> None:
    assert part_failed(1, "")
    assert part_failed(-11, '{"networks": []}')
    assert benchmark.part_result(0, 'noise\n{"networks": []}') == {"networks": []}


def test_what_a_part_gives_is_json_alone() -> None:
    script = (
        "import sys; sys.argv = ['gpu.py', '--device', 'cpu', '--one', 'engine:tensorrt:fp16']; import gpu;"
        "gpu._part = lambda name, given: [print('a library says {'), {'skipped': name}][1]; sys.exit(gpu.main())"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert benchmark.part_result(0, ended.stdout) == {"skipped": "engine:tensorrt:fp16"}
    assert "a library says {" in ended.stderr


def part_failed(code: int, said: str) -> bool:
    return f"ended with {code}" in benchmark.part_result(code, said).get("failed", "")


def test_the_tests_of_a_gpu_are_counted_and_a_run_of_skips_alone_is_no_pass() -> None:
    def report(*cases: str) -> str:
        return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"

    well = '<testcase classname="a" name="x"/>'
    skip = '<testcase classname="a" name="y"><skipped message="needs a GPU"/></testcase>'
    wrong = '<testcase classname="a" name="z"><failure message="no"/></testcase>'
    assert of_report(report(well, skip, skip), 0) == {"passed": 1, "wrong": [], "skipped_for": {"needs a GPU": 2}}
    assert "all of" in of_report(report(skip), 0)["skipped"]
    assert "a::z" in of_report(report(well, wrong), 1)["failed"]
    assert "ended with 3" in of_report(report(well), 3)["failed"]


def test_the_file_holds_every_part_and_reads_well() -> None:
    network = {"network": "u2netp", "place": "cuda:0 tensorrt fp16", "mean_error": 0.002, "no_graphs": ""}
    graphs = {"batches_with_graphs": batch_rates({1: [0.005], 8: [0.02]})}
    parts = {
        "kernels": {"failed": "its process ended with -11"},
        "engine:tensorrt:fp16": {"networks": [network | {"batches": batch_rates({1: [0.01], 8: [0.025]})} | graphs]},
        "engine:tensorrt_rtx:fp16": {"skipped": "tensorrt_rtx is not installed"},
        "end_to_end": {"runs": [run(), run(placement="fused", gpu_busy=None)]},
    }
    result = json.loads(json.dumps(benchmark.whole(parts)))
    assert set(result) == {"machine", "gpu", "versions", "parts", "fused_over_split", "targets"}
    assert result["fused_over_split"][0]["fused_over_split"] == 1.0
    text = "\n".join(lines_of(result))
    for said in (
        "u2netp",
        "100.0        200.0",
        "320.0        400.0",
        "FAILED kernels: its process",
        "NOT MEASURED engine:tensorrt_rtx:fp16",
    ):
        assert said in text


def test_some_parts_and_a_trial_do_not_take_the_place_of_the_whole_file() -> None:
    assert benchmark.file_name("cuda", None) == "gpu"
    assert benchmark.file_name("cuda", "engine:tensorrt:fp16,kernels") == "gpu_engine_tensorrt_fp16_kernels"
    assert benchmark.file_name("cpu", "end_to_end") == "gpu_end_to_end_tried_on_cpu"


def test_every_size_output_and_placement_is_a_case() -> None:
    assert len(set(benchmark.CASES)) == 2 * 3 * 3
    assert "12:composite:fused" in benchmark.CASES


def test_tables_line_up() -> None:
    assert table(("name", "ms"), [("a", 1.5), ("long", None)]) == ["name   ms", "a     1.5", "long    -"]


def test_a_network_is_compared_and_timed_by_batch(u2netp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "BATCHES", (1, 2))
    monkeypatch.setattr(benchmark, "BATCH_SECONDS", 0.0)
    row = benchmark._network("mattenet", CPU)
    assert row is not None
    assert row["place"] == "cpu"
    assert row["mean_error"] < 1e-5
    assert row["compared_on"] == 12
    assert [(one["batch"], one["passes"]) for one in row["batches"]] == [(1, 5), (2, 5)]
    assert all(one["images_per_second"] > 0 for one in row["batches"])
    assert row["no_graphs"] == "only TensorRT has them, not onnxruntime"
    assert "batches_with_graphs" not in row


def test_a_photograph_of_12_megapixels_is_made_from_one_of_2(sample_photos: Path) -> None:
    data = gpu_jobs.enlarged((sample_photos / "astronaut.jpg").read_bytes(), (800, 600))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (800, 600)
    assert gpu_jobs.SIZES[12][0] * gpu_jobs.SIZES[12][1] == 12_500_000
