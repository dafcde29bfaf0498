"""One whole job, real networks, over every odd file under odd keys, with good photographs among them."""

from __future__ import annotations

import io
import os
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from odd_images import odd_images, subject_mask
from PIL import Image
from s3_sink import S3Sink

from mattemill.cluster.job import run_job
from mattemill.cluster.progress import JobSummary
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.output_key import output_key
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.storage.embedded_server import EmbeddedS3

pytestmark = [pytest.mark.slow]

ODD = odd_images()
OF_THE_MUG = sorted(name for name, (_, expected) in ODD.items() if expected == (480, 360))
BROKEN = sorted(name for name, (_, expected) in ODD.items() if isinstance(expected, Reason))
ORIENTATIONS = [f"orientation_{number}.jpg" for number in range(1, 9)]

NETWORK_DECIDES = {"one_pixel.png", "strip.png"}
"""Nothing can be said about what the network sees in these; that it is asked, and each ends, can."""

AWKWARD = [
    "a key with spaces.jpg",
    " a leading space.jpg",
    "a trailing space.jpg ",
    "a folder with a trailing space /photo.jpg",
    "it's a \"quoted\" 'key'.jpg",
    "50% off.jpg",
    "50%25 off.jpg",
    "a+b.jpg",
    "a b.jpg",
    "what?.jpg",
    "no #1.jpg",
    "a&b=c;d,e@f:g$h!.jpg",
    "[x]{y}(z)^`|~<>*.jpg",
    unicodedata.normalize("NFC", "café/Ångström ü.jpg"),
    unicodedata.normalize("NFD", "café/Ångström ü.jpg"),
    "写真/商品 1.jpg",
    "\N{SHOPPING BAGS}\N{VARIATION SELECTOR-16}.jpg",
    "\u202egpj.tfel-ot-thgir",
    "same.jpg",
    "same.png",
    "same",
    "SAME.JPG",
]
"""Keys of good photographs, all of which must be cut."""


@dataclass
class Run:
    """The one job. files: key -> what lay there. mattes: key -> uint8 (H, W) as it lies in the sink."""

    summary: JobSummary
    files: dict[str, bytes]
    sink: S3Sink
    mattes: dict[str, npt.NDArray[np.uint8]]

    def end(self, key: str) -> str:
        """'matte', or the reason of the failure."""
        row = self.sink.newest[key]
        return str(row["reason"] or row["outcome"])


def key_of(name: str) -> str:
    """Where an odd file lies: in one folder, its own name in front of a suffix that no source leaves out."""
    return f"odd ones/{name}" + (".jpg" if name.endswith(".pdf") else "")


def good_photographs(folder: Path) -> list[bytes]:
    """The real photographs that the network cuts well, small."""
    small = []
    for name in ("astronaut.jpg", "grace-hopper.jpg", "catalogue/cup-on-white.jpg", "catalogue/mug.jpg"):
        photo = Image.open(folder / name).convert("RGB")
        photo.thumbnail((256, 256))
        data = io.BytesIO()
        photo.save(data, "JPEG", quality=90)
        small.append(data.getvalue())
    return small


