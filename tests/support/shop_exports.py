"""One small shop as each shop system exports it, by the public documentation of its format: 20 products."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

COLORS = ("red", "blue")
PRICES = ("14.90", "9.00", "1299.00", "0.50")
NUMBERS = range(1, 21)
"""Products 1 to 3 come in two colors, product 4 in two sizes; 5 is sold out; 6 has no image; 7 has two."""


def handle(number: int) -> str:
    return f"mug-{number:02}"


def price(number: int) -> str:
    return PRICES[number % len(PRICES)]


def images(number: int) -> list[str]:
    """Return the names of the images of a product; of one in two colors, one for each."""
    if number <= 3:
        return [f"{handle(number)}-{color}.png" for color in COLORS]
    return [] if number == 6 else [f"{handle(number)}-{view}.png" for view in range(1 + (number == 7))]


def paint(folder: Path) -> None:
    """Write every image of the shop into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for number in NUMBERS for name in images(number)]
    for place, name in enumerate(names):
        picture = Image.new("RGB", (32, 32), (place * 10 % 256, place * 37 % 256, 90))
        picture.paste((255 - place * 9, 40, place * 11), (4, 4, 12 + place % 16, 24))
        picture.save(folder / name)


def table(rows: list[dict[str, str]], header: str, *, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, next(csv.reader([header])), delimiter=delimiter, quoting=quoting, lineterminator="\n", restval=""
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,"
    "Option2 Value,Option3 Name,Option3 Value,Variant SKU,Variant Grams,Variant Inventory Tracker,"
    "Variant Inventory Qty,Variant Inventory Policy,Variant Fulfillment Service,Variant Price,Variant Compare At Price,"
    "Variant Requires Shipping,Variant Taxable,Variant Barcode,Image Src,Image Position,Image Alt Text,Gift Card,"
    "SEO Title,SEO Description,Google Shopping / Google Product Category,Variant Image,Variant Weight Unit,"
    "Variant Tax Code,Cost per item,Status"
)


def shopify() -> str:
    rows = []
    for number in NUMBERS:
        shown = [f"https://cdn.shopify.com/s/files/1/0001/products/{name}?v=1700000{number}" for name in images(number)]
        values = COLORS if number <= 3 else ("S", "L") if number == 4 else ("Default Title",)
        for place in range(max(len(values), len(shown))):
            row = {"Handle": handle(number)}
            if place == 0:
                row |= {"Title": f"Mug {number}", "Body (HTML)": "<p>A mug, of clay</p>", "Vendor": "Tønder"}
                row |= {"Type": "Mugs", "Tags": "clay, gift", "Published": "TRUE", "Status": "active"}
                row |= {"Option1 Name": "Color" if number <= 3 else "Size" if number == 4 else "Title"}
            if place < len(values):
                sold_out = number == 5 or (number == 4 and place == 0)
                row |= {"Option1 Value": values[place], "Variant SKU": f"{handle(number)}-{values[place]}"[:12]}
                row |= {"Variant Inventory Tracker": "shopify", "Variant Inventory Qty": "0" if sold_out else "7"}
                row |= {"Variant Inventory Policy": "deny", "Variant Price": price(number)}
                row |= {"Variant Image": shown[place]} if number <= 3 else {}
            if place < len(shown):
                row |= {"Image Src": shown[place], "Image Position": str(place + 1)}
            rows.append(row)
    return table(rows, SHOPIFY)


def _offers() -> list[dict[str, str]]:
    """Return the shop as offers: one for each color, or size."""
    offers = []
    for number in NUMBERS:
        variants = COLORS if number <= 3 else ("S", "L") if number == 4 else ("",)
        for place, variant in enumerate(variants):
            shown = [images(number)[place]] if number <= 3 else images(number)
            offer = {"id": f"{handle(number)}{'-' if variant else ''}{variant}", "title": f"Mug {number}"}
            offer |= {"variant": variant, "group": handle(number) if variant else "", "price": price(number)}
            sold_out = number == 5 or (number == 4 and place == 0)
            offers.append(offer | {"images": "|".join(shown), "stock": "" if sold_out else "7"})
    return offers


