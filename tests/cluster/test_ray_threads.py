from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from mattemill.cluster.ray_start import ray_running
from mattemill.cluster.ray_threads import end_ray_threads, start_ray_thread

DRIVER = """
import threading, time
from mattemill.cluster.ray_start import ray_running
from mattemill.cluster.ray_threads import start_ray_thread

with ray_running(None, workers=1, gpus=0, store_bytes=80 * 2**20):
    import ray

    never = ray.remote(num_cpus=0)(lambda: time.sleep(60)).remote()
    asking = threading.Event()

    def ask(stop):
        while not stop.is_set():
            asking.set()
            ray.wait([never], timeout=0.05)
            ray.nodes()

    thread = start_ray_thread(ask, "asks")
    asking.wait()
print("done", thread.is_alive(), flush=True)
time.sleep(1)
"""


@pytest.mark.slow
def test_a_thread_that_is_in_ray_has_ended_before_ray_is_shut_down() -> None:
    driver = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True, timeout=120, check=False)

    assert (driver.returncode, driver.stdout) == (0, "done False\n"), driver.stderr


def test_threads_are_told_to_stop_and_waited_for() -> None:
    ended = []

    def work(stop: threading.Event) -> None:
        stop.wait()
        ended.append(threading.current_thread().name)

    threads = [start_ray_thread(work, name) for name in ("one", "other")]
    end_ray_threads()

    assert sorted(ended) == ["one", "other"]
    assert not any(thread.is_alive() for thread in threads)
    end_ray_threads()  # nothing is left to end


def test_threads_end_with_a_job_also_where_ray_was_connected_before_it_and_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has connected may shut Ray down next. Ray is a stand-in: that it was connected is all that counts."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True, nodes=lambda: []))
    with ray_running(None, workers=1, gpus=0, store_bytes=1000) as smallest:
        thread = start_ray_thread(lambda stop: stop.wait() and None, "waits")
        assert (smallest, thread.is_alive()) == (1000, True)
    assert not thread.is_alive()
