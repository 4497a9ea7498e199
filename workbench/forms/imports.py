import json
from collections.abc import Mapping
from dataclasses import dataclass

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.core.validators import ProhibitNullCharactersValidator
from django.http import QueryDict
from django.utils.safestring import SafeString

from workbench.models import Run, Upload
from workbench.pipeline import imports


class UploadForm(forms.Form):
    """A file to import, with a known ending. Its name is only for people."""

    file = forms.FileField(
        allow_empty_file=True,  # refused on the page of its preview, like any other bad file
        error_messages={"required": "Choose a file first."},
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if not imports.known_name(file.name or ""):
            raise ValidationError(
                f"{imports.escaped(file.name or 'This file', 100)} can't be imported. "
                f"Supported files: {imports.endings()}."
            )
        return file


class SampleForm(forms.Form):
    name = forms.ChoiceField(choices=list(imports.SAMPLES.items()))


USES = {
    "Texts": {
        "prompt": "Prompt",
        "system": "System message",
        "chosen": "Better answer (chosen)",
        "rejected": "Worse answer (rejected)",
        "a": "Answer A",
        "b": "Answer B",
        "completion": "One answer per row",
    },
    "Label": {
        "outcome": "Which of A and B is better",
        "score_a": "Score of A",
        "score_b": "Score of B",
        "score": "Score of the answer",
        "rank": "Rank of the answer (1 = best)",
        "strength": "How much better (0 to 3)",
        "comment": "Comment",
        "annotator": "Annotator",
        "current": "Vote still counts (true or false)",
        "time": "Time of the label (the last one counts)",
    },
    "About the texts": {
        "source": "Who wrote the answer",
        "source_a": "Who wrote A, or the better answer",
        "source_b": "Who wrote B, or the worse answer",
        "id": "Id of the row",
        "prompt_id": "Id of the prompt",
    },
}
"""The uses of a column in page words, by the word of a column mapping."""
USE_WORDS = {word: label for uses in USES.values() for word, label in uses.items()}


def _choices(words: frozenset[str] | None) -> list[tuple[str, str | list[tuple[str, str]]]]:
    """The options of a drop-down: all uses by group, or those of `words`."""
    groups = (
        (group, [(word, label) for word, label in uses.items() if words is None or word in words])
        for group, uses in USES.items()
    )
    return [("", "Not mapped"), *((group, uses) for group, uses in groups if uses)]


MAP_COLUMNS = "columns"
"""The choice of a format by which the page asks what each column is."""
MAPPED = "mapped"
"""A field of each page with drop-downs: the columns without a use are left out on purpose."""
_USE = "use:"
SHOWN_ROWS = 3
SHOWN_CHARACTERS = 200
SHOWN_VALUES = 8


@dataclass(frozen=True)
class ColumnUse:
    """The drop-down over one column, or over one path into it.

    `number`: its place on the page, for ids. `label`: the path as the file writes it. `words`: the only uses
    that the format takes, None for all. `word`: the chosen use, "" for none. `doubt`: the use that the
    column's name is like, in page words, "" where nobody needs to be asked. `values`: of the first rows.
    """

    number: int
    path: str
    label: str
    word: str
    doubt: str
    values: tuple[str, ...]
    words: frozenset[str] | None = None

    def select(self) -> SafeString:
        attrs = {"id": f"id_use_{self.number}"}
        if self.doubt:
            attrs["aria-describedby"] = f"doubt_{self.number}"
        widget = forms.Select(choices=_choices(self.words), attrs=attrs)
        return widget.render(f"{_USE}{self.path}", self.word)


def column_uses(
    preview: imports.Preview, mapping: Mapping[str, str], guesses: Mapping[str, imports.Guess]
) -> list[ColumnUse]:
    """A drop-down for each path of the preview, and for each further one of the mapping (word -> path).

    A path with two words has two drop-downs, so that no word is lost.
    """
    words: dict[str, list[str]] = {path: [] for path in preview.paths}
    spelled = {path.casefold(): path for path in preview.paths}
    for word, path in mapping.items():
        if word in USE_WORDS:
            words.setdefault(spelled.get(path.casefold(), path), []).append(word)
    named = [(path, word) for path, of_path in words.items() for word in of_path or [""]]
    rows = preview.first_rows[:SHOWN_ROWS]
    return [
        ColumnUse(
            number,
            path,
            preview.spelled.get(path, path),
            word,
            USE_WORDS[word] if path in guesses and not guesses[path].sure else "",
            tuple(shown(imports.value_at(row, path)) for row in rows),
            preview.words,
        )
        for number, (path, word) in enumerate(named)
    ]


def shown(value: object) -> str:
    """The value of a cell as one short text."""
    if isinstance(value, str):
        text = value[: SHOWN_CHARACTERS + 1]
    else:
        text = "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def first_values(preview: imports.Preview, path: str) -> list[str]:
    """The different values of a column in the first rows, at most eight: those that a label may have."""
    values = (shown(imports.value_at(row, path)) for row in preview.first_rows)
    return [value for value in dict.fromkeys(values) if value][:SHOWN_VALUES]


class ImportForm(forms.Form):
    """How to import a file."""

    format = forms.ChoiceField(
        label="Format",
        choices=[
            ("auto", "Detect automatically"),
            (MAP_COLUMNS, "Map columns yourself"),
            *((s.name, s.title) for s in imports.SHAPES.values()),
        ],
        required=False,
    )
    says_a = forms.CharField(label="A is better", max_length=200, required=False)
    says_b = forms.CharField(label="B is better", max_length=200, required=False)
    says_tie = forms.CharField(label="Tie", max_length=200, required=False)
    says_both_bad = forms.CharField(label="Both bad", max_length=200, required=False)
    pairs = forms.ChoiceField(
        label="Make pairs from rankings and ratings",
        choices=[(name, sentence) for name, sentence in imports.PAIRS_POLICIES.items()],
        required=False,
    )
    minimum_gap = forms.FloatField(
        label="Smallest rating difference",
        min_value=0,
        required=False,
        help_text="0.5 = pairs rated closer than half a point are left out.",
    )
    max_pairs = forms.IntegerField(
        label="Most pairs per prompt",
        min_value=1,
        max_value=10_000,
        required=False,
        help_text="Leave empty for 64. Further pairs are left out evenly.",
    )
    source = forms.CharField(
        label="Who made these labels? (e.g. “crowd 2023”)",
        max_length=200,
        required=False,
        help_text="Leave empty to use the name of the format.",
    )
    licence = forms.CharField(
        label="Licence of the texts",
        max_length=100,
        required=False,
        help_text="Leave empty to use the dataset’s licence.",
    )
    no_labels = forms.BooleanField(label="Ignore labels in this file", required=False)
    formula_safe = forms.BooleanField(
        label="Remove the leading ' that protects cells of a spreadsheet",
        required=False,
    )
    strip_citations = forms.BooleanField(label="Remove [1] marks from WebGPT answers", required=False)
    no_near_duplicates = forms.BooleanField(label="Treat near-duplicate prompts as different", required=False)
    lenient = forms.BooleanField(label="Skip bad rows (you can download them)", required=False)

    def __init__(self, data: Mapping[str, object]) -> None:
        super().__init__(data)
        self.mapping: dict[str, str] | None = None
        """The column mapping that was chosen, word -> path; None if nobody was asked for one."""
        self._repeated: list[str] = []
        self._unknown: list[str] = []
        if isinstance(data, QueryDict):
            if MAPPED in data:
                self._read_uses(data)
        elif isinstance(columns := data.get("columns"), dict) and columns:
            self.mapping = {word: path for word, path in columns.items() if word in USE_WORDS}
            self._unknown = sorted(set(columns) - set(USE_WORDS) - set(imports.OUTCOME_WORDS))

    def _read_uses(self, data: QueryDict) -> None:
        self.mapping = {}
        for key in data:
            path = key.removeprefix(_USE)
            for word in data.getlist(key) if key.startswith(_USE) else ():
                if word not in USE_WORDS:
                    continue
                if (other := self.mapping.get(word)) is not None:
                    columns = f"“{imports.escaped(other, 40)}” and “{imports.escaped(path, 40)}”"
                    message = (
                        f"The columns {columns} have the same use: {USE_WORDS[word]}. Change one of them."
                    )
                    self._repeated.append(message)
                self.mapping.setdefault(word, path)

    def clean(self) -> None:
        for message in self._repeated:
            self.add_error(None, message)
        for word in self._unknown:
            self.add_error(None, f"A column has no use “{imports.escaped(word, 40)}”.")
        for path in (self.mapping or {}).values():
            ProhibitNullCharactersValidator()(path)  # the options are stored as JSON, which holds none
        if self.mapping == {} and self.cleaned_data.get("format") == MAP_COLUMNS:
            self.add_error(None, "Choose the column of the prompt, and the columns of the answers.")

    @property
    def asks_for_columns(self) -> bool:
        """True if somebody wants to map the columns and has not seen the drop-downs yet."""
        return self.mapping is None and self.cleaned_data.get("format") == MAP_COLUMNS

    @classmethod
    def sent(cls, values: Mapping[str, object], columns: Mapping[str, str]) -> "ImportForm":
        """The form with these values. columns: a path by each use, and the values of a label by each word."""
        says = {word: value for word, value in columns.items() if word in imports.OUTCOME_WORDS}
        return cls({**values, "columns": dict(columns), **says})

    @classmethod
    def data_of(cls, run: Run | None, upload: Upload) -> dict[str, object]:
        """The data of a form with the options of the Run; without a Run, with the default options and the
        licence that the hub states for the upload."""
        params = run.params if run else {"licence": upload.origin.get("licence", "")}
        left_out = {f"no_{name}": not params.get(name, True) for name in ("labels", "near_duplicates")}
        columns = params.get("columns", {})
        says = {word: value for word, value in columns.items() if word in imports.OUTCOME_WORDS}
        return {**params, **left_out, **says}

    def columns(self) -> dict[str, str]:
        """The column mapping for the import: by the drop-downs, unless a known format was chosen instead."""
        if not self.mapping or self.cleaned_data.get("format") not in {None, "", "auto", MAP_COLUMNS}:
            return {}
        return {**self.mapping, **self.says(self.mapping)}

    def says(self, mapping: Mapping[str, str]) -> dict[str, str]:
        """The values of the label column, by the word of a column mapping; none without such a column."""
        if "outcome" not in mapping:
            return {}
        chosen = {word: self.cleaned_data.get(word) for word in imports.OUTCOME_WORDS}
        return {word: value for word, value in chosen.items() if value}

    def options(self) -> imports.ImportOptions:
        """The chosen options; an invalid field keeps its default."""
        chosen = self.cleaned_data
        return imports.ImportOptions(
            format="auto" if chosen.get("format") in {None, "", MAP_COLUMNS} else chosen["format"],
            columns=self.columns(),
            lenient=chosen.get("lenient", False),
            source=chosen.get("source", ""),
            licence=chosen.get("licence", ""),
            labels=not chosen.get("no_labels", False),
            pairs=chosen.get("pairs") or "all",
            max_pairs=chosen.get("max_pairs") or 64,
            minimum_gap=chosen.get("minimum_gap") or 0.0,
            formula_safe=chosen.get("formula_safe", False),
            strip_citations=chosen.get("strip_citations", False),
            near_duplicates=not chosen.get("no_near_duplicates", False),
        )
