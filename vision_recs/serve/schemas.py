"""The schemas of the HTTP API: parameters, bodies and answers, as the OpenAPI document has them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

MAX_IMAGES: Final = 8
"""Images of one query."""

MAX_CHANGES: Final = 10_000
"""Changes of one request."""

MAX_EVENTS: Final = 1_000
"""Events of one request."""

Value: TypeAlias = str | int | float | bool | None
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024, description="The id of an item.")]
Digest: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{64}$", description="The SHA-256 of an image's bytes, in hexadecimal.")
]
Where: TypeAlias = Annotated[
    str, Meta(max_length=20_000, description='A filter, such as `category == "mug" and price < 30`.')
]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2_000)]
ColorText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Colors: TypeAlias = Annotated[
    list[ColorText],
    Meta(max_length=8, description="Colors that the images of an item show, such as navy; all of them."),
]
CropText: TypeAlias = Annotated[
    str,
    Meta(
        max_length=200,
        description="The part of the image that is meant: x,y,width,height as shares of its width and height.",
    ),
]
Box: TypeAlias = tuple[float, float, float, float]
Weight: TypeAlias = Annotated[float, Meta(gt=0, le=1e9, description="The weight beside the other terms of the query.")]
Score: TypeAlias = Annotated[float, Meta(ge=-1, le=1)]
Diversity: TypeAlias = Annotated[
    float, Meta(ge=0, lt=1, description="How much a match loses for being like the matches before it; try 0.3.")
]
OnePer: TypeAlias = Annotated[
    str, Meta(max_length=1024, description="Show one item for each value of this attribute; `item` shows all variants.")
]
SearchText: TypeAlias = Annotated[
    str, Meta(max_length=500, description="Words, or beginnings of words, of ids and texts.")
]
Sort: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        description="An attribute to sort by; `-price` has the highest first, where a lower `sale_price` counts.",
    ),
]
ChangeBody: TypeAlias = dict[str, Value | list[Value]]
Shopper: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        description="Whoever is shown the answer, by a name that the shop chose; only a pseudonym is kept.",
    ),
]
ReportsShown: TypeAlias = Annotated[
    bool, Meta(description='The page tells which items were seen, by events of the type "shown": only these count.')
]
K: TypeAlias = Annotated[int, Meta(ge=1, le=1_000, description="The largest number of items in the answer.")]


class WeightedItem(Struct, forbid_unknown_fields=True):
    """An item of a query."""

    id: Id
    weight: Weight | None = None


class WeightedText(Struct, forbid_unknown_fields=True):
    """A text that describes how items look."""

    text: Text
    weight: Weight = 1.0


class ImageUrl(Struct, forbid_unknown_fields=True):
    """An image that the server downloads."""

    url: Annotated[str, Meta(min_length=1, max_length=4_096)]
    weight: Weight = 1.0
    crop: CropText | None = None


class HistoryEvent(Struct, forbid_unknown_fields=True):
    """An item that a shopper has viewed or bought, at *time*, in seconds since 1970."""

    id: Id
    time: Annotated[float, Meta(ge=0, le=1e11)] = 0.0
    weight: Weight = 1.0


class PolicyBody(Struct, forbid_unknown_fields=True):
    """The policy of an answer; a field that is left out is as the server was started with."""

    one_per: str | UnsetType | None = UNSET
    where: Where | None = None
    exclude: Annotated[list[Id], Meta(max_length=1_000)] = []
    min_score: Score | UnsetType | None = UNSET
    diversity: Diversity | UnsetType = UNSET


class QueryBody(Struct, forbid_unknown_fields=True):
    """A query of several terms: items, texts, URLs of images, a shopper's history."""

    items: Annotated[list[Id | WeightedItem], Meta(max_length=100)] = []
    negatives: Annotated[list[Id | WeightedItem], Meta(max_length=100)] = []
    texts: Annotated[list[Text | WeightedText], Meta(max_length=8)] = []
    image_urls: Annotated[list[ImageUrl], Meta(max_length=MAX_IMAGES)] = []
    history: Annotated[list[HistoryEvent], Meta(max_length=10_000)] = []
    k: K = 10
    where: Where | None = None
    colors: Colors = []
    explain: bool = False
    apart: Annotated[bool, Meta(description="Each image is an interest of its own, and gets its share.")] = False
    cover: bool = False
    policy: PolicyBody = field(default_factory=PolicyBody)
    shopper: Shopper | None = None
    reports_shown: ReportsShown = False


