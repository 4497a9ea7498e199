"""Writes the files of the corpus to a folder, and the table of what an import does with each."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.corpora import FILES

if len(sys.argv) != 2:
    sys.exit("usage: python -m tests.corpora FOLDER")
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for file in FILES:
    file.write(folder)
expected = [{key: value for key, value in asdict(file).items() if key != "build"} for file in FILES]
(folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
print(f"{len(FILES)} files in {folder}; expected.json says what an import does with each")