@pytest.fixture(scope="module")
def run(s3_server: EmbeddedS3, s3_client: Any, sample_photos: Path, u2netp: Path) -> Run:
    bucket = f"odd-inputs-{os.getpid()}"
    s3_server.make_bucket(bucket)
    good = good_photographs(sample_photos)
    files = {key: good[number % len(good)] for number, key in enumerate(AWKWARD)}
    # Listed by key: the neighbours before, among and after the odd files are good ones.
    for number, (name, (data, _)) in enumerate(ODD.items()):
        files[key_of(name)] = data
        if number % 6 == 0:
            files[key_of(name) + " neighbour.jpg"] = good[number // 6 % len(good)]
    for key, data in files.items():
        s3_client.put_object(Bucket=bucket, Key=f"photos/{key}", Body=data)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        # One shard and one read for all of them, so that they are batched with each other.
        config = JobConfig(shard_size=len(files), fetch_batch=len(files), device="cpu")
        summary = run_job(f"s3://{bucket}/photos/", f"s3://{bucket}/mattes/", config)
    sink = S3Sink.read(s3_client, bucket)
    mattes = {}
    for key, row in sink.newest.items():
        if row["output_key"] is not None:
            body = s3_client.get_object(Bucket=bucket, Key=row["output_key"])["Body"].read()
            matte = Image.open(io.BytesIO(body))
            assert (matte.format, matte.mode) == ("PNG", "L"), key
            mattes[key] = np.asarray(matte)
    return Run(summary, files, sink, mattes)


def test_every_file_ends_exactly_once(run: Run) -> None:
    assert run.sink.rows == Counter({(key, 0): 1 for key in run.files})
    assert run.summary.images == len(run.files)
    assert run.summary.shards == 1
    assert dict(run.summary.skipped) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_whole_photograph_ends_for_its_own_reason(run: Run, name: str) -> None:
    assert run.end(key_of(name)) == ODD[name][1]


@pytest.mark.parametrize("name", [*OF_THE_MUG, "twelve_megapixels.jpg"])
def test_every_kind_of_file_of_the_mug_is_cut_to_the_mug_as_shown(run: Run, name: str) -> None:
    size = ODD[name][1]
    assert isinstance(size, tuple)

    assert run.end(key_of(name)) == "matte"

    matte = run.mattes[key_of(name)]
    assert matte.shape == size[::-1]
    mug = subject_mask(*size) > 0
    assert matte[mug].mean() > 200
    assert matte[~mug].mean() < 20


@pytest.mark.parametrize("name", sorted(NETWORK_DECIDES))
def test_shapes_that_no_network_knows_are_cut_or_told_to_have_no_clear_subject(run: Run, name: str) -> None:
    row = run.sink.newest[key_of(name)]

    assert run.end(key_of(name)) in ("matte", Reason.NO_SUBJECT, Reason.LOW_CONFIDENCE)

    assert (row["width"], row["height"]) == ODD[name][1]


def test_every_odd_file_has_its_test() -> None:
    assert {*BROKEN, *OF_THE_MUG, "twelve_megapixels.jpg", *NETWORK_DECIDES} == set(ODD)


def test_the_good_neighbours_in_the_batch_are_all_cut(run: Run) -> None:
    good = set(run.files) - {key_of(name) for name in ODD}

    assert len(good) > len(AWKWARD)
    assert {key: run.end(key) for key in good} == dict.fromkeys(good, "matte")


def test_every_matte_lies_in_the_sink_at_its_own_key_in_the_size_of_its_photograph(run: Run) -> None:
    cut = {key for key in run.files if run.end(key) == "matte"}

    assert set(run.mattes) == cut
    assert run.sink.outputs == {"mattes/" + output_key(key, "png") for key in cut}
    for key in cut:
        row = run.sink.newest[key]
        assert row["output_key"] == "mattes/" + output_key(key, "png")
        assert run.mattes[key].shape == (row["height"], row["width"])


def test_a_matte_is_of_the_photograph_under_its_key_and_of_no_other(run: Run) -> None:
    of_file: dict[bytes, npt.NDArray[np.uint8]] = {}
    for key in AWKWARD:
        first = of_file.setdefault(run.files[key], run.mattes[key])
        assert first.shape == run.mattes[key].shape, key
        assert difference(first, run.mattes[key]) < 1.0, key
    assert len(of_file) == len({matte.tobytes() for matte in of_file.values()}) == 4


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_photograph_in_any_exif_orientation_is_cut_as_a_viewer_shows_it(run: Run, name: str) -> None:
    upright = run.mattes[key_of("orientation_1.jpg")]

    # The pixels differ as JPEG differs in blocks that are turned; a matte that was turned differs by tens.
    assert difference(run.mattes[key_of(name)], upright) < 1.0
    assert difference(np.fliplr(upright), upright) > 10.0, "a mug that looks the same turned would test nothing"


def test_the_failure_log_holds_the_failures_and_nothing_else(run: Run) -> None:
    failed = {key for key in run.files if run.end(key) != "matte"}

    assert run.sink.logged == Counter({(key, run.end(key), 0): 1 for key in failed})
    assert dict(run.summary.failed) == dict(Counter(run.end(key) for key in failed))
    assert run.summary.cut == len(run.files) - len(failed)


def test_nothing_spills_nor_dies_nor_is_made_again(run: Run) -> None:
    assert (run.summary.spilled_bytes, run.summary.worker_deaths, run.summary.retries) == (0, 0, 0)


def difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """Mean absolute difference in levels of 255."""
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())