class UpdateBody(Struct, forbid_unknown_fields=True):
    """Changes of items, in the order in which they are made.

    A change names an item by its `id`. Its other keys are attributes, which take the place of those of the same name;
    `image` (one, or a list that is not empty), which takes the place of all images of the item, and adds an item that
    is new; `deleted`, which removes the item if it is true; and `version`, a whole number or a time: the change does
    nothing to an item whose version is at least as high.
    """

    changes: Annotated[list[ChangeBody], Meta(min_length=1, max_length=MAX_CHANGES)]


class PolicyParameters(Struct, forbid_unknown_fields=True):
    """The parameters of an answer, whatever the query is."""

    k: K = 10
    where: Where | None = None
    color: Colors = []
    one_per: OnePer | None = None
    exclude: Annotated[list[Id], Meta(max_length=1_000, description="Items that are never in the answer.")] = []
    min_score: Score | None = None
    diversity: Diversity | None = None
    explain: Annotated[bool, Meta(description="Explain each match.")] = False
    cover: Annotated[bool, Meta(description="Bring the thumbnail of each item's packshot or first image, too.")] = False
    shopper: Shopper | None = None
    reports_shown: ReportsShown = False


class ImageParameters(PolicyParameters):
    """The parameters of a query that is an image."""

    crop: CropText | None = None


class SimilarParameters(PolicyParameters):
    """A query in a URL."""

    id: Annotated[list[Id], Meta(max_length=100, description="Items of the query.")] = []
    negative: Annotated[list[Id], Meta(max_length=100, description="Items to move away from.")] = []
    text: Annotated[
        list[Text], Meta(max_length=8, description="Texts that describe how items look, if the encoder supports text.")
    ] = []


class ForParameters(PolicyParameters, kw_only=True):
    """A shopper, by the name that the shop gives to them."""

    shopper: Shopper


class EventsParameters(Struct, forbid_unknown_fields=True):
    """Who sends events."""

    key: Annotated[str, Meta(max_length=4_096, description="The events key of the server.")] | None = None


class EventBody(Struct, forbid_unknown_fields=True):
    """What a shopper did with *item*, which the *answer* with that id showed, or which the *shopper* found elsewhere.

    *time* is in ISO 8601 or in seconds since 1970, now if it is not given. An event with an *id* counts once, however
    often it is sent.
    """

    type: Literal["shown", "click", "cart", "buy", "dismiss"]
    item: Id
    answer: str = ""
    shopper: str = ""
    place: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    time: float | str | None = None
    quantity: Annotated[float, Meta(ge=0, le=1e9)] = 1.0
    value: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    id: Annotated[str, Meta(max_length=64)] = ""


class EventsBody(Struct, forbid_unknown_fields=True):
    """Events, in any order."""

    events: Annotated[list[EventBody], Meta(min_length=1, max_length=MAX_EVENTS)]


class LooseEvents(Struct, forbid_unknown_fields=True):
    """`EventsBody` as it is read: one event that is wrong does not keep the others away."""

    events: Annotated[list[Any], Meta(min_length=1, max_length=MAX_EVENTS)]


class RefusedEvent(Struct):
    """An event of a request, by its *index* from 0, that cannot be kept: *detail* says why."""

    index: int
    detail: str


class Recorded(Struct):
    """How many events of a request were *recorded*, and which were *refused*."""

    recorded: int
    refused: list[RefusedEvent]


class ItemPath(Struct, forbid_unknown_fields=True):
    """An item."""

    id: Id


