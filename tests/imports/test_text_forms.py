"""A text file is read whatever its layout, its encoding, its packing, and its name say of each other."""

import codecs
import csv
import gzip
import io
import json
from itertools import product

import pyarrow as pa
import pytest

from workbench.pipeline import imports

ROWS = [
    {"prompt": "Grüße, „Köche“; wann?\tBald?", "chosen": 'Ja;\nmit "Salz" 👋', "rejected": "Nein | 'nie'"},
    {"prompt": "スープは？", "chosen": "はい", "rejected": ""},
]
ENCODINGS = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16, little end first": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, big end first": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}
PACKINGS = {
    "{name}": lambda data: data,
    "{name}.gz": gzip.compress,
    "{name}.zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
    "packed-{name}": gzip.compress,
    "nameless.gz": gzip.compress,
}


def table(separator: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*ROWS[0]], delimiter=separator)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


LAYOUTS = {
    "lines.jsonl": "\n".join(map(json.dumps, ROWS)),
    "lines-of-windows.ndjson": "".join(f"{json.dumps(row, ensure_ascii=False)}\r\n" for row in ROWS),
    "array.jsonl": json.dumps(ROWS, ensure_ascii=False),
    "array-over-lines.jsonl": "\n\n" + json.dumps(ROWS, indent=2) + "\n",
    "objects-over-lines.jsonl": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "array.JSON": json.dumps(ROWS),
    "lines.json": "\n".join(map(json.dumps, ROWS)),
    "object-around.json": json.dumps({"rows": ROWS}),
    "commas.csv": table(","),
    "semicolons.csv": table(";"),
    "tabs.csv": table("\t"),
    "bars.CSV": table("|"),
    "tabs.tsv": table("\t"),
    "semicolons.tsv": table(";"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_text_file_is_read_in_every_encoding_and_packing(layout, tmp_path):
    for (encoding, encode), (name, pack) in product(ENCODINGS.items(), PACKINGS.items()):
        path = tmp_path / name.format(name=layout)
        path.write_bytes(pack(encode(LAYOUTS[layout])))

        drafts, problems = imports.read_file(path)

        read = [
            dict(zip(ROWS[0], (d.messages[0]["content"], *(c.text for c in d.completions)), strict=True))
            for d in drafts
        ]
        assert (problems, read) == ([], ROWS), f"{path.name} in {encoding}"
