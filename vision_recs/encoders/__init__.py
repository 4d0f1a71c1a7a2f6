"""Encoders: a name to something that turns prepared pixels into vectors.

Importing this package imports neither torch nor Pillow; `load_encoder` imports the one library that the name needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.encoders.canary import probe
    from vision_recs.encoders.loading import load_encoder
    from vision_recs.encoders.registry import DEFAULT_ENCODER, EncoderInfo, canonical_name, list_encoders
    from vision_recs.encoders.store_encoder import LoadOptions, Space, choose_space
    from vision_recs.encoders.text import TextEncoder, load_text_encoder

_HOMES = {
    "DEFAULT_ENCODER": "registry",
    "EncoderInfo": "registry",
    "LoadOptions": "store_encoder",
    "Space": "store_encoder",
    "TextEncoder": "text",
    "canonical_name": "registry",
    "choose_space": "store_encoder",
    "list_encoders": "registry",
    "load_encoder": "loading",
    "load_text_encoder": "text",
    "probe": "canary",
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
