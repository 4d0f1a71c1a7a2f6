"""Tasks for a decoder process that do what a broken decoder may do, when the bytes say so."""

import ctypes
import os
import signal
import sys
import time

from vision_recs.errors import ImageError


def obey(data):
    """Do what *data* says, and else return it backwards."""
    name, _, rest = data.partition(b":")
    return ACTS.get(name, lambda _: data[::-1])(rest)


def segfault(_):
    ctypes.string_at(0)


def spin(_):
    while True:
        pass


def sleep(_):
    time.sleep(600)


def eat(size):
    return bytes(int(size))[:1]


def eat_without_a_word(size):
    """As C does where nobody looks at what malloc returns."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    ctypes.memset(libc.malloc(int(size)) or 0, 1, 10)


def leave(status):
    os._exit(int(status))


def be_killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(message):
    raise ImageError("truncated", message.decode())


def fail(message):
    raise ZeroDivisionError(message.decode())


def chatter(text):
    sys.stdout.write(text.decode())
    sys.stdout.flush()
    os.write(1, b"from C")
    return b"quiet"


def answer_with(count):
    return bytes(int(count))


def work(seconds):
    """Take so many seconds of processor time."""
    until = time.process_time() + float(seconds)
    while time.process_time() < until:
        pass
    return b"done"


ACTS = {
    b"segfault": segfault,
    b"spin": spin,
    b"sleep": sleep,
    b"eat": eat,
    b"malloc": eat_without_a_word,
    b"leave": leave,
    b"kill": be_killed,
    b"refuse": refuse,
    b"fail": fail,
    b"chatter": chatter,
    b"work": work,
    b"long": answer_with,
}
