"""What travels between the server and who asks: every parameter, body and answer, as the OpenAPI document has it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

Value: TypeAlias = str | int | float | bool | None
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024, description="The id of an item.")]
Digest: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{64}$", description="The SHA-256 of an image's bytes, in hexadecimal.")
]
Where: TypeAlias = Annotated[
    str, Meta(max_length=20_000, description='A filter, such as `category == "mug" and price < 30`.')
]
Words: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2_000)]
Weight: TypeAlias = Annotated[float, Meta(gt=0, le=1e9, description="How much it counts beside the rest.")]
Score: TypeAlias = Annotated[float, Meta(ge=-1, le=1)]
Diversity: TypeAlias = Annotated[
    float, Meta(ge=0, lt=1, description="What a match loses for being like those before it; 0.3 is a good start.")
]
OnePer: TypeAlias = Annotated[
    str, Meta(max_length=1024, description="Show one item for each value of this attribute; `item` shows all variants.")
]
Sought: TypeAlias = Annotated[str, Meta(max_length=500, description="Words, or beginnings of words, of ids and texts.")]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000, description="How many items at most.")]


class Asked(Struct, forbid_unknown_fields=True):
    """An item that is asked for, or asked against."""

    id: Id
    weight: Weight | None = None


class AskedText(Struct, forbid_unknown_fields=True):
    """What items look like, in words."""

    text: Words
    weight: Weight = 1.0


class AskedUrl(Struct, forbid_unknown_fields=True):
    """An image, by its address."""

    url: Annotated[str, Meta(min_length=1, max_length=4_096)]
    weight: Weight = 1.0


class Seen(Struct, forbid_unknown_fields=True):
    """An item that a shopper met: at *time*, in seconds since 1970."""

    id: Id
    time: Annotated[float, Meta(ge=0, le=1e11)] = 0.0
    weight: Weight = 1.0


class PolicyBody(Struct, forbid_unknown_fields=True):
    """What holds for the answer; what is left out is as the server was started with."""

    one_per: str | UnsetType | None = UNSET
    where: Where | None = None
    exclude: Annotated[list[Id], Meta(max_length=1_000)] = []
    min_score: Score | UnsetType | None = UNSET
    diversity: Diversity | UnsetType = UNSET


class QueryBody(Struct, forbid_unknown_fields=True):
    """All that is asked for together: items, words, images by their addresses, a shopper's history."""

    items: Annotated[list[Id | Asked], Meta(max_length=100)] = []
    negatives: Annotated[list[Id | Asked], Meta(max_length=100)] = []
    texts: Annotated[list[Words | AskedText], Meta(max_length=8)] = []
    urls: Annotated[list[AskedUrl], Meta(max_length=8)] = []
    history: Annotated[list[Seen], Meta(max_length=10_000)] = []
    k: Count = 10
    where: Where | None = None
    explain: bool = False
    policy: PolicyBody = field(default_factory=PolicyBody)


class PolicyParameters(Struct, forbid_unknown_fields=True):
    """What an answer has to be like."""

    k: Count = 10
    where: Where | None = None
    one_per: OnePer | None = None
    exclude: Annotated[list[Id], Meta(max_length=1_000, description="Items not to answer with.")] = []
    min_score: Score | None = None
    diversity: Diversity | None = None
    explain: Annotated[bool, Meta(description="Say of each match why it is one.")] = False


class SimilarParameters(PolicyParameters):
    """What is asked for, in an address."""

    id: Annotated[list[Id], Meta(max_length=100, description="Items that are asked for.")] = []
    negative: Annotated[list[Id], Meta(max_length=100, description="Items to move away from.")] = []
    text: Annotated[list[Words], Meta(max_length=8, description="Words, for an encoder that reads them.")] = []


class ItemPath(Struct, forbid_unknown_fields=True):
    """An item."""

    id: Id


class ThumbnailParameters(Struct, forbid_unknown_fields=True):
    """An image of the index, and how large it is to be."""

    digest: Digest
    side: Annotated[
        Literal[160, 320, 640, 1280], Meta(description="Pixels of the longer side; a smaller image keeps its size.")
    ] = 320