class ThumbnailParameters(Struct, forbid_unknown_fields=True):
    """An image of the store, and the size of its thumbnail."""

    digest: Digest
    side: Annotated[
        Literal[160, 320, 640, 1280], Meta(description="Pixels of the longer side; a smaller image keeps its size.")
    ] = 320


class FacetsParameters(Struct, forbid_unknown_fields=True):
    """The items that count: those with the words `q` that match `where`; without both, all items."""

    q: SearchText | None = None
    where: Where | None = None


class ItemsParameters(Struct, forbid_unknown_fields=True):
    """Which items to list."""

    q: SearchText | None = None
    where: Where | None = None
    sort: Sort | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 40
    offset: Annotated[int, Meta(ge=0, le=10_000_000)] = 0


class AnyParameters(Struct):
    """Every query string is accepted: the web page reads it in the browser, and probes may bring anything."""


class PagePath(Struct):
    """A file of the web page."""

    file: str


class NoParameters(Struct, forbid_unknown_fields=True):
    """No parameters."""


class TermScore(Struct):
    """The score (a cosine) of a match for one term of the query; *image* is the nearest image of the query item."""

    kind: str
    query: str
    weight: float
    score: float
    image: str | None


class RuleEffect(Struct):
    """What a rule did to a match: it added *score_delta* to the score, or moved the match to *position*."""

    rule: str
    score_delta: float | None
    position: int | None


class Explanation(Struct):
    """Why an item is in the answer, and why at its rank."""

    terms: list[TermScore]
    shared: dict[str, Value]
    effects: list[RuleEffect]
    relaxed: list[str]


class Match(Struct, omit_defaults=True):
    """A similar item; *image* is the image of the item that matched best, with its *thumbnail*.

    *cover* is the thumbnail of its packshot or first image, where the query asks for it. Thumbnails are addresses
    relative to that of the server, and null for an item without an image, whose *image* is empty.
    """

    rank: int
    id: str
    score: float
    image: str
    thumbnail: str | None
    attributes: dict[str, Value]
    explanation: Explanation | None = None
    cover: str | UnsetType | None = UNSET


class Interest(Struct):
    """A part of a shopper's history: the item *id* represents its *items*, and it gets *share* of the answer."""

    id: str
    items: list[str]
    share: float


class SimilarItems(Struct, omit_defaults=True):
    """The similar items, best match first; events name the *answer* by its id, if the server keeps events.

    Where there is none, *notes* says which values that the filter names no item has, and which are the nearest ones.
    """

    generation: int
    matches: list[Match]
    interests: list[Interest] = []
    notes: list[str] = []
    answer: str | None = None


class Image(Struct, omit_defaults=True):
    """An image of an item; its thumbnail is an address relative to that of the server.

    An item without an image has one whose name is empty, and whose thumbnail is null.

    *focus* are the parts of it that are compared (or compared beside the whole), where an encoder with a focus chose
    some: x, y, width and height of each, as shares of the image's width and height.
    """

    image: str
    digest: str
    thumbnail: str | None
    attributes: dict[str, Value]
    focus: list[Box] = []


class ItemDetails(Struct):
    """An item with its images."""

    generation: int
    id: str
    attributes: dict[str, Value]
    images: list[Image]


class ItemSummary(Struct):
    """An item of a list, with the thumbnail of its packshot or first image, or null where it has no image."""

    id: str
    thumbnail: str | None
    attributes: dict[str, Value]


class ItemPage(Struct, omit_defaults=True):
    """A page of items: *next_offset* is the offset of the next page, or null for the last page.

    *total* is how many items there are on all pages. Where there is no item, *notes* says which values that the filter
    names no item has, and which are the nearest ones, and *corrected* is the search text with the nearest words that
    items have.
    """

    generation: int
    total: int
    items: list[ItemSummary]
    next_offset: int | None
    notes: list[str] = []
    corrected: str | None = None


