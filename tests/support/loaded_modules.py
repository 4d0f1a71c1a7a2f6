"""Which modules a command loads."""

import subprocess
import sys

_PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep=chr(10), file=sys.stderr))
from visrec_cli.main import main
main()
"""


def loaded_modules(*arguments):
    """Run `visrec *arguments`, and return the names of the modules that were loaded when it ended.

    `python -X importtime` does not name those that are loaded when a name of theirs is first used.
    """
    command = [sys.executable, "-c", _PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return set(done.stderr.splitlines())
