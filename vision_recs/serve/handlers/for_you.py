"""Handlers: what a shopper may like, from what the log says of them."""

from __future__ import annotations

from vision_recs.errors import RequestError
from vision_recs.serve import convert
from vision_recs.serve.answering import Asked
from vision_recs.serve.routing import Context
from vision_recs.serve.schemas import ForParameters, SimilarItems


async def for_you(context: Context, parameters: ForParameters) -> SimilarItems:
    """Find items for a shopper, by several interests; never what they bought or dismissed.

    A shopper of whom nothing is known gets what the segments of the shop like. The answer does not say what the shopper
    looked at.
    """
    state, snapshot = context.state, context.snapshot
    if state.answering is None:
        raise RequestError("this server knows no shoppers; start it with --events", status=403)
    assigned, asked = state.assign(snapshot, Asked(convert.to_query_body(parameters), state.now()))
    return await state.queries.run(assigned, state.answering.for_you, assigned, asked)