class Facet(Struct):
    """An attribute that items can be filtered by, and its values over the items that count.

    A condition of `where` on this attribute alone does not restrict its own values. *items* is the number of items that
    have the attribute. For the kinds "text" and "boolean", *counts* has each value with the number of its items, the
    most frequent value first. For the kind "set" it has each element of the sets, and `"red" in tags` filters by one.
    For the kind "number", *min* and *max* are the range over all items, and *histogram* has the number of items that
    count in each of equal steps from *min* to *max*. Where there is a *lower*, which is another attribute, the lower
    number of both counts, or the only one: for `price` and `sale_price` that is what is paid, which is at most 20 where
    `price <= 20 or 0 < sale_price <= 20`, and at least 5 where `not price < 5 and not 0 < sale_price < 5`. A
    `sale_price` of 0 is none.
    """

    name: str
    kind: Literal["text", "boolean", "set", "number"]
    items: int
    counts: list[tuple[str | bool, int]] = []
    min: float | None = None
    max: float | None = None
    histogram: list[int] = []
    lower: str | None = None


class Facets(Struct):
    """The attributes that items can be filtered by; *total* is how many items match the words and the filter."""

    generation: int
    total: int
    facets: list[Facet]


class SkippedImage(Struct):
    """An image of a change that could not be used: *reason* is a code such as "missing"."""

    id: str
    image: str
    reason: str


class Updated(Struct):
    """What became of the changes of a request. They are on the disk, in *generation*, which is served at once.

    Of the *changes*, *made* ones are what the store now says, *stale* ones had a version that is not higher than that
    of the item, and *unknown* ones name an item that the store does not have, without an image. An item none of whose
    images can be used is not shown: see *skipped_images*. *notes* are sentences on the changes, such as on text where
    the store has numbers.
    """

    generation: int
    changes: int
    made: int
    stale: int
    unknown: int
    skipped_images: list[SkippedImage]
    notes: list[str]


class Info(Struct, omit_defaults=True):
    """What is served. If a token is needed and the request does not bring it, only *auth_required* is there.

    Matches with a score below *weak_below* are as much alike as items taken at random; texts have scores of their own.
    """

    auth_required: bool
    version: str | UnsetType = UNSET
    generation: int | UnsetType = UNSET
    created: str | UnsetType = UNSET
    items: int | UnsetType = UNSET
    images: int | UnsetType = UNSET
    dim: int | UnsetType = UNSET
    encoder: str | UnsetType = UNSET
    space: str | UnsetType = UNSET
    index_type: str | UnsetType = UNSET
    recall_at_10: float | UnsetType = UNSET
    weak_below: float | UnsetType = UNSET
    supports_text: bool | UnsetType = UNSET
    accepts_image_urls: bool | UnsetType = UNSET
    keeps_events: bool | UnsetType = UNSET


class Health(Struct):
    """The server is alive."""

    status: Literal["ok"]


class Readiness(Struct, omit_defaults=True):
    """The server answers requests, from *generation*; *reload_error* is why it does not serve the newest generation.

    If a token is needed and the request does not bring it, only *status* is there.
    """

    status: Literal["ready"]
    generation: int | UnsetType = UNSET
    reload_error: str | None = None


class Session(Struct, forbid_unknown_fields=True):
    """The token of the server, which a browser exchanges for a cookie."""

    token: Annotated[str, Meta(min_length=1, max_length=4_096)]


class Problem(Struct, omit_defaults=True):
    """Problem details (RFC 9457) of an error.

    *type* ends with the class of the error in `vision_recs.errors`, *title* is the same as words, *detail* a sentence
    about this occurrence. The other fields depend on the class: *item* and *nearest* (the most similar ids) of
    UnknownItem, *reason* of ImageError, *expression* and *position* (from 1) of FilterError, *key* of PolicyError.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    item: str | None = None
    nearest: list[str] | None = None
    reason: str | None = None
    expression: str | None = None
    position: int | None = None
    key: str | None = None
    retry_after_s: int | None = None
