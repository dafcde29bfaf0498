"""The tests of tests/gpu as a part of `gpu.py`: how many passed, which failed, and why the others were skipped."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

_FOLDER = "tests/gpu"


def gpu_tests(repository: Path) -> dict[str, Any]:
    """All of them in one pytest. 'failed' tells what did; its messages go to stderr."""
    with tempfile.TemporaryDirectory(prefix="mattemill-gpu-") as name:
        report = Path(name) / "tests.xml"
        command = [sys.executable, "-m", "pytest", _FOLDER, "-q", f"--junitxml={report}"]
        ended = subprocess.run(command, cwd=repository, stdout=sys.stderr, check=False)
        if not report.is_file():
            return {"failed": f"pytest {_FOLDER} ended with {ended.returncode} and without a report"}
        return of_report(report.read_text(encoding="utf-8"), ended.returncode)


def of_report(text: str, code: int) -> dict[str, Any]:
    """What a JUnit file of pytest says. code: with which pytest ended."""
    passed, wrong, skipped = 0, [], Counter[str]()
    for case in ElementTree.fromstring(text).iter("testcase"):
        skip = case.find("skipped")
        if skip is not None:
            skipped[skip.get("message", "")] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            wrong.append(f"{case.get('classname')}::{case.get('name')}")
        else:
            passed += 1
    found: dict[str, Any] = {"passed": passed, "wrong": wrong, "skipped_for": dict(skipped.most_common())}
    if wrong or code != 0:
        found["failed"] = f"pytest {_FOLDER} ended with {code}, {len(wrong)} of its tests failed: {', '.join(wrong)}"
    elif not passed:
        found["skipped"] = f"all of {_FOLDER} skipped, for the reasons in skipped_for"
    return found