class ItemsParameters(Struct, forbid_unknown_fields=True):
    """Which items."""

    q: Sought | None = None
    where: Where | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 40
    offset: Annotated[int, Meta(ge=0, le=10_000_000)] = 0


class PageParameters(Struct):
    """Whatever the address says is for the page, which reads it in the browser."""


class PagePath(Struct):
    """A file of the page."""

    file: str


class NoParameters(Struct, forbid_unknown_fields=True):
    """Nothing."""


class TermScore(Struct):
    """The score of a match for one term of the query: the cosine of its image with *image*, that of a query item."""

    kind: str
    query: str
    weight: float
    score: float
    image: str | None


class RuleEffect(Struct):
    """What a rule did to a match: it added *score_delta* for the ranking, or put it at *position*."""

    rule: str
    score_delta: float | None
    position: int | None


class Explanation(Struct):
    """Why an item is in an answer, and why at its place."""

    terms: list[TermScore]
    shared: dict[str, Value]
    effects: list[RuleEffect]
    relaxed: list[str]


class Match(Struct, omit_defaults=True):
    """A similar item, and the image by which it is."""

    rank: int
    id: str
    score: float
    image: str
    thumbnail: str
    attributes: dict[str, Value]
    explanation: Explanation | None = None


class Interest(Struct):
    """A part of a shopper's history, which *id* stands for, and its *share* of the answer."""

    id: str
    items: list[str]
    share: float


class Similar(Struct, omit_defaults=True):
    """An answer, best match first."""

    generation: int
    matches: list[Match]
    interests: list[Interest] = []


class Image(Struct):
    """An image of an item."""

    image: str
    digest: str
    thumbnail: str
    attributes: dict[str, Value]


class ItemAnswer(Struct):
    """An item with its images."""

    generation: int
    id: str
    attributes: dict[str, Value]
    images: list[Image]


class ItemLine(Struct):
    """An item of a list, with its first image."""

    id: str
    thumbnail: str
    attributes: dict[str, Value]


class Items(Struct):
    """Items of the catalog: *next* is the offset of those that follow, or null at the end."""

    generation: int
    items: list[ItemLine]
    next: int | None


class FacetAnswer(Struct):
    """An attribute that items can be filtered by: a "choice" of text, a "truth", or a "range" of numbers."""

    name: str
    kind: Literal["choice", "truth", "range"]
    items: int
    counts: list[tuple[str | bool, int]]
    low: float | None
    high: float | None
    bars: list[int]


class Facets(Struct):
    """What items can be filtered by."""

    generation: int
    facets: list[FacetAnswer]


class Info(Struct):
    """What is served."""

    visrec: str
    generation: int
    created: str
    items: int
    images: int
    dim: int
    encoder: str
    fingerprint: str
    index_type: str
    recall_at_10: float
    reads_text: bool
    takes_urls: bool
    needs_token: bool


class Health(Struct):
    """That the server is alive."""

    status: Literal["ok"]


class Readiness(Struct, omit_defaults=True):
    """Whether requests are answered, and by which generation; *refused* is why the newest one is not served."""

    status: Literal["ready"]
    generation: int
    refused: str | None = None


class Session(Struct, forbid_unknown_fields=True):
    """The token of the server, for a browser to keep as a cookie."""

    token: Annotated[str, Meta(min_length=1, max_length=4_096)]


class Problem(Struct):
    """What went wrong.

    *type* is a class of `vision_recs.errors`, *tree* that class and those above it. *details* are its fields: of an
    UnknownItem `item` and `nearest`, of an ImageError `reason`, of a FilterError `expression` and `position` ...
    """

    type: str
    tree: list[str]
    message: str
    status: int
    request_id: str
    details: dict[str, str | int | float | bool | list[str] | None]


class ProblemAnswer(Struct):
    """The one shape of all errors."""

    error: Problem
