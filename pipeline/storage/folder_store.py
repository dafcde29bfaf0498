"""A folder as an object store: keys are paths below it, writes are atomic and durable."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import logging
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mattemill.pipeline.errors import (
    AlreadyThereError,
    ChangedObjectError,
    ForbiddenError,
    MissingObjectError,
    ObjectTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from mattemill.pipeline.storage.store import Blob, Entry

log = logging.getLogger(__name__)

TEMPORARY = "_mattemill/tmp"
"""Where files are written before they are renamed to their keys; never listed."""

_STALE_AFTER = 3600.0  # seconds after which a temporary file counts as left behind; a put takes seconds
_KNOWN_FOLDERS = 100_000  # how many folders that exist are remembered
_READ_TRIES = 3  # of a file that changes while it is read


class FolderStore:
    """Objects are the files below `root`, symbolic links followed. Safe for several threads and processes.

    An object's ETag is 'mtime in ns-size', so that a file that was touched counts as changed. A key that a
    folder cannot hold as such ('..', '.', an empty segment, NUL) is missing when read and an error when written.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._lock = threading.Lock()
        self._prepared = False
        self._known_folders: set[str] = set()

    def get(self, key: str, *, etag: str | None = None, max_bytes: int | None = None) -> Blob:
        """All bytes of a file; read again when it changes meanwhile. Errors as in `Store.get`."""
        path = self._path(key, reading=True)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                for _ in range(_READ_TRIES):
                    before = os.fstat(file)
                    found = _etag(before)
                    if not stat.S_ISREG(before.st_mode):
                        raise MissingObjectError(f"{path}: is not a file")
                    if etag is not None and etag != found:
                        raise ChangedObjectError(f"{path}: changed since it was listed (was {etag}, is {found})")
                    if max_bytes is not None and before.st_size > max_bytes:
                        raise ObjectTooLargeError(f"{path}: {before.st_size} bytes, over the limit of {max_bytes}")
                    data = _read_whole(file, before.st_size)
                    if len(data) == before.st_size and _etag(os.fstat(file)) == found:
                        return Blob(data, found)
                    os.lseek(file, 0, os.SEEK_SET)
                raise ChangedObjectError(f"{path}: is being written while it is read")
            finally:
                os.close(file)
        except OSError as error:
            raise _store_error(error, path) from error

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        """Write a file whole and durably (fsync of file and folder); errors as in `Store.put`.

        content_type: not kept, a folder has no place for it.
        """
        self._put(key, data, if_absent, durable=True)

    def put_soon(self, key: str, data: bytes, *, content_type: str) -> None:
        """Write a file whole; it survives a power cut after the next `flush`."""
        self._put(key, data, if_absent=False, durable=False)

    def flush(self) -> None:
        """One syncfs for all that was written: 0.08 ms of CPU a file in batches of 32, two fsyncs each cost 0.4."""
        try:
            file = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if _libc().syncfs(file) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(file)
        except OSError as error:
            raise _store_error(error, self._root, writing=True) from error

    def _put(self, key: str, data: bytes, if_absent: bool, durable: bool) -> None:
        path = self._path(key, reading=False)
        try:
            try:
                self._write(path, data, if_absent, durable)
            except FileNotFoundError:  # someone removed a folder that we knew
                self._known_folders.clear()
                self._write(path, data, if_absent, durable)
        except FileExistsError as error:
            raise AlreadyThereError(f"{path}: is already there") from error
        except OSError as error:
            raise _store_error(error, path, writing=True) from error

    def _write(self, path: str, data: bytes, if_absent: bool, durable: bool) -> None:
        temporary = self._write_temporary(data, durable)
        try:
            self._make_folder(os.path.dirname(path))
            if if_absent:
                _rename_if_absent(temporary, path)
            else:
                os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        if durable:
            _sync_folder(os.path.dirname(path))

    def head(self, key: str) -> Entry:
        """Size, ETag and time of one file. Raises MissingObjectError."""
        path = self._path(key, reading=True)
        try:
            status = os.stat(path)
        except OSError as error:
            raise _store_error(error, path) from error
        if not stat.S_ISREG(status.st_mode):
            raise MissingObjectError(f"{path}: is not a file")
        return _entry(key, status)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[Entry]:
        """Files whose key begins with the prefix, in the order of their keys as UTF-8 bytes.

        Memory is bounded by the names of one folder and of its ancestors. A dangling link is listed (reading it
        fails as missing); a link back to a folder that is being listed is not followed; pipes, sockets and devices
        are left out. A folder that does not exist holds nothing.
        """
        if prefix.startswith("/"):
            return
        folder, _, begin = prefix.rpartition("/")
        if any(part in ("", ".", "..") for part in folder.split("/")) and folder:
            return
        top = os.path.join(self._root, folder) if folder else self._root
        after = None if start_after is None else os.fsencode(start_after)
        if not os.path.isdir(top):
            if os.path.lexists(top) and not folder:
                raise StoreError(f"{top}: is a file, not a folder")
            return
        yield from _walk(top, folder + "/" if folder else "", begin, after, ())

    def delete(self, key: str) -> None:
        """Remove a file; a missing one is no error. Folders stay."""
        path = self._path(key, reading=True)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _store_error(error, path) from error

    def _path(self, key: str, *, reading: bool) -> str:
        if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
            kind = MissingObjectError if reading else StoreError
            raise kind(f"{key!r}: no file below {self._root} can have this name (empty, '.' or '..' segment, or NUL)")
        return self._root + "/" + key if self._root != "/" else "/" + key

    def _make_folder(self, folder: str) -> None:
        if folder in self._known_folders:
            return
        missing = []
        at = folder
        while not os.path.isdir(at):
            missing.append(at)
            at = os.path.dirname(at)
        os.makedirs(folder, exist_ok=True)
        for made in reversed(missing):  # a new folder lasts once its parent's entry is on disk
            _sync_folder(os.path.dirname(made))
        if len(self._known_folders) >= _KNOWN_FOLDERS:
            self._known_folders.clear()
        self._known_folders.add(folder)

    def _write_temporary(self, data: bytes, durable: bool) -> str:
        folder = os.path.join(self._root, TEMPORARY)
        self._make_folder(folder)
        if not self._prepared:
            with self._lock:
                if not self._prepared:
                    _remove_left_behind(folder)
                    self._prepared = True
        path = f"{folder}/{os.getpid()}-{secrets.token_hex(8)}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            if durable:
                os.fsync(file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(file)
        return path


def _walk(
    folder: str, key_prefix: str, begin: str, after: bytes | None, ancestors: tuple[tuple[int, int], ...]
) -> Iterator[Entry]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in ancestors:
            log.warning("event=link_loop folder=%r followed=no", folder)
            return
        names: list[tuple[bytes, str, bool]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(begin):
                    continue
                inner = _is_folder(entry)
                key = key_prefix + entry.name + ("/" if inner else "")
                if inner and key == TEMPORARY + "/":
                    continue
                # A folder sorts as if its name ended in '/', which is how its keys sort.
                raw = os.fsencode(key)
                if after is not None and raw <= after and not (inner and after.startswith(raw)):
                    continue
                names.append((raw, entry.name, inner))
    except FileNotFoundError:
        return  # removed while it was listed
    except OSError as error:
        raise _store_error(error, folder) from error
    names.sort()
    for _, name, inner in names:
        path = f"{folder.rstrip('/')}/{name}"
        if inner:
            yield from _walk(path, f"{key_prefix}{name}/", "", after, (*ancestors, here))
            continue
        try:
            try:
                status = os.stat(path)
            except OSError as error:
                # A dangling or circular link is listed as itself: reading it is then somebody's failure row.
                if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EACCES):
                    raise
                status = os.lstat(path)
        except FileNotFoundError:
            continue  # removed while it was listed
        except OSError as error:
            raise _store_error(error, path) from error
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            yield _entry(key_prefix + name, status)
        else:
            log.warning("event=not_a_file path=%r listed=no", path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link
        return False


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, _etag(status), datetime.fromtimestamp(status.st_mtime, UTC))


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}"


