"""Images decoded in a process of their own: what crashes, hangs or fills the memory there harms nothing else.

The program writes a task and the bytes of an image to the process, and reads what the task returns, as bytes. It never
unpickles what comes back: a decoder that was taken over would send it something else.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import REASONS, DecoderUnavailable, ImageError
from vision_recs.images.crop import WHOLE, Crop
from vision_recs.images.decoding import MAX_DECODED_BYTES, MAX_PIXELS, decode
from vision_recs.images.loading import load
from vision_recs.images.thumbnails import thumbnail
from vision_recs.types import Preprocess

Task: TypeAlias = Callable[[bytes], bytes]
"""A function of a module, or a `partial` of one: bytes of an image -> bytes of what it became."""

MAX_SECONDS: Final = 60.0
"""The processor time that one image may take."""

_WALL: Final = 6
"""Times the processor time that an image may take altogether, on a machine that is busy with other things."""

_SPARE_BYTES: Final = 2**29
_STACK_BYTES: Final = 2**24  # of a thread of a decoder; some start one for each core
_START_S: Final = 60.0
_REQUEST: Final = struct.Struct(">QQ")
_REPLY: Final = struct.Struct(">cQ")
_READY, _RESULT, _UNUSABLE, _FAILED = b"r", b"+", b"-", b"!"


class DecoderProcess:
    """A process that decodes one image at a time, with limits on memory and time, and that is replaced when it dies.

    It starts with the first image (0.15 s, 50 MB). Safe to use from several threads, one after the other.
    """

    def __init__(self, *, max_seconds: float = MAX_SECONDS, max_bytes: int = MAX_DECODED_BYTES) -> None:
        """Give each image *max_seconds* of processor time, six times as many seconds, and *max_bytes* of memory."""
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def load(
        self, data: bytes, config: Preprocess, *, max_pixels: int = MAX_PIXELS, crop: Crop = WHOLE
    ) -> NDArray[np.uint8]:
        """Return what `images.load` returns; raises what it raises, and as `run` does."""
        height, width = config.size
        pixels = self.run(
            partial(_pixels, config=config, max_pixels=max_pixels, crop=crop), data, most=height * width * 3
        )
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    def thumbnail(self, data: bytes, *, max_side: int, max_pixels: int = MAX_PIXELS) -> bytes:
        """Return the thumbnail of the image in *data*; raises what `decode` raises, and as `run` does."""
        task = partial(_thumbnail, max_side=max_side, max_pixels=max_pixels)
        return self.run(task, data, most=4 * max_side**2 + 2**16)

    def run(self, task: Task, data: bytes, *, most: int) -> bytes:
        """Return `task(data)`, at most *most* bytes.

        Raises the ImageError of *task*; ImageError "crashed" where the process ended, "too-slow" where it took longer
        than it may; and DecoderUnavailable where no process can be started.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self.close()  # it was killed while it had nothing to do
            process = self._process = self._process or self._start()
            deadline = _Deadline(process, _WALL * self._max_seconds)
            with deadline:
                reply = _exchange(process, task, data, most)
            if reply is None or deadline.has_passed:
                self._process = None
                raise self._death(_end(process), is_late=deadline.has_passed)
        kind, body = reply
        if kind == _RESULT:
            return body
        raise _error_of(kind, body)

    def close(self) -> None:
        """End the process, and whatever it does; a later image starts another one."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _start(self) -> subprocess.Popen[bytes]:
        code = "import sys; sys.path[:] = {!r}; from vision_recs.images.isolation import serve; serve({!r}, {!r})"
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # both take address space
        try:
            process = subprocess.Popen(  # noqa: S603 - this Python, and numbers
                [sys.executable, "-c", code.format(sys.path, self._max_seconds, self._max_bytes)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it could say what strangers want it to
                start_new_session=True,  # Ctrl-C is for the program
            )
        except OSError as error:
            raise DecoderUnavailable(f"no process to decode images can be started ({error.strerror})") from error
        with _Deadline(process, _START_S):
            reply = _receive(process.stdout, 0)
        if reply is None or reply[0] != _READY:
            raise DecoderUnavailable(
                f"the process to decode images ended while it started ({_end(process)}); free memory, and check that "
                f"{sys.executable} can import vision_recs"
            )
        return process

    def _death(self, how: str, *, is_late: bool) -> ImageError:
        if is_late or how == "SIGXCPU":
            return ImageError("too-slow", f"decoding took more than {self._max_seconds:g} s; save the image anew")
        return ImageError("crashed", f"the decoder ended ({how}); save the image anew")


class _Deadline:
    """Kills *process* if the block takes longer than *seconds*."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process = process
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self.has_passed = False

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()  # it may be about to kill

    def _end(self) -> None:
        self.has_passed = True
        self._process.kill()


