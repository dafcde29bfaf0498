"""A driver on a cluster that is there, for tests that break things: prints how many images have ended."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mattemill.cluster.job import run_job
from mattemill.pipeline.config import JobConfig

if __name__ == "__main__":
    source, sink, address = sys.argv[1:4]
    config = JobConfig(
        detector="yolox",
        detector_model="real ends",
        device="cpu",
        ray_address=address,
        shard_size=8,
        fetch_batch=4,
        lease_seconds=4.0,
        stall_timeout=60.0,
        call_timeout=10.0,
    )
    summary = run_job(
        source, sink, config, stages="standin_stages", on_progress=lambda p: print("ended", p.done, flush=True)
    )
    print("finished", summary.images, summary.already_done, summary.spilled_bytes, flush=True)