def _merchant(offer: dict[str, str]) -> dict[str, str]:
    first, *more = [f"https://shop.example/img/{name}" for name in offer["images"].split("|") if name] or [""]
    row = {
        "id": offer["id"],
        "title": offer["title"],
        "description": "A mug, of clay",
        "link": "https://shop.example/m",
    }
    row |= {"image_link": first, "additional_image_link": ",".join(more), "price": f"{offer['price']} EUR"}
    row |= {"availability": "in_stock" if offer["stock"] else "out_of_stock", "item_group_id": offer["group"]}
    row |= {"color": offer["variant"] if offer["variant"] in COLORS else "", "brand": "Tønder", "condition": "new"}
    row |= {"product_type": "Home > Mugs", "gtin": "4006381333931", "sale_price": "8.00 EUR" if offer["stock"] else ""}
    return row


def google_text() -> str:
    rows = list(map(_merchant, _offers()))
    return table(rows, ",".join(rows[0]), delimiter="\t")


def google_xml() -> str:
    items = []
    for row in map(_merchant, _offers()):
        more = row.pop("additional_image_link").split(",")
        cells = [*row.items(), *(("additional_image_link", name) for name in more)]
        tags = "".join(f"<g:{name}>{escape(value)}</g:{name}>" for name, value in cells if value)
        items.append(
            f"<item>{tags}<g:shipping><g:country>DE</g:country><g:price>4.00 EUR</g:price></g:shipping></item>"
        )
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0">'
    return f"{head}<channel><title>Shop</title><link>https://shop.example</link>{''.join(items)}</channel></rss>"


WOOCOMMERCE = (
    'ID,Type,SKU,Name,Published,"Is featured?","Visibility in catalog","Short description",Description,'
    '"Date sale price starts","Date sale price ends","Tax status","Tax class","In stock?",Stock,"Low stock amount",'
    '"Backorders allowed?","Sold individually?","Weight (kg)","Allow customer reviews?","Purchase note","Sale price",'
    '"Regular price",Categories,Tags,"Shipping class",Images,"Download limit","Download expiry days",Parent,'
    '"Grouped products",Upsells,Cross-sells,"External URL","Button text",Position,"Attribute 1 name",'
    '"Attribute 1 value(s)","Attribute 1 visible","Attribute 1 global"'
)


def _woo_images(names: list[str]) -> str:
    return ", ".join(f"https://shop.example/wp-content/uploads/2024/05/{name}" for name in names)


def woocommerce() -> str:
    rows = []
    for number in NUMBERS:
        varies = number <= 4
        attribute = "Color" if number <= 3 else "Size"
        row = {"ID": str(number), "Type": "variable" if varies else "simple", "SKU": handle(number)}
        row |= {"Name": f"Mug {number}", "Published": "1", "Is featured?": "0", "Description": "<p>A mug</p>"}
        row |= {"In stock?": "0" if number == 5 else "1", "Regular price": "" if varies else price(number)}
        row |= {"Categories": "Home > Mugs, Gifts", "Tags": "clay, gift", "Images": _woo_images(images(number))}
        values = COLORS if number <= 3 else ("S", "L")
        row |= {"Attribute 1 name": attribute, "Attribute 1 value(s)": ", ".join(values)} if varies else {}
        rows.append(row)
    for number in range(1, 5):
        for place, value in enumerate(COLORS if number <= 3 else ("S", "L")):
            row = {"ID": str(100 + 2 * number + place), "Type": "variation", "SKU": f"{handle(number)}-{value}"}
            row |= {"Name": f"Mug {number} - {value}", "Published": "1", "In stock?": "1", "Parent": handle(number)}
            row |= {"Regular price": price(number), "Attribute 1 value(s)": value}
            row |= {"Attribute 1 name": "Color" if number <= 3 else "Size"}
            rows.append(row | ({"Images": _woo_images([images(number)[place]])} if number <= 3 else {}))
    return table(rows, WOOCOMMERCE)


