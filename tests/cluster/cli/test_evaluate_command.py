"""`mattemill evaluate`: a data set in; a table, JSON, a report and a gate's verdict out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("default_model")

TESTS = Path(__file__).resolve().parents[2]
GATES = TESTS / "gates"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two rendered articles that the repository ships with their exact alphas."""
    folder = tmp_path_factory.mktemp("sets") / "rendered"
    (folder / "image").mkdir(parents=True)
    for name in ("mug", "white-vase"):
        shutil.copy(TESTS / "samples" / "photos" / "catalogue" / f"{name}.jpg", folder / "image")
    shutil.copytree(TESTS / "samples" / "alpha", folder / "alpha")
    return folder


@pytest.fixture(scope="module")
def collection(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of one small photograph: a mug with its alpha, and a mug of which only the main instance is known."""
    folder = tmp_path_factory.mktemp("collection")
    photo = cv2.resize(cv2.imread(str(rendered / "image" / "mug.jpg")), (240, 320), interpolation=cv2.INTER_AREA)
    alpha = cv2.imread(str(rendered / "alpha" / "mug.png"), cv2.IMREAD_GRAYSCALE)
    alpha = np.asarray(cv2.resize(alpha, (240, 320), interpolation=cv2.INTER_AREA), np.uint8)
    for name, kind in (("hair", "alpha"), ("things", "mask_main")):
        for sub in ("image", kind):
            (folder / name / sub).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "image" / "mug.png"), photo)
        cv2.imwrite(str(folder / name / kind / "mug.png"), alpha if kind == "alpha" else (alpha > 127) * np.uint8(255))
    rows, columns = np.nonzero(alpha > 127)
    x0, y0, x1, y1 = (int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    outline, _ = cv2.findContours((alpha > 127).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thing = {
        "id": 1,
        "image_id": 5,
        "category_id": 2,
        "iscrowd": 0,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int((alpha > 127).sum()),
        "segmentation": [max(outline, key=len).ravel().tolist()],
    }
    content = {
        "images": [{"id": 5, "file_name": "mug.png", "width": 240, "height": 320}],
        "categories": [{"id": 2, "name": "mug"}],
        "annotations": [thing],
    }
    (folder / "things" / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def gate(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "gate.toml"
        path.write_text(text)
        return str(path)

    return write


def test_two_recipes_are_saved_compared_and_reported(
    here: Callable[..., int], collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    arguments = ("--refine", "guided,none", "--jobs", "1", "--save", "out.json", "--report", "out.html")
    assert here("evaluate", str(collection), *arguments) == 0
    said = capsys.readouterr()
    assert "not in all: things" in said.out
    assert "none less guided, iou" in said.out
    assert "guided: 3 of 3" in said.err

    saved = json.loads(Path("out.json").read_text())
    assert saved["command"] == f"mattemill evaluate {collection.name} --refine guided,none --save out.json"
    assert [recipe["name"] for recipe in saved["recipes"]] == ["guided", "none"]
    for recipe in saved["recipes"]:
        groups = recipe["groups"]
        assert groups["all"]["n"] == groups["hair"]["n"] == 1  # things is apart
        assert groups["hair"]["iou"] > 0.9
        assert groups["things"]["box_ap"] > 0.7
        assert groups["things"]["mask_ap"] > 0.7
    assert {(row["recipe"], row["set"]) for row in saved["photographs"]} == {
        (recipe, name) for recipe in ("guided", "none") for name in ("hair", "things")
    }
    _check_page(Path("out.html").read_text(encoding="utf-8"))


class _Page(HTMLParser):
    """Tags that must be closed, pictures, and whatever is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.from_elsewhere: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if tag == "img" and name == "src":
                self.pictures.append(value or "")
            if name in ("src", "href") and not (value or "").startswith(("data:", "#")):
                self.from_elsewhere.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed where it begins."""

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _check_page(html: str) -> None:
    page = _Page()
    page.feed(html)
    assert page.open == []
    assert page.from_elsewhere == []
    assert len(page.pictures) >= 8
    assert all(picture.startswith("data:image/jpeg;base64,/9j/") for picture in page.pictures)
    text = " ".join(page.text)
    for part in ("Summary", "Comparison", "Can the score be trusted?", "Time and memory", "the worst", "hair / mug"):
        assert part in text


def test_a_gate_that_is_not_kept_ends_with_1_and_says_why(
    here: Callable[..., int], collection: Path, gate: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = (
        '[[bound]]\nset = "hair"\nfigure = "iou"\nmin = 0.5\n[[bound]]\nset = "hair"\nfigure = "sad"\nmax = 0.001\n'
    )
    arguments = ("--sets", "hair", "--jobs", "1", "--quiet", "--json", "--gate", gate(bounds))
    assert here("evaluate", str(collection), *arguments) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["recipes"][0]["groups"]["hair"]["n"] == 1
    lines = said.err.splitlines()
    assert lines[0].startswith("gate: hair: sad of default is ")
    assert lines[0].endswith(", must be at most 0.001")
    assert lines[1:] == ["gate: 1 of 2 bounds kept"]


def test_a_set_that_is_apart_counts_when_it_is_named(
    here: Callable[..., int], collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apart = tmp_path / "only"
    shutil.copytree(collection / "things", apart / "things")
    (apart / "things" / "instances.json").unlink()
    assert here("evaluate", str(apart), "--sets", "things", "--jobs", "1", "--quiet", "--json") == 0
    assert json.loads(capsys.readouterr().out)["recipes"][0]["groups"]["all"]["n"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "there is no such folder"),
        (("{data}", "--sets", "fur"), "has no set 'fur'; it has hair, things"),
        (("{data}", "--sets", "hair,"), "names with commas between them"),
        (("{data}", "--recipe", "fastest"), "recipe 'fastest': is neither"),
        (("{data}", "--refine", "magic"), "refine = 'magic': must be one of"),
        (("{data}", "--set", "crop_margin=0.1", "--set", "crop_margin=0.2"), "crop_margin is set twice"),
        (("{data}", "--report", "no/folder/out.html"), "there is no folder no/folder"),
        (("{data}", "--gate", "no.toml"), "gate no.toml: cannot be read"),
        (("{data}", "--jobs", "0"), "must be a whole number, 1 or more"),
    ],
)
def test_wrong_use_is_told_before_anything_is_cut(
    here: Callable[..., int],
    collection: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert here("evaluate", *(argument.replace("{data}", str(collection)) for argument in arguments)) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc, which is Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_no_file(number: signal.Signals, rendered: Path, tmp_path: Path) -> None:
    mark = {"MATTEMILL_TEST_MARK": f"{os.getpid()}-{number}"}
    command = [sys.executable, "-m", "mattemill.cluster.cli.main", "evaluate", str(rendered), "--jobs", "2"]
    with subprocess.Popen(
        [*command, "--recipe", "default", "--recipe", "fast", "--save", "out.json", "--report", "out.html"],
        cwd=tmp_path,
        env={**os.environ, **mark},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        _until(lambda: len(_marked(mark)) >= 3, "its processes are there")
        process.send_signal(number)
        process.wait(60)
    assert process.returncode != 0
    _until(lambda: not _marked(mark), "no process of it is left")
    assert list(tmp_path.iterdir()) == []


def _marked(mark: dict[str, str]) -> list[int]:
    (entry,) = (f"{name}={value}".encode() for name, value in mark.items())
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if entry in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def _until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def test_the_shipped_articles_keep_their_gate(
    here: Callable[..., int], rendered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("evaluate", str(rendered), "--quiet", "--gate", str(GATES / "samples.toml")) == 0
    assert "gate: all bounds kept" in capsys.readouterr().out


@pytest.mark.slow
def test_a_fixed_subset_of_the_evaluation_data_keeps_its_gate(
    here: Callable[..., int], evaldata: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = "alphamatting27,am2k_samples,davis20,p3m_samples,products_bigbird6"
    arguments = ("--sets", sets, "--limit", "2", "--quiet", "--gate", str(GATES / "evaldata.toml"))
    assert here("evaluate", str(evaldata), *arguments) == 0, capsys.readouterr().err
    assert "gate: all bounds kept" in capsys.readouterr().out
