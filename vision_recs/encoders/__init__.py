"""Encoders: from a name to an object that turns pixels into vectors.

`registry`           the table of encoders: families, names, sizes, licenses; `register_family` adds to it
`names`              the names of composite encoders: A+B@0.5
`composite`          several encoders as one, their vectors side by side
`loading`            a name -> an encoder (`load_encoder`): which adapter, which runtime
`backbone`           what an adapter returns: the image backbone or the text tower of a model
`open_clip`, `timm`, `torchvision`   the adapters: they build the networks of these libraries
`gem`                an encoder with another pooling
`focus`              an encoder that looks closer at what it responds to
`looking`            vectors, and the parts of the images that an encoder looked at
`grounding`          a detector that finds the product of an item in its images by words
`color`              a histogram of colors as an encoder, which reads their names
`words`              the words of items as a part beside their images
`weights`            checkpoint files: found, fetched, read without running code
`torch_runtime`      runs a backbone with PyTorch, also on several devices; the reference
`openvino_runtime`   runs a converted backbone on the CPU, many times as fast
`model_cache`        converted models on the disk, compared with their digests
`text`               texts -> vectors, for encoders with a text tower
`canary`             the vector of the built-in image, by which runtimes are compared
`store_encoder`      the encoder that belongs to a store

Importing this package imports neither torch nor Pillow; `load_encoder` imports the one library that the name needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.encoders.canary import check_canary, embed_canary
    from vision_recs.encoders.loading import load_encoder
    from vision_recs.encoders.registry import (
        DEFAULT_ENCODER,
        EncoderFamily,
        EncoderInfo,
        NamedEncoder,
        canonical_name,
        list_encoders,
        register_family,
        supports_text,
        with_focus,
    )
    from vision_recs.encoders.store_encoder import LoadOptions, StoreEncoder, choose_store_encoder
    from vision_recs.encoders.text import TextEncoder, load_text_encoder

_HOMES = {
    "DEFAULT_ENCODER": "registry",
    "EncoderFamily": "registry",
    "EncoderInfo": "registry",
    "LoadOptions": "store_encoder",
    "NamedEncoder": "registry",
    "StoreEncoder": "store_encoder",
    "TextEncoder": "text",
    "canonical_name": "registry",
    "check_canary": "canary",
    "choose_store_encoder": "store_encoder",
    "embed_canary": "canary",
    "list_encoders": "registry",
    "load_encoder": "loading",
    "load_text_encoder": "text",
    "register_family": "registry",
    "supports_text": "registry",
    "with_focus": "registry",
}

__all__ = [
    "DEFAULT_ENCODER",
    "EncoderFamily",
    "EncoderInfo",
    "LoadOptions",
    "NamedEncoder",
    "StoreEncoder",
    "TextEncoder",
    "canonical_name",
    "check_canary",
    "choose_store_encoder",
    "embed_canary",
    "list_encoders",
    "load_encoder",
    "load_text_encoder",
    "register_family",
    "supports_text",
    "with_focus",
]

__getattr__ = lazy_names(__name__, _HOMES)
