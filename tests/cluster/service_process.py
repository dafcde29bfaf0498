"""A `serve` in a process of its own, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driver_process import driver_environment
from event_server import EventServer
from s3_sink import list_keys

HERE = Path(__file__).parent


class Service:
    """A `serve` in a process of its own; progress: its last line of progress."""

    def __init__(self, server: EventServer, queue: str, log: Path, seconds: float, **environment: str) -> None:
        self._log = log
        command = [sys.executable, str(HERE / "serve_driver.py"), queue, "s3://mattes/out"]
        environment |= {**server.environment, "STANDIN_SECONDS": str(seconds), "PYTHONPATH": str(HERE)}
        # On a Ray that is there it needs the token that lies in this process' environment.
        on_ray = "SERVE_RAY_ADDRESS" in environment
        environment = {**os.environ, **environment} if on_ray else driver_environment(**environment)
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, start_new_session=True
            )

    @property
    def progress(self) -> dict[str, Any]:
        lines = [line for line in self._log.read_text().splitlines() if line.startswith('{"event": "progress"')]
        return dict(json.loads(lines[-1])) if lines else {"done": 0}

    def wait_until(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 90
        while not happened():
            assert self.process.poll() is None, f"it ended by itself: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"{what} did not happen in 90 s: {self._log.read_text()[-3000:]}"
            time.sleep(0.05)


def outputs(server: EventServer) -> int:
    return sum("/_mattemill/" not in key for key in list_keys(server.s3, "mattes", "out/"))
