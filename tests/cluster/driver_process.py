"""A driver in a process of its own that is killed, and what must go with it."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import psutil

_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def driver_environment(**more: str) -> dict[str, str]:
    """The environment for a driver that starts a Ray of its own, whatever Ray this process has started."""
    environment = {**os.environ, **more}
    environment.pop("RAY_AUTH_MODE", None)
    environment.pop("RAY_AUTH_TOKEN", None)
    return environment


def kill_driver(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """SIGKILL the driver alone; what it had started, for `assert_gone`."""
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.wait(60)
    return children


def assert_gone(children: list[psutil.Process]) -> None:
    """What works on images ends by itself with its driver, within a minute."""
    # Ray's two agents look for their raylet for another minute.
    agents = [child for child in children if _name(child) in _AGENTS]
    _, alive = psutil.wait_procs([child for child in children if child not in agents], timeout=60)
    for agent in agents:
        with suppress(psutil.NoSuchProcess):  # gone by itself; psutil kills no other process of the same number
            agent.kill()
    assert not alive, f"left behind: {[_name(process) for process in alive]}"


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""
