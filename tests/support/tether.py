"""Processes that end with the one that started them: a server does not outlive a pytest that was killed."""

import shutil

TETHER = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
"""What stands before a command; it replaces itself with that command."""
