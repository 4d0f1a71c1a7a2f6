"""The exports of shop systems, as they are exported: each becomes rows with the columns that visrec knows.

base           rows as records, and how their cells are taken apart
shopify        products of Shopify
google         the product feed of Google Merchant Center, as text and as XML (`feed`)
woocommerce    products of WooCommerce
magento        catalog products of Magento 2 and Adobe Commerce
prestashop     products of PrestaShop
huggingface    image folders of Hugging Face, with their metadata
"""

from __future__ import annotations

from collections.abc import Sequence

from vision_recs.catalog.cell_types import bare
from vision_recs.catalog.exports import google, huggingface, magento, prestashop, shopify, woocommerce
from vision_recs.catalog.exports.base import Export

EXPORTS: tuple[Export, ...] = (
    shopify.EXPORT,
    woocommerce.EXPORT,
    magento.EXPORT,
    prestashop.EXPORT,
    google.EXPORT,
    huggingface.EXPORT,
)
"""In the order in which they are looked for."""

TABLE = "table"
"""The format of a table that is no export."""

FORMATS = (*(export.name for export in EXPORTS), TABLE)
"""The names of all formats."""


def export_of(columns: Sequence[str]) -> Export | None:
    """Return the export that has *columns* in its header, or None for a table that is none."""
    names = {bare(column).removeprefix("g:") for column in columns}
    return next((export for export in EXPORTS if export.recognizes(names)), None)


def export_named(name: str) -> Export:
    """Return the export of that *name*; raises KeyError."""
    return {export.name: export for export in EXPORTS}[name]
