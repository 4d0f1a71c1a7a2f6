"""The command line: a file for each command, of the same name, and what they share.

main                the program: its commands, its streams, and the one place where errors become a sentence
options             options that several commands have
jobs                running `index` and `embed`: progress, Ctrl-C, the report
streams, terminal   stdout and stderr: always usable, and harmless to a terminal
output              what a query and its matches look like, as text and as JSON; tables
evaluation_output   what measures look like, as text and as JSON
progress            a bar on a terminal, lines elsewhere
html                pages that need no other file
"""

import os
import signal
import sys

if os.getpid() == 1:  # of a container: Linux ignores a signal that process 1 does not handle, and imports take a while
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
