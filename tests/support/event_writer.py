"""A process that appends events until it is killed, and says the number of the last one that was acknowledged."""

import sys

from vision_recs.feedback.event_log import EventLog
from vision_recs.feedback.records import Event


def acknowledge(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main(folder, first):
    log, number = EventLog(folder, worker="writer"), first
    acknowledge(number)
    while True:
        batch = [
            Event(f"e{each}", "click", "mug", 1_780_000_000.0 + each, shopper="s")
            for each in range(number, number + 20)
        ]
        log.append([*batch, *batch[:2]])  # a client that sends some of them again
        number += 20
        acknowledge(number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
