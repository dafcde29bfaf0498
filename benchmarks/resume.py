"""How long a job that is run again takes to its first shard, with 40,000 shards committed.

    python benchmarks/resume.py [--shards 40000] [--images 256] [--json] [--save]

The outcome files are made by the ledger's own writer (one real shard's rows with other keys and ETags) and lie in a
folder: what an object store's latency adds is not in these figures. Then, each in a process of its own: the ledger is
opened as a job opens it (bind, lease, all outcome files read, failure log looked at) and a feed gives the first shard
of a listing whose first photograph is new; peak memory is that of the process. How fast a listing runs over photographs
that are done is timed beside it. First with all files loose (which no job leaves any more: they are packed while it
runs), then as a driver leaves them that is killed just before its next packing, then packed (a job that had ended).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from bench import finish, machine, machine_line, median, parser, peak_memory, say

from mattemill.cluster.feed import ShardFeed
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.layout import layout_below
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.outcome_file import code_version, encode, shard_table
from mattemill.pipeline.ledger.schema import FileFacts
from mattemill.pipeline.outcome import Facts, Matte
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import make_shard

FINGERPRINT = "0123456789abcdef"
ROOT = "s3://catalogue/photos/"
SCANNED = 1_000_000  # committed photographs that the listing runs over, at most


def ref_of(number: int) -> ImageRef:
    """A photograph as S3 lists it: a key of 40 characters."""
    return ImageRef(key_of(number), ROOT + key_of(number), f"{number:032x}", 300_000)


def key_of(number: int) -> str:
    """Spread over folders as catalogues are."""
    return f"{number % 1000:03d}/brand-{number % 97:02d}/article-{number:012d}.jpg"


def write_shards(sink: Path, shards: int, images: int) -> int:
    """`shards` outcome files of `images` rows, one row a key; bytes of all."""
    layout = layout_below("")
    folder = sink / layout.outcomes(FINGERPRINT)
    folder.mkdir(parents=True)
    finished = datetime.now(UTC)
    facts = Facts(
        seconds={"fetch": 0.013, "cut": 0.81, "store": 0.009},
        worker={"fetch": "node-1:4011", "cut": "node-1:4012", "store": "node-1:4013"},
        scores={"confidence": 0.93},
        device={"cut": "cpu"},
    )
    refs = [ref_of(n) for n in range(images)]
    outcomes = {ref.key: Matte(ref.key + ".png", 90_000, facts=facts) for ref in refs}
    template = shard_table(make_shard(refs), outcomes, finished)
    total = 0
    for number in range(shards):
        numbers = sorted(range(number * images, (number + 1) * images), key=key_of)
        shard = f"g0-{number:016x}"
        table = template
        for name, values in (
            ("key", [key_of(n) for n in numbers]),
            ("output_key", [key_of(n) + ".png" for n in numbers]),
            ("etag", [f"{n:032x}" for n in numbers]),
            ("shard", [shard] * images),
        ):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(values, type=table.schema.field(at).type))
        told = FileFacts(
            kind="shard",
            fingerprint=FINGERPRINT,
            source=ROOT,
            generation=0,
            shards=(shard,),
            committed_at=finished.isoformat(),
            code=code_version(),
        )
        data = encode(table, told)
        (sink / layout.shard_file(FINGERPRINT, shard)).write_bytes(data)
        total += len(data)
    return total


def resume(sink: str, done: int) -> dict[str, Any]:
    """What a driver does before its first shard; run in a process of its own."""
    config = JobConfig()
    began = time.monotonic()
    cpu = time.process_time()
    with Ledger.open(sink, config, FINGERPRINT, ROOT) as ledger:
        opened = time.monotonic()
        assert len(ledger.committed()) == done, len(ledger.committed())
        new = [ref_of(done + n) for n in range(config.shard_size)]
        feed = ShardFeed(lambda: ledger.due(iter(new)), config.shard_size, None, wake=lambda: None)
        feed.start()
        while (shard := feed.take()) is None:
            time.sleep(0.001)
        first = time.monotonic()
        feed.stop()
        assert {ref.key for ref in shard.refs} == {ref.key for ref in new}
        peak = peak_memory()
        used = time.process_time() - cpu
        scanned = min(done, SCANNED)

        def listing() -> Iterator[ImageRef]:
            yield from map(ref_of, range(scanned))

        bare = time.monotonic()
        assert sum(1 for _ in listing()) == scanned
        bare = time.monotonic() - bare
        scan = time.monotonic()
        assert list(ledger.due(listing())) == []
        scan = time.monotonic() - scan - bare
        loose = ledger.loose_files
    return {
        "loose_files": loose,
        "open_seconds": round(opened - began, 2),
        "first_shard_seconds": round(first - began, 2),
        "core_seconds": round(used, 2),
        "peak_bytes": peak,
        "listed_over_a_second": round(scanned / max(scan, 1e-9)),
    }


def in_own_process(sink: Path, done: int, runs: int) -> dict[str, Any]:
    """The median run of `resume`."""
    found = []
    for _ in range(runs):
        command = [sys.executable, __file__, "--resume", str(sink), str(done)]
        found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        say(f"  {found[-1]}")
    middle = median([run["first_shard_seconds"] for run in found])
    return {**min(found, key=lambda run: abs(run["first_shard_seconds"] - middle)), "runs": found}


def pack_as_running(sink: str) -> float:
    """Seconds of the packing that a job does while it runs; as many loose files stay as can at the most."""
    with Ledger.open(sink, JobConfig(), FINGERPRINT, ROOT) as ledger:
        began = time.monotonic()
        while ledger.pack_due():
            ledger.pack_some()
        return time.monotonic() - began


def pack(sink: str) -> float:
    """Seconds of the end of a job: the shards' files become a few large ones."""
    with Ledger.open(sink, JobConfig(), FINGERPRINT, ROOT) as ledger:
        began = time.monotonic()
        ledger.finish_job()
        return time.monotonic() - began


