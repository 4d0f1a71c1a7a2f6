"""A program on a terminal, without a person before it."""

import os
from concurrent.futures import ThreadPoolExecutor


def on_a_terminal(run):
    """Call *run* with the device of a new terminal, and return what it returns, and the bytes that it wrote there."""
    leader, follower = os.openpty()

    def run_and_close():
        try:
            return run(os.ttyname(follower))
        finally:
            os.close(follower)

    written = b""
    with ThreadPoolExecutor(1) as pool:
        returned = pool.submit(run_and_close)
        try:
            while part := os.read(leader, 1 << 16):
                written += part
        except OSError:  # nobody has the terminal open any more
            pass
    os.close(leader)
    return returned.result(), written
