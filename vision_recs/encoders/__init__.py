"""Encoders: a name to something that turns prepared pixels into vectors.

Importing this package imports neither torch nor Pillow; `load_encoder` imports the one library that the name needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs.lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.encoders.loading import load_encoder
    from vision_recs.encoders.names import DEFAULT_ENCODER, EncoderInfo, canonical_name, list_encoders
    from vision_recs.encoders.probing import probe
    from vision_recs.encoders.space import LoadOptions, Space, choose_space
    from vision_recs.encoders.text import TextEncoder, load_text_encoder

_HOMES = {
    "DEFAULT_ENCODER": "names",
    "EncoderInfo": "names",
    "LoadOptions": "space",
    "Space": "space",
    "TextEncoder": "text",
    "canonical_name": "names",
    "choose_space": "space",
    "list_encoders": "names",
    "load_encoder": "loading",
    "load_text_encoder": "text",
    "probe": "probing",
}

__all__ = [
    "DEFAULT_ENCODER",
    "EncoderInfo",
    "LoadOptions",
    "Space",
    "TextEncoder",
    "canonical_name",
    "choose_space",
    "list_encoders",
    "load_encoder",
    "load_text_encoder",
    "probe",
]

__getattr__ = lazy_names(__name__, _HOMES)
