"""What was spilled, as the files of Ray's nodes tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mattemill.cluster.spilled import NodeSpill, read_node, spilled_in_log, total

LINE = (
    "[2026-11-23 10:00:00,000 I 1 1] (raylet) local_object_manager.cc:1: Spilled {} MiB, 3 objects, write speed 9 MiB/s"
)


def write_state(logs: Path, node_id: str, requests: int) -> None:
    text = (
        f"NodeManager:\nNode ID: {node_id}\n- num bytes currently spilled: 0\n- cumulative spill requests: {requests}\n"
    )
    (logs / "debug_state.txt").write_text(text)


def test_the_last_sum_in_a_log_counts_and_less_than_a_mebibyte_is_not_nothing() -> None:
    assert spilled_in_log("\n".join(LINE.format(n) for n in (0, 4, 9))) == 9 * 2**20
    assert spilled_in_log(LINE.format(0)) == 1
    assert spilled_in_log("num objects pending spill: 0") == 0


def test_a_state_without_a_spill_request_means_nothing_was_spilled(tmp_path: Path) -> None:
    (tmp_path / "raylet.out").write_text("started\n")
    write_state(tmp_path, "aa", 0)

    assert total([read_node("aa", "10.0.0.1", tmp_path, tells_all=False)]) == 0


def test_requests_that_the_log_is_silent_about_are_unknown_and_not_nothing(tmp_path: Path) -> None:
    write_state(tmp_path, "aabbccddee", 7)

    with pytest.raises(RuntimeError, match="aabbccdd do not say"):
        total([read_node("aabbccddee", "10.0.0.1", tmp_path, tells_all=False)])


def test_the_state_of_another_node_in_the_same_folder_says_nothing_of_this_one(tmp_path: Path) -> None:
    write_state(tmp_path, "other", 0)

    assert not read_node("aa", "10.0.0.1", tmp_path, tells_all=False).none
    assert read_node("aa", "10.0.0.1", tmp_path, tells_all=True).none


def test_nodes_are_summed_and_a_folder_that_two_share_counts_once(tmp_path: Path) -> None:
    (tmp_path / "raylet.out").write_text(LINE.format(5))
    shared = [read_node(name, "10.0.0.1", tmp_path, tells_all=True) for name in ("aa", "bb")]
    elsewhere = read_node("cc", "10.0.0.2", tmp_path, tells_all=True)  # the same path on another machine

    assert total(shared) == 5 * 2**20
    assert total([*shared, elsewhere, NodeSpill("dd", "10.0.0.3", none=True)]) == 10 * 2**20


def test_what_a_raylet_says_in_both_of_its_files_and_in_rotated_ones_counts_once(tmp_path: Path) -> None:
    for name, size in (("raylet.out", 9), ("raylet.err", 9), ("raylet.out.1", 4), ("raylet.1.out", 3)):
        (tmp_path / name).write_text(LINE.format(size))

    assert total([read_node("aa", "10.0.0.1", tmp_path, tells_all=True)]) == (9 + 3) * 2**20
