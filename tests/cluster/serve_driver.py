"""A `serve` in a process of its own, with stand-in networks between the real fetch and store: started by tests.

    python serve_driver.py QUEUE SINK

SERVE_RAY_ADDRESS: of the Ray on which it runs; without it a local one of its own.
Progress goes to stderr as JSON lines, the summary to stdout. Signals are handled as the command handles them.
"""

from __future__ import annotations

import json
import os
import sys

from mattemill.cluster.cli.signals import StopOnSignal
from mattemill.cluster.progress_view import JsonLinesView
from mattemill.cluster.serve import serve
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.events.settings import EventSettings

if __name__ == "__main__":
    config = JobConfig(
        device="cpu",
        detector="nanodet",
        detector_model="real ends",
        placement="fused",
        cpus=0 if "SERVE_RAY_ADDRESS" in os.environ else 2,
        ray_address=os.environ.get("SERVE_RAY_ADDRESS"),
        lease_seconds=4.0,
        shard_size=4,
        drain_timeout=20.0,
    )
    with StopOnSignal() as stop, JsonLinesView(sys.stderr, interval=0.2) as show:
        summary = serve(
            sys.argv[1],
            sys.argv[2],
            config,
            EventSettings(max_age=0.5, poll=1.0),
            on_progress=show,
            stop=stop.event,
            stages="standin_stages",
        )
    print(json.dumps(summary.to_json()), flush=True)
