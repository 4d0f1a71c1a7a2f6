"""Python loads this file at the start of each process that a test starts: there is no network in a test."""

import no_network

no_network.forbid()
