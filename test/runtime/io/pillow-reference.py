"""Images and what Pillow makes of them: greys, and bilinear resizing to smaller and larger sizes.

    python3 test/runtime/pillow-reference.py > test/runtime/pillow-reference.json
"""

import base64
import io
import json

import numpy
import PIL
from PIL import Image


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def values(image):
    return base64.b64encode(numpy.asarray(image).tobytes()).decode()


def picture(width, height):
    row, column = numpy.mgrid[0:height, 0:width]
    red = 127 + 100 * numpy.sin(column / 5)
    green = 127 + 100 * numpy.cos(row / 4)
    blue = (5 * column + 3 * row) % 256
    return numpy.stack([red, green, blue], -1).clip(0, 255).astype("uint8")


smooth = Image.fromarray(picture(32, 24))
noise = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype="uint8"))
files = {
    "smooth.png": (smooth, encoded(smooth, "PNG")),
    "noise.png": (noise, encoded(noise, "PNG")),
    "palette.png": (smooth, encoded(smooth.convert("P"), "PNG")),
    "grey.png": (smooth, encoded(smooth.convert("L"), "PNG")),
    "smooth.jpg": (smooth, encoded(smooth, "JPEG", quality=90)),
}
sizes = {"smooth.png": [(16, 12), (8, 6), (40, 30)], "noise.png": [(14, 10), (16, 11)], "grey.png": [(16, 12)]}

cases = []
for name, (_, text) in files.items():
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    colours = image.convert("RGB")
    cases.append(
        {
            "name": name,
            "base64": text,
            "size": list(image.size),
            "channels": 1 if image.mode == "L" else 3,
            "rgb": values(colours),
            "grey": values(image.convert("L")),
            "resized": [
                {"size": list(size), "rgb": values(colours.resize(size, Image.BILINEAR))}
                for size in sizes.get(name, [])
            ],
        }
    )
print(json.dumps({"pillow": PIL.__version__, "cases": cases}, separators=(",", ":")))
