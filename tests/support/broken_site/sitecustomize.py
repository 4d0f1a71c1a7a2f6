"""Python loads this file at the start of a process that a test starts with a broken decoder; see `broken_decoder`."""

import broken_decoder
import no_network

no_network.forbid()
broken_decoder.install()
