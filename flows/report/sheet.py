"""The contact sheet of a catalogue: source and result of each output on one picture, to be looked over at a glance."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

MOST_SHOWN = 300
"""A JPEG is 65,535 pixels high at most, and nobody looks at more."""
_COLUMNS, _TILE = 3, (480, 176)
_CAPTION_PX, _GAP_PX = 22, 8
_QUALITY = 82
_STATUS_COLOURS = {"succeeded": "#4ac26b", "up_to_date": "#4ac26b", "succeeded_with_flags": "#d4a72c"}
_FAILED = "#ff7b72"
_BACK, _TEXT = "#16191d", "#e6e6e6"


def contact_sheet(rows: Sequence[Mapping[str, Any]], strips: Mapping[str, bytes]) -> bytes | None:
    """JPEG; None when no row has a picture."""
    shown = [row for row in rows if row["output"] in strips][:MOST_SHOWN]
    if not shown:
        return None
    columns = min(_COLUMNS, len(shown))
    width, height = _TILE[0] + _GAP_PX, _TILE[1] + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * width + _GAP_PX, -(-len(shown) // columns) * height + _GAP_PX), _BACK)
    for number, row in enumerate(shown):
        down, across = divmod(number, columns)
        _place(sheet, row, strips[row["output"]], (_GAP_PX + across * width, _GAP_PX + down * height))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _place(sheet: Image.Image, row: Mapping[str, Any], strip: bytes, at: tuple[int, int]) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    colour = _STATUS_COLOURS.get(row["status"], _FAILED)
    draw.rectangle((at[0], at[1] + 5, at[0] + 8, at[1] + 13), fill=colour)
    draw.text((at[0] + 14, at[1]), _fitting(draw, font, row["output"]), fill=_TEXT, font=font)
    with Image.open(io.BytesIO(strip)) as picture:
        picture.thumbnail(_TILE)
        sheet.paste(picture, (at[0], at[1] + _CAPTION_PX))


def _fitting(draw: ImageDraw.ImageDraw, font: Any, name: str) -> str:
    """The end of a long name: that is where it says the language."""
    shown = name
    while len(shown) > 1 and draw.textlength(shown, font=font) > _TILE[0] - 14:
        shown = f"…{shown[2:]}"
    return shown
