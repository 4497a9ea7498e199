"""A report in panels, as the Quality page shows them. Nothing is computed here but words.

`panel` has the shape of a panel, `words` says figures, `people` and `models` make the panels."""

from collections.abc import Mapping

from workbench.models import Annotator
from workbench.pipeline.quality.panels import models, people
from workbench.pipeline.quality.panels.panel import Column, Kind, Panel
from workbench.pipeline.quality.panels.words import data_in_words, in_words, plan
from workbench.pipeline.quality.reports import Report

__all__ = ["Column", "Kind", "Panel", "data_in_words", "in_words", "names_of", "panels", "plan"]


def panels(report: Report, label_source: str, names: Mapping[int, str]) -> list[Panel]:
    """Of the label source "people" or "imported"; names: of annotators, by primary key."""
    by_people = label_source == "people"
    shown = [
        people.agreement(report, label_source),
        *models.charts(report, label_source),
        people.pace(report) if by_people else None,
        people.position_bias(report, names) if by_people else None,
        people.agreement_by(report, label_source),
        *models.tables(report, label_source),
        people.seconds(report) if by_people else None,
        people.annotators(report, label_source, names),
    ]
    return [panel for panel in shown if panel]


def names_of(report: Report) -> dict[int, str]:
    """The names of the annotators in the report, by primary key; one query."""
    keys = [row["annotator"] for row in report["annotators"]]
    rows = Annotator.objects.filter(pk__in=keys).select_related("user")
    return {annotator.pk: str(annotator) for annotator in rows}
