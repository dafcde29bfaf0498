"""A driver to be killed: runs a job on stand-in networks and prints how many images have ended."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mattemill.cluster.job import run_job
from mattemill.pipeline.config import JobConfig

if __name__ == "__main__":
    source, sink, placement = sys.argv[1:4]
    config = JobConfig(
        detector="yolox",
        detector_model="real ends",
        shard_size=16,
        device="cpu",
        placement=placement,
        drain_timeout=20.0,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    print("started", flush=True)
    summary = run_job(
        source,
        sink,
        config,
        stages="standin_stages",
        stop=stop,
        on_progress=lambda p: print("ended", p.done, flush=True),
    )
    print("finished", summary.images, summary.already_done, flush=True)
