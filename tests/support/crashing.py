"""A process that dies at a step of its work: from then on, nothing on the disk changes."""

import os

STEPS = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "link")


class Crash(BaseException):
    """The process is dead: nothing catches this."""


def crash_after(steps, monkeypatch):
    """Let *steps* changes of the disk happen, and then none any more; return the calls that came."""
    calls = []

    def dying(name, real):
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) > steps:
                raise Crash(name)
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, dying(name, getattr(os, name)))
    return calls