def _read_whole(file: int, size: int) -> bytes:
    data = os.read(file, size + 1)  # one byte more shows a file that has grown
    if len(data) >= size:
        return data
    parts = [data]
    while part := os.read(file, 2**26):  # Linux reads at most 2 GiB at once, network folders less
        parts.append(part)
    return b"".join(parts)


def _rename_if_absent(old: str, new: str) -> None:
    """Atomically give `old` the name `new`; FileExistsError if that is taken."""
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL):
            raise
        _rename_noreplace(old, new)  # no hard links here: FAT and some network folders
    else:
        os.unlink(old)


def _rename_noreplace(old: str, new: str) -> None:
    if _libc().renameat2(-100, os.fsencode(old), -100, os.fsencode(new), 1) != 0:  # AT_FDCWD, RENAME_NOREPLACE
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), new)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _sync_folder(folder: str) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network folders cannot
            raise
    finally:
        os.close(file)


def _remove_left_behind(folder: str) -> None:
    """Remove the temporary files of writers that were killed."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            if time.time() - os.stat(path).st_mtime > _STALE_AFTER:
                os.unlink(path)


def _store_error(error: OSError, path: str, *, writing: bool = False) -> StoreError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR):
        kind = StoreError if writing else MissingObjectError
        return kind(f"{path}: {error.strerror}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ForbiddenError(f"{path}: {error.strerror}; give the user of this job access to it")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnavailableError(f"{path}: {error.strerror}; make room and run the same command again")
    return StoreUnavailableError(f"{path}: {error.strerror or error}")
