"""Text for a terminal: what a shop's data, or a file, holds must not control it.

An escape sequence in a title could write into the clipboard, an override of the writing direction show another id.
"""

from __future__ import annotations

_CODES = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: repr(chr(code))[1:-1] for code in _CODES}
_OF_LINES = {code: escape for code, escape in _ESCAPES.items() if chr(code) not in "\n\t"}
_OF_JSON = {code: f"\\u{code:04x}" for code in _ESCAPES}


def one_line(text: str) -> str:
    """Return *text* with escapes in place of all characters that control a terminal, line ends among them."""
    return text if text.isprintable() else text.translate(_ESCAPES)


def lines(text: str) -> str:
    """Return *text* as `one_line` does, but with its line ends and tabs."""
    return text if text.isprintable() else text.translate(_OF_LINES)


def json_line(text: str) -> str:
    """Return *text*, one line of JSON, with such characters escaped as JSON has it: it means the same."""
    return text if text.isprintable() else text.translate(_OF_JSON)
