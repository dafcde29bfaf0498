from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from mattemill.pipeline.allocator import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for turn in range(20):
    blocks = [b"x" * 300_000 for _ in range(32)]
    if turn == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told")
def test_blocks_of_a_size_that_was_freed_before_cost_no_page_faults() -> None:
    by_default, kept = page_faults(keep=False), page_faults(keep=True)

    assert by_default > 10_000  # 15 batches of 32 blocks of 74 pages
    assert kept < by_default / 10
