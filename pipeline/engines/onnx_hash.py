"""The sha256 of an ONNX network whose weights may lie in other files beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models.cache import file_sha256

# The first entry of a tensor's `external_data` as protobuf writes it: field 1 of 8 bytes, 'location'.
_MARK = b"\x0a\x08location"


def onnx_sha256(path: Path) -> str:
    """64 hex digits over the file and, when it keeps weights outside of itself, those files.

    A file without external data has the hash of its bytes: that of its card. Raises ModelError when a file is missing,
    is not ONNX, or names weights outside of its folder.
    """
    own = file_sha256(path)
    outside = external_files(path)
    if not outside:
        return own
    whole = hashlib.sha256(own.encode())
    for name in outside:
        whole.update(b"\0" + name.encode() + b"\0" + file_sha256(path.parent / name).encode())
    return whole.hexdigest()


def external_files(path: Path) -> tuple[str, ...]:
    """Names, relative to the network's folder, of the files that hold its weights; sorted, usually none.

    Raises ModelError as `onnx_sha256`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the network's file cannot be read ({error})") from error
    if _MARK not in data:  # decides nearly always, and needs no onnx
        return ()
    import onnx
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's errors have no common base
        raise ModelError(f"{path}: is no ONNX file ({error})") from error
    names = {
        entry.value
        for tensor in _get_all_tensors(model)
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    folder = path.parent.resolve()
    for name in names:
        if folder not in (folder / name).resolve().parents:
            raise ModelError(f"{path}: keeps weights in {name}, outside of its folder; nothing is read from there")
    return tuple(sorted(names))