def measure(arguments: Namespace, scratch: Path) -> dict[str, Any]:
    """All of it."""
    found = machine()
    sink = scratch / "sink"
    sink.mkdir()
    began = time.monotonic()
    size = write_shards(sink, arguments.shards, arguments.images)
    done = arguments.shards * arguments.images
    say(f"{arguments.shards} files, {done} rows, {size / 1e6:.0f} MB in {time.monotonic() - began:.0f} s")
    loose = in_own_process(sink, done, arguments.runs)
    result = {
        "machine": found,
        "shards": arguments.shards,
        "images_a_shard": arguments.images,
        "rows": done,
        "bytes": size,
        "store": "folder",
        "target_seconds": 30,
        "loose": loose,
    }
    if not arguments.loose_only:
        beside = pack_as_running(str(sink))
        say(f"packed in pieces, as beside a job, in {beside:.0f} s")
        killed = in_own_process(sink, done, arguments.runs)
        result |= {"packing_beside_a_job_seconds": round(beside, 1), "killed": killed}
        seconds = pack(str(sink))
        files = list((sink / layout_below("").outcomes(FINGERPRINT)).glob("packed-*"))
        say(f"packed into {len(files)} files in {seconds:.0f} s")
        packed = in_own_process(sink, done, arguments.runs)
        assert packed["loose_files"] == 0, packed
        result |= {"packing_seconds": round(seconds, 1), "packed_files": len(files), "packed": packed}
    return result


def main() -> None:
    """Run it from the command line."""
    if sys.argv[1:2] == ["--resume"]:
        print(json.dumps(resume(sys.argv[2], int(sys.argv[3]))))
        return
    options = parser(__doc__)
    options.add_argument("--shards", type=int, default=40_000)
    options.add_argument("--images", type=int, default=256, help="rows of a shard")
    options.add_argument("--runs", type=int, default=1)
    options.add_argument("--loose-only", action="store_true", help="do not pack; saved as resume_loose")
    options.add_argument("--folder", help="scratch folder with the space for all files")
    arguments = options.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="mattemill-resume-", dir=arguments.folder))
    try:
        result = measure(arguments, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    lines = [machine_line(result["machine"])]
    for kind in ("loose", "killed", "packed"):
        if kind in result:
            one = result[kind]
            lines.append(
                f"{result['shards']:,} shards, {result['rows']:,} rows, {kind}: first shard after "
                f"{one['first_shard_seconds']} s, peak {one['peak_bytes'] / 2**30:.2f} GiB; a listing runs over "
                f"{one['listed_over_a_second']:,} done photographs a second"
            )
    finish("resume_loose" if arguments.loose_only else "resume", result, arguments, lines)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
