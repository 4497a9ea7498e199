from django import forms
from django.core.exceptions import ValidationError

from workbench.pipeline.annotate.requirements import skill_of
from workbench.pipeline.text.language_names import LONGEST, code_of, name_of

LARGEST = 2**63 - 1
"""The largest primary key of a database; a query with a larger number fails."""


class WordsField(forms.CharField):
    """A list of words, written with commas."""

    def __init__(self, *, most: int, longest: int = LONGEST, **kwargs: object) -> None:
        super().__init__(required=False, max_length=most * (longest + 2), **kwargs)  # type: ignore[arg-type]
        self._most = most

    def prepare_value(self, value: object) -> object:
        return ", ".join(map(self.shown, value)) if isinstance(value, list) else value

    def to_python(self, value: object) -> list[str]:  # type: ignore[override]
        words = value if isinstance(value, list) else str(value or "").split(",")
        return list(dict.fromkeys(filter(None, (self.stored(str(word)) for word in words))))

    def validate(self, value: list[str]) -> None:
        super().validate(value)
        if len(value) > self._most:
            raise ValidationError(f"At most {self._most}; these are {len(value)}.")

    def run_validators(self, value: list[str]) -> None:
        """Those of a text, for each word: PostgreSQL stores no NUL character."""
        for word in value:
            super().run_validators(word)

    def has_changed(self, initial: object, data: object) -> bool:
        return self.to_python(initial) != self.to_python(data)

    def stored(self, word: str) -> str:
        return word.strip()

    def shown(self, word: object) -> str:
        return str(word)


class SkillsField(WordsField):
    def stored(self, word: str) -> str:
        return skill_of(word)


class LanguagesField(WordsField):
    """Codes of languages, written as names or codes."""

    def stored(self, word: str) -> str:
        return code_of(word)

    def shown(self, word: object) -> str:
        return name_of(str(word))


class LanguageField(forms.CharField):
    """The code of a language, written as its name or code."""

    def prepare_value(self, value: object) -> object:
        return name_of(str(value or ""))

    def to_python(self, value: object) -> str:
        return code_of(str(super().to_python(value) or ""))

    def has_changed(self, initial: object, data: object) -> bool:
        return code_of(str(initial or "")) != code_of(str(data or ""))
