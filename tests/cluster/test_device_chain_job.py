"""A job whose cut is the device chain writes what a job on the host writes; here on the CPU driver, on real Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mattemill.cluster.job import plan_job, run_job
from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ConfigError

NAMES = ("cat.png", "coffee.webp", "gravel.jpg")


@pytest.fixture
def photographs(sample_photos: Path, tmp_path: Path) -> Path:
    """Two with a subject and one of gravel, in which a network sees something without being sure; made small."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in NAMES:
        with Image.open(sample_photos / name) as photo:
            small = photo.convert("RGB").reduce(3)
            small.save(folder / f"{Path(name).stem}.png")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")
def test_a_job_with_the_chain_writes_the_files_of_a_job_without_it(
    photographs: Path, tmp_path: Path, u2netp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    config = JobConfig(output="cutout", device="cpu", placement="fused", workers=1)
    plain = run_job(str(photographs), str(tmp_path / "plain"), config)
    chain = run_job(str(photographs), str(tmp_path / "chain"), config, stages="chain_stages")
    assert plain.images == chain.images == 3
    assert chain.failed == plain.failed == {"low_confidence": 1}
    written = sorted(path.name for path in (tmp_path / "plain").glob("*.png"))
    assert written == sorted(path.name for path in (tmp_path / "chain").glob("*.png"))
    assert len(written) == 2
    for name in written:
        with Image.open(tmp_path / "plain" / name) as one, Image.open(tmp_path / "chain" / name) as other:
            assert one.mode == other.mode
            difference = np.abs(np.asarray(one).astype(int) - np.asarray(other))
        assert difference.mean() < 0.5
        assert (difference > 8).mean() < 0.005
    columns = ["key", "outcome", "stage", "output_width", "output_height", "output_bytes", "seconds"]
    rows = pq.read_table(tmp_path / "chain" / "_mattemill" / "outcomes", columns=columns).to_pylist()
    for row in rows:
        if row["outcome"] == "failure":
            assert row["stage"] == "matte"
            continue
        path = tmp_path / "chain" / f"{row['key']}.png"
        path = path if path.exists() else (tmp_path / "chain" / row["key"]).with_suffix(".png")
        with Image.open(path) as image:
            assert image.size == (row["output_width"], row["output_height"])
        assert path.stat().st_size == row["output_bytes"]
        assert {"detect", "segment", "matte"} <= dict(row["seconds"]).keys()


def test_a_job_that_asks_for_the_chain_without_a_gpu_ends_before_anything_is_written(
    photographs: Path, tmp_path: Path, u2netp: Path
) -> None:
    config = JobConfig(refine="guided", device="cpu", device_chain="on")
    for start in (plan_job, run_job):
        with pytest.raises(ConfigError, match="device_chain = 'on' needs engine tensorrt"):
            start(str(photographs), str(tmp_path / "out"), config)
    assert not (tmp_path / "out").exists()
