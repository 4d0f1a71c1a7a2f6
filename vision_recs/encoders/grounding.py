"""Finding a product in an image by words: a zero-shot detector (Grounding DINO, Liu et al., 2023) of transformers.

The detector is asked for the words that the catalog has for the item, and answers with boxes and scores. The box with
the highest score is what the encoder looks at. Weights are a folder of the user's, or a repository of huggingface.co;
only safetensors are read, which cannot run code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vision_recs.errors import MissingExtra, WeightsNotFound
from vision_recs.images.crop import WHOLE, Crop
from vision_recs.types import Attribute

if TYPE_CHECKING:
    from PIL import Image

LEAST_SCORE: Final = 0.3
"""Below it the detector has found nothing: the makers' own examples take 0.3 to 0.4."""

ATTRIBUTES: Final = ("category", "product_type", "title", "name")
"""The attributes whose words are asked for: the first of them that an item has."""

BATCH: Final = 8

_MARGIN: Final = 0.05
"""What is added to each side of a box, as a share of the box: boxes are tight, and edges are part of a product."""

_WORDS: Final = 12
"""The words of a title that are asked for: the first ones name the product, and the detector reads few."""


class Detector:
    """A detector, ready to find products; use it from one thread at a time."""

    def __init__(self, model: Any, processor: Any, device: str) -> None:  # noqa: ANN401 - of transformers, untyped
        """Compute with *model* on *device* what *processor* prepares."""
        from vision_recs.encoders.backbone import digest

        self._model = model.eval().to(device)
        self._processor = processor
        self._device = device
        self.digest = digest(model)

    def find(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Crop]:
        """Return, for each of *images* (mode RGB), the part that shows what its text names, or all of the image.

        That is the box with the highest score, LEAST_SCORE at least, with a margin. Without words all is the part. What
        is found does not depend on the other images: only those of one size are computed together, so that none is
        padded.
        """
        asked: dict[tuple[int, int], list[int]] = {}
        for number, (image, text) in enumerate(zip(images, texts, strict=True)):
            if text:
                asked.setdefault(image.size, []).append(number)
        found = [WHOLE] * len(images)
        for numbers in asked.values():
            for some in (numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)):
                boxes = self._best([images[number] for number in some], [f"{texts[number]}." for number in some])
                for number, box in zip(some, boxes, strict=True):
                    found[number] = box
        return found

    def _best(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[Crop]:
        from vision_recs._torch import torch

        inputs = self._processor(
            images=list(images), text=list(prompts), padding=True, truncation=True, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        scores, places = outputs.logits.float().sigmoid().amax(dim=2).max(dim=1)
        boxes = outputs.pred_boxes.float()[torch.arange(len(images)), places]
        rows = zip(scores.tolist(), boxes.tolist(), strict=True)
        return [_crop(*box) if score >= LEAST_SCORE else WHOLE for score, box in rows]


def load_detector(place: str, *, device: str = "cpu") -> Detector:
    """Return the detector in the folder *place*, or of the repository *place* of huggingface.co.

    Raises MissingExtra where transformers is not installed, and WeightsNotFound where there is no such detector.
    """
    import vision_recs._torch  # noqa: F401 - before transformers imports it

    try:
        from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtra(
            f"--focus grounding needs the package transformers ({error}); run `pip install 'visrec[grounding]'`"
        ) from error
    untyped: Any = logging
    untyped.disable_progress_bar()  # the program shows its own
    try:
        processor = GroundingDinoProcessor.from_pretrained(place)
        model = GroundingDinoForObjectDetection.from_pretrained(place, use_safetensors=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsNotFound(
            f"{place} has no Grounding DINO that can be loaded ({type(error).__name__}: {reason}); name a folder with "
            "config.json, model.safetensors and the files of its tokenizer, or a repository as "
            "IDEA-Research/grounding-dino-tiny"
        ) from error
    return Detector(model, processor, device)


@dataclass(frozen=True, slots=True)
class ProductFinder:
    """A *detector* that is asked for the words of the first of *attributes* that an item has."""

    detector: Detector
    attributes: tuple[str, ...] = ATTRIBUTES

    @property
    def description(self) -> str:
        """What decides which part of an image is found, as JSON: the focus of a spec."""
        value = {"detector": self.detector.digest, "attributes": self.attributes, "score": LEAST_SCORE}
        return json.dumps({"focus": "grounding", **value, "margin": _MARGIN})

    def find(self, images: Sequence[Image.Image], items: Sequence[Mapping[str, Attribute]]) -> list[Crop]:
        """Return, for each of *images* (mode RGB), the part that shows the one of *items*, by its attributes."""
        return self.detector.find(images, [words_of(attributes, self.attributes) for attributes in items])


def words_of(attributes: Mapping[str, Attribute], names: Sequence[str] = ATTRIBUTES) -> str:
    """Return the words that are asked for an item with *attributes*: the first of *names* that is a text, in small."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str):
            words = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", value.lower())  # a full stop would end the phrase
            if words:
                return " ".join(words[:_WORDS])
    return ""


def _crop(x: float, y: float, width: float, height: float) -> Crop:
    """Return the box around the middle *x*, *y*, with its margin, as far as it lies in the image."""
    across, down = width * (0.5 + _MARGIN), height * (0.5 + _MARGIN)
    left, right, top, bottom = max(0.0, x - across), min(1.0, x + across), max(0.0, y - down), min(1.0, y + down)
    return Crop.of(left, top, right - left, bottom - top) if right > left and bottom > top else WHOLE