def _exchange(process: subprocess.Popen[bytes], task: Task, data: bytes, most: int) -> tuple[bytes, bytes] | None:
    """Return kind and body of the reply to a request, or None where the process has ended or says anything else."""
    what = pickle.dumps(task)
    assert process.stdin is not None
    try:
        process.stdin.write(_REQUEST.pack(len(what), len(data)) + what)
        process.stdin.write(data)
        process.stdin.flush()
    except OSError:
        return None
    return _receive(process.stdout, most)


def _receive(stream: IO[bytes] | None, most: int) -> tuple[bytes, bytes] | None:
    """Return kind and body of a reply of at most *most* bytes, or of an error; None where there is none."""
    assert stream is not None
    head = stream.read(_REPLY.size)
    if len(head) < _REPLY.size:
        return None
    kind, length = _REPLY.unpack(head)
    if length > max(most, 2**16):
        return None
    body = stream.read(length)
    return (kind, body) if len(body) == length else None


def _error_of(kind: bytes, body: bytes) -> ImageError:
    text = body.decode("utf-8", "replace")
    if kind == _UNUSABLE:
        with suppress(ValueError):
            reason, message = json.loads(text)
            if reason in REASONS:
                return ImageError(reason, str(message))
    return ImageError("crashed", f"the decoder failed ({text[:100]}); save the image anew")


def _end(process: subprocess.Popen[bytes]) -> str:
    """End *process* and return how it has ended: the name of a signal, or a status."""
    process.kill()
    status = process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not sent yet cannot be
            if pipe is not None:
                pipe.close()
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"status {status}"


# In the process


def serve(max_seconds: float, max_bytes: int) -> None:
    """Answer requests from stdin on stdout until stdin is closed."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints is not a reply
    _limit_memory(max_bytes)
    _reply(replies, _READY)
    while head := requests.read(_REQUEST.size):
        of_task, of_data = _REQUEST.unpack(head)
        _limit_time(max_seconds)
        _reply(replies, *_outcome(requests, of_task, of_data))


def _outcome(requests: BufferedReader, of_task: int, of_data: int) -> tuple[bytes, bytes]:
    try:
        task = pickle.loads(requests.read(of_task))  # noqa: S301 - from the program that started this process
        return _RESULT, task(requests.read(of_data))
    except ImageError as error:
        return _UNUSABLE, json.dumps([error.reason, str(error)]).encode()
    except MemoryError:
        message = "decoding the image takes more memory than it may; make it smaller"
        return _UNUSABLE, json.dumps(["too-large", message]).encode()
    except Exception as error:  # noqa: BLE001 - the program says it
        return _FAILED, type(error).__name__.encode()


def _reply(replies: IO[bytes], kind: bytes, body: bytes = b"") -> None:
    replies.write(_REPLY.pack(kind, len(body)))
    replies.write(body)
    replies.flush()


def _limit_memory(max_bytes: int) -> None:
    """Let an image take *max_bytes* beside what the process has now; and write no image of the memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # only Linux says and limits how much address space there is
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        threads = (os.cpu_count() or 1) * _STACK_BYTES
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + max_bytes + threads + _SPARE_BYTES)


def _limit_time(max_seconds: float) -> None:
    _lower(resource.RLIMIT_CPU, math.ceil(time.process_time() + max_seconds))


def _lower(what: int, limit: int) -> None:
    most = resource.getrlimit(what)[1]
    resource.setrlimit(what, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _pixels(data: bytes, **options: Any) -> bytes:  # noqa: ANN401 - those of `load`
    return load(data, **options).tobytes()


def _thumbnail(data: bytes, *, max_side: int, max_pixels: int) -> bytes:
    return thumbnail(decode(data, max_pixels=max_pixels), max_side=max_side)
