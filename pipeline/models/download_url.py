"""Downloads a network's file from the address on its card; what came so far is kept when a connection breaks."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models.card import Address
from mattemill.pipeline.models.download import Downloaded

_BLOCK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_ATTEMPTS = 5
_FINAL = range(400, 500)  # answers that do not change when one asks again


def download_address(
    model: str, source: Address, into: Path, downloaded: Downloaded, *, pause: float = 2.0, timeout: float = _TIMEOUT
) -> None:
    """Write the file at the address to `into`; its hash is for the caller to check.

    The proxies of the environment are used. A connection that breaks is taken up again where it broke, after `pause`
    seconds, then twice as many, five attempts in all. Raises ModelError when the address does not give the file, or
    gives more bytes than the card says.
    """
    into.unlink(missing_ok=True)
    into.touch()
    problem = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            if _continue(source, into, downloaded, timeout):
                return
            problem = f"the connection ended after {into.stat().st_size} of {source.download_bytes} bytes"
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code} {error.reason}"
            if error.code in _FINAL and error.code not in (408, 416, 429):
                break
            if error.code == 416:  # what we have is no beginning of the file any more
                into.write_bytes(b"")
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        except _TooLong:
            problem = f"it is longer than the {source.download_bytes} bytes that the card says"
            break
    raise ModelError(
        f"model {model} could not be downloaded from {source.url}: {problem}. Is the machine offline, or behind a "
        f"proxy (HTTPS_PROXY)? Download it elsewhere and run `mattemill models fetch {model} --from-file PATH`"
    )


class _TooLong(Exception):
    """The address gives more than the card says."""


def _continue(source: Address, into: Path, downloaded: Downloaded, timeout: float) -> bool:
    """Append what is missing; whether all of it is there."""
    have = into.stat().st_size
    request = urllib.request.Request(source.url, headers={"User-Agent": "mattemill", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        if have and (answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            have = 0  # a server that does not continue begins anew
        with into.open("r+b") as file:
            file.seek(have)
            file.truncate()
            while block := answer.read1(_BLOCK):
                have += len(block)
                if have > source.download_bytes:
                    raise _TooLong
                file.write(block)
                downloaded(have)
    return have == source.download_bytes
