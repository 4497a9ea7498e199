"""A report in panels, as the Quality page shows them. Nothing is computed here but words.

`panel` has the shape of a panel, `words` says figures, `people`, `models` and `votes` make the panels.
`questions` puts them under the questions that they answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.models import Annotator
from workbench.pipeline.quality.panels import models, people
from workbench.pipeline.quality.panels.panel import Column, Kind, Panel
from workbench.pipeline.quality.panels.votes import votes
from workbench.pipeline.quality.panels.words import data_in_words, in_words, plan
from workbench.pipeline.quality.reports import Report, label_sources

__all__ = [
    "Column", "Kind", "Panel", "Question", "data_in_words", "in_words", "names_of", "panels", "panels_seen",
    "plan", "questions",
]  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One question to the data: the panel that answers it, and panels for those who want to know more."""

    title: str
    answer: Panel
    more: Sequence[Panel]


_QUESTIONS = {
    "Do people agree?": ("agreement", "agreement-by"),
    "Is the model right?": ("accuracy", "models"),
    "Is its confidence honest?": ("reliability", "margins"),
    "What sways choices?": ("audit",),
    "Who needs a word?": ("annotators", "left"),
    "What would more votes buy?": ("plan", "pace", "seconds"),
}
"""The panels under each question; the first answers it."""

_OF_LABELS = {"Do people agree?": "Do labels agree?", "Who needs a word?": "Which label source stands out?"}


def questions(shown: Sequence[Panel], label_source: str) -> list[Question]:
    """The panels under their questions. A question without data is left out. Where only another panel than
    the first has data, that panel answers under its own title."""
    with_data = {panel.name: panel for panel in shown if not panel.lacks}
    asked = []
    for title, names in _QUESTIONS.items():
        found = [with_data[name] for name in names if name in with_data]
        if found:
            title = _OF_LABELS.get(title, title) if label_source == "imported" else title
            answers = found[0].name == names[0]
            asked.append(Question(title if answers else found[0].title, found[0], found[1:]))
    return asked


def panels(report: Report, label_source: str, names: Mapping[int, str]) -> list[Panel]:
    """Of the label source "people" or "imported"; names: of annotators, by primary key."""
    by_people = label_source == "people"
    shown = [
        people.agreement(report, label_source),
        people.guidelines(report, label_source),
        *models.charts(report, label_source),
        people.pace(report) if by_people else None,
        people.position_bias(report, names) if by_people else None,
        people.agreement_by(report, label_source),
        *models.tables(report, label_source),
        people.seconds(report) if by_people else None,
        people.annotators(report, label_source, names),
        votes(report, label_source),
    ]
    return [panel for panel in shown if panel]


def panels_seen(report: Report, label_source: str, *, by_admin: bool) -> list[Panel]:
    """The panels that a reviewer or an admin sees: those on single annotators are for admins."""
    if label_source not in label_sources(report):
        return []
    found = panels(report, label_source, names_of(report))
    return [panel for panel in found if by_admin or not panel.single]


def names_of(report: Report) -> dict[int, str]:
    """The names of the annotators in the report, by primary key; one query."""
    keys = [row["annotator"] for row in report["annotators"]]
    rows = Annotator.objects.filter(pk__in=keys).select_related("user")
    return {annotator.pk: str(annotator) for annotator in rows}
