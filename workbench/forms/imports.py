from collections.abc import Mapping

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from workbench.models import Run
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


_COLUMNS = {
    **imports.COLUMN_WORDS,
    **{word: f"value of the outcome column for {outcome}" for word, outcome in imports.OUTCOME_WORDS.items()},
}


class ImportForm(forms.Form):
    """How to import a file."""

    format = forms.ChoiceField(
        label="Format",
        choices=[("auto", "Detect automatically"), *((s.name, s.title) for s in imports.SHAPES.values())],
        required=False,
    )
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

    def __init__(self, data: Mapping[str, object] | None = None) -> None:
        super().__init__(data)
        for word, meaning in _COLUMNS.items():
            widget = forms.TextInput(attrs={"list": "columns"} if word in imports.COLUMN_WORDS else {})
            self.fields[f"column_{word}"] = forms.CharField(
                label=word, help_text=meaning, max_length=200, required=False, widget=widget
            )

    def named_columns(self) -> list[forms.BoundField]:
        return [self[f"column_{word}"] for word in _COLUMNS]

    @classmethod
    def data_of(cls, run: Run | None) -> dict[str, object]:
        """The data of a form with the options of the Run; without a Run, with the default options."""
        params = run.params if run else {}
        left_out = {f"no_{name}": not params.get(name, True) for name in ("labels", "near_duplicates")}
        columns = {f"column_{word}": column for word, column in params.get("columns", {}).items()}
        return {**params, **left_out, **columns}

    def options(self) -> imports.ImportOptions:
        """The chosen options; an invalid field keeps its default."""
        chosen = self.cleaned_data
        return imports.ImportOptions(
            format=chosen.get("format") or "auto",
            columns={word: column for word in _COLUMNS if (column := chosen.get(f"column_{word}"))},
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
