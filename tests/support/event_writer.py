"""A process whose forks append events until they are ended, and say how far they have been acknowledged."""

import os
import signal

from forks import Forks, carry_out_orders

from vision_recs.feedback.event_log import EventLog
from vision_recs.feedback.records import Event


def write(folder, first, seconds, said):
    """Append events from number *first* on; the kernel ends this *seconds* after the log is open, wherever it is.

    They are a minute apart: so many days come of it that a compaction reads a few of them, and not all events so far.
    """
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    log, number = EventLog(folder, worker="writer"), first
    os.write(file, b"%d\n" % number)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    while True:
        batch = [
            Event(f"e{each}", "click", "mug", 1_780_000_000.0 + 60.0 * each, shopper="s")
            for each in range(number, number + 20)
        ]
        log.append([*batch, *batch[:2]])  # a client that sends some of them again
        number += 20
        os.write(file, b"%d\n" % number)


def writing_forks():
    """Return the process, which is to be entered."""
    return Forks(__file__)


if __name__ == "__main__":
    carry_out_orders(lambda order: write(*order))
