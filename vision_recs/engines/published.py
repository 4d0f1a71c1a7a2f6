"""What an engine knows of a generation beside its records, so that a machine without the store can answer queries.

current            the `Published` of the generation that readers open: replacing it is what switches
generation-000007  the `Published` of a generation that is kept, to which `--rollback` can go back
sample-000007      vectors spread over the generation, for the distances that a history needs
projection-DIGEST  the projection that images and texts of queries go through, as `visrec tune` wrote it

Each is a document of the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vision_recs.engines.base import Engine, Kind
from vision_recs.engines.columns import Kinds
from vision_recs.errors import EngineDamaged, NothingPublished, UnknownFormat
from vision_recs.filters import AttributeType
from vision_recs.store.layout import encoder_spec
from vision_recs.types import EncoderSpec

CURRENT = "current"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Published:
    """A generation in an engine.

    *token* opens its records. *source* tells the generation from one of the same number in another store; *store* tells
    the store from others, and is the same in all of its generations. *images* is the number of records, and *content* a
    digest of their keys and hashes. *kinds* are the columns of each attribute, and *attribute_types* what the values
    are. *effort* is that of a search which finds *recall* of the 10 nearest images, without and with filters; it is
    None where every search is exact. A generation that is *withdrawn* was gone back from.
    """

    generation: int
    source: str
    token: str
    created: str
    published: str
    visrec: str
    space: str
    dim: int
    encoder: EncoderSpec
    weights_file: str | None
    canary: str
    projection: str | None
    catalog: str
    items: int
    images: int
    content: str
    kinds: Kinds
    attribute_types: Mapping[str, AttributeType]
    effort: int | None = None
    recall: float = 1.0
    store: str = ""
    withdrawn: bool = False

    @property
    def document(self) -> str:
        """The name of the document that keeps this generation."""
        return f"{_KEPT}{self.generation:06d}"

    @property
    def sample_document(self) -> str:
        """The name of the document with vectors spread over the generation."""
        return f"sample-{self.generation:06d}-{self.source[:16]}"

    @property
    def projection_document(self) -> str | None:
        """The name of the document with the projection, if the generation has one."""
        return None if self.projection is None else f"projection-{self.projection}"

    def with_search(self, effort: int | None, recall: float) -> Published:
        """Return the same generation with what was measured of its searches."""
        return replace(self, effort=effort, recall=recall)

    def to_bytes(self) -> bytes:
        """Return the JSON text of the document."""
        value = {"format": FORMAT, **asdict(self)}
        value["kinds"] = {name: sorted(own) for name, own in self.kinds.items()}
        value["attribute_types"] = {name: types.value for name, types in self.attribute_types.items()}
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")

    @classmethod
    def from_bytes(cls, data: bytes, *, uri: str) -> Published:
        """Return what `to_bytes` wrote; raises EngineDamaged, and UnknownFormat for what a newer visrec wrote."""
        try:
            value: dict[str, Any] = json.loads(data)
            if value.pop("format") > FORMAT:
                raise UnknownFormat(f"{uri} was published by visrec {value.get('visrec')}, newer than this one")
            value["encoder"] = encoder_spec(value["encoder"])
            kinds: dict[str, list[Kind]] = value["kinds"]
            value["kinds"] = {name: frozenset(own) for name, own in kinds.items()}
            value["attribute_types"] = {name: AttributeType(own) for name, own in value["attribute_types"].items()}
            return cls(**value)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise EngineDamaged(
                f"what {uri} says of its generation cannot be read ({error}); run `visrec publish {uri}` again"
            ) from error


_KEPT = "generation-"


def read_current(engine: Engine) -> Published | None:
    """Return the generation that readers open, or None where nothing is published; raises EngineError."""
    data = engine.documents.read([CURRENT]).get(CURRENT)
    return None if data is None else Published.from_bytes(data, uri=engine.uri)


def require_current(engine: Engine) -> Published:
    """Return the generation that readers open; raises NothingPublished."""
    found = read_current(engine)
    if found is None:
        raise NothingPublished(f"nothing is published in {engine.uri}; run `visrec publish {engine.uri}`")
    return found


@dataclass(frozen=True, slots=True)
class Known:
    """What an engine knows: the generation that readers open, those that are kept, newest first, and what is damaged.

    Where the document of the *current* one is *unreadable*, or is not there, *current* is None. *document* is that
    document as it was read.
    """

    current: Published | None
    kept: Sequence[Published]
    unreadable: Sequence[str]
    document: bytes | None

    @property
    def newest(self) -> Published | None:
        """The newest generation that was ever published, as far as the engine knows."""
        known = [*self.kept] if self.current is None else [self.current, *self.kept]
        return max(known, key=lambda each: each.generation, default=None)

    def unsettled(self, current: Published) -> list[Published]:
        """Return what the documents of generations have to say after runs that were stopped just after a switch."""
        is_kept = any(each.generation == current.generation for each in self.kept)
        newer = [each for each in self.kept if each.generation > current.generation and not each.withdrawn]
        return [*([] if is_kept else [current]), *(replace(each, withdrawn=True) for each in newer)]

    def before(self, generation: int) -> list[Published]:
        """Return the generations to which one can go back from *generation*, the newest first."""
        return [each for each in self.kept if each.generation < generation and not each.withdrawn]


def read_known(engine: Engine) -> Known:
    """Return what *engine* knows; raises UnknownFormat for what a newer visrec wrote. What is damaged is named only."""
    documents = engine.documents.read(prefixes=[CURRENT, _KEPT])
    found, unreadable = {}, []
    for name in sorted(documents, reverse=True):
        try:
            found[name] = Published.from_bytes(documents[name], uri=engine.uri)
        except EngineDamaged:
            unreadable.append(name)
    current = found.pop(CURRENT, None)
    return Known(current, list(found.values()), unreadable, documents.get(CURRENT))