MAGENTO = (
    "sku,store_view_code,attribute_set_code,product_type,categories,product_websites,name,description,weight,"
    "product_online,tax_class_name,visibility,price,special_price,url_key,base_image,base_image_label,small_image,"
    "thumbnail_image,additional_attributes,qty,is_in_stock,related_skus,additional_images,configurable_variations"
)


def magento() -> str:
    rows = []
    for number in NUMBERS:
        variants = COLORS if number <= 3 else ("S", "L") if number == 4 else ()
        base = {"attribute_set_code": "Default", "categories": "Default Category/Home,Default Category/Home/Mugs"}
        base |= {
            "product_websites": "base",
            "product_online": "1",
            "name": f"Mug {number}",
            "description": "A mug, new",
        }
        for place, value in enumerate(variants):
            row = base | {"sku": f"{handle(number)}-{value}", "product_type": "simple", "price": price(number) + "0000"}
            row |= {"visibility": "Not Visible Individually", "qty": "3.0000", "is_in_stock": "1"}
            name = "color" if number <= 3 else "size"
            row |= {"additional_attributes": f"manufacturer=Tønder,{name}={value},note=light, firm"}
            rows.append(row | ({"base_image": f"/m/u/{images(number)[place]}"} if number <= 3 else {}))
        first, *more = images(number) or [""]
        row = base | {"sku": handle(number), "product_type": "configurable" if variants else "simple"}
        row |= {"visibility": "Catalog, Search", "qty": "0.0000", "is_in_stock": "0" if number == 5 else "1"}
        row |= {"price": "" if variants else price(number) + "0000", "base_image": f"/m/u/{first}" if first else ""}
        row |= {"additional_images": ",".join(f"/m/u/{name}" for name in [first, *more] if name)}
        name = "color" if number <= 3 else "size"
        variations = "|".join(f"sku={handle(number)}-{value},{name}={value}" for value in variants)
        rows += [row | {"configurable_variations": variations}]
        rows.append({"sku": handle(number), "store_view_code": "de", "name": f"Becher {number}"})
    return table(rows, MAGENTO)


PRESTASHOP = (
    'Product ID,Active (0/1),Name *,"Categories (x,y,z...)",Price tax included,Tax rules ID,Reference #,Quantity,'
    '"Tags (x,y,z...)","Image URLs (x,y,z...)",Manufacturer,"Feature (Name:Value:Position:Customized)"'
)


def prestashop() -> str:
    rows = []
    for number in NUMBERS:
        row = {"Product ID": str(number), "Active (0/1)": "1", "Name *": f"Mug {number}", "Reference #": handle(number)}
        row |= {"Categories (x,y,z...)": "Home,Mugs", "Price tax included": price(number).replace(".", ",")}
        row |= {"Quantity": "0" if number == 5 else "7", "Manufacturer": "Tønder", "Tags (x,y,z...)": "clay,gift"}
        row |= {"Feature (Name:Value:Position:Customized)": "Material:Clay:1"}
        rows.append(
            row | {"Image URLs (x,y,z...)": ",".join(f"https://shop.example/img/p/{n}" for n in images(number))}
        )
    return table(rows, PRESTASHOP, delimiter=";", quoting=csv.QUOTE_ALL)


def huggingface() -> str:
    rows = (
        {"file_name": name, "text": f"a mug, number {number}", "price": float(price(number))}
        for number in NUMBERS
        for name in images(number)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


EXPORTS = {
    "shopify": ("products_export.csv", shopify),
    "google-text": ("feed.txt", google_text),
    "google-xml": ("feed.xml", google_xml),
    "woocommerce": ("wc-product-export.csv", woocommerce),
    "magento": ("catalog_product.csv", magento),
    "prestashop": ("products.csv", prestashop),
}
"""The name of each export's file, and what makes its text; its images lie beside it in `images`."""


def write(kind: str, folder: Path) -> Path:
    """Write the export *kind* and the images of the shop into *folder*, and return its file."""
    name, make = EXPORTS[kind]
    paint(folder / "images")
    (folder / name).write_text(make(), encoding="utf-8", newline="")
    return folder / name
