"""The first signal drains, the second stops, the third is the system's."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

SCRIPT = """
import sys, time
from mattemill.cluster.cli.signals import StopOnSignal
with StopOnSignal() as stop:
    print("ready", flush=True)
    try:
        stop.event.wait(60)
        print("draining", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        if "stubborn" in sys.argv:
            time.sleep(60)
"""


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    arguments = getattr(request, "param", [])
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert line(child) == "ready"
        yield child
        child.kill()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_the_second_interrupts(
    process: subprocess.Popen[str], number: signal.Signals
) -> None:
    process.send_signal(number)
    assert line(process) == "draining"
    process.send_signal(number)
    assert line(process) == "interrupted"
    assert process.wait(30) == 0
    assert process.stderr is not None
    told = process.stderr.read()
    assert "no new images are taken" in told
    assert "stopping now" in told


@pytest.mark.parametrize("process", [["stubborn"]], indirect=True)
def test_the_third_signal_ends_the_process(process: subprocess.Popen[str]) -> None:
    for expected in ("draining", "interrupted"):
        process.send_signal(signal.SIGTERM)
        assert line(process) == expected
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM


def test_the_handlers_of_before_are_put_back() -> None:
    from mattemill.cluster.cli.signals import StopOnSignal

    before = signal.getsignal(signal.SIGTERM)
    with StopOnSignal():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
