"""What to do next with a Dataset, and why: buttons on Home and on the Overview."""

from dataclasses import dataclass

from django.urls import reverse

from workbench.models import Dataset, Role
from workbench.pipeline import quality

ENOUGH_NEW_LABELS = 50
"""Fewer new final labels are not worth a training."""


@dataclass(frozen=True)
class Step:
    """A next step with a Dataset, and its reason in a sentence."""

    url: str
    label: str
    reason: str = ""


def next_steps(dataset: Dataset) -> list[Step]:
    """The next steps for `dataset.role`, most useful first; needs the loop counts and `report_cells`. Not
    for annotators: the number of open places depends on the votes of others.

    What the Dataset lacks comes first: data, people, votes, reviews. Disagreements of the model count only
    where it beats the length rule."""
    accuracy = quality.from_cells(dataset.report_cells)
    is_admin = dataset.role == Role.ADMIN
    left = dataset.wanted_count - dataset.judged_count
    alone = dataset.member_count <= 1 and not dataset.judged_count
    of_model, of_people = dataset.model_split_count, dataset.disagreement_count
    model_first = accuracy is not None and accuracy.beats_rule and of_model > 0
    new, released = dataset.new_label_count, dataset.last_release is not None
    new_reason = f"{new:,} new final labels since {dataset.trained_name}."
    steps = [
        (
            ("import", "Import a file", ""),
            is_admin and not dataset.prompt_count,
            "No prompts yet. A file of prompts and answers is all it needs.",
        ),
        (
            ("review", _reviews(of_model, "model "), "model"),
            model_first,
            "The model is right more often than length alone, and people chose otherwise here.",
        ),
        (
            ("review", _reviews(of_people), "people"),
            of_people > 0,
            f"{_number(of_people, 'pair')} {'wait' if of_people > 1 else 'waits'} for a final label.",
        ),
        (("people", "Add people", ""), is_admin and alone and dataset.prompt_count > 0, "Nobody votes yet."),
        (("model", "Retrain", ""), is_admin and new >= ENOUGH_NEW_LABELS, new_reason),
        (("annotate", "Annotate", ""), left > 0, f"{_number(left, 'vote')} to go."),
        (
            ("model", "Retrain", ""),
            is_admin and left <= 0 < dataset.judged_count and released and not dataset.trained_name,
            f"All votes are in, and no model is trained on release {dataset.last_release} yet.",
        ),
        (
            ("releases", "Build a release", ""),
            is_admin and left <= 0 < dataset.judged_count,
            "All votes are in.",
        ),
    ]
    return [
        Step(reverse(name, args=[dataset.pk]) + (f"?queue={queue}" if queue else ""), label, reason)
        for (name, label, queue), offered, reason in steps
        if offered
    ]


def _reviews(count: int, of: str = "") -> str:
    return f"Review {_number(count, f'{of}disagreement')}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
