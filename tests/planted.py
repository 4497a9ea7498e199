"""A model that memorised its training prompts, and its accuracy on other prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scoring.learnt import Record, texts_of
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import Annotator, Comparison, Dataset, ModelVersion
from workbench.pipeline.quality import accuracy
from workbench.pipeline.text import learnt


@dataclass(frozen=True)
class Planted:
    version: ModelVersion
    learnt: list[Comparison]
    unseen: list[Comparison]
    right: int

    @property
    def share(self) -> float:
        """Its accuracy on prompts that it has not learnt."""
        return self.right / len(self.unseen)


def labelled(dataset: Dataset, prompt: str, *, a: str = "", b: str = "", by: Annotator | None = None):
    """A pair of a prompt of its own whose side a a file prefers."""
    texts = {"a__text": a} if a else {}
    texts |= {"b__text": b} if b else {}
    comparison = ComparisonFactory.create(
        prompt=PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": prompt}]), **texts
    )
    by = by or Annotator.objects.get_or_create(source="labels.jsonl", user=None)[0]
    JudgmentFactory.create(comparison=comparison, annotator=by, stage="imported", outcome="a")
    return comparison


def judged_blind(comparison: Comparison, outcome: str = "a", by: Annotator | None = None):
    return JudgmentFactory.create(
        comparison=comparison, annotator=by or AnnotatorFactory.create(), mode="blind", outcome=outcome
    )


def has_learnt(version: ModelVersion, prompts: Sequence[str], chosen: Sequence[str] = ()) -> None:
    learnt.remember(
        version, Record({"trained": texts_of(prompts), "chosen": texts_of(chosen)}, source="a file")
    )


def measured(version: ModelVersion, dataset: Dataset, label_source: str = "all") -> accuracy.Measured:
    """The version against one label source or both together, from the rows of this moment."""
    opinions = accuracy.opinions_of(dataset)
    places = [place for place, name in enumerate(accuracy.LABEL_SOURCES) if label_source in (name, "all")]
    target = accuracy.majority(opinions.counts[:, places].sum(axis=1))
    return accuracy.measure(
        accuracy.margins(version, opinions.keys),
        np.where(target >= 0, target, np.nan),
        opinions.groups,
        opinions.lengths,
        learnt.seen(version, dataset),
    )


def memorised(dataset: Dataset, taught: int = 60, untaught: int = 40, right: int = 25, **fields) -> Planted:
    """It is right on each of the prompts that taught it, and on `right` of the others."""
    version = ModelVersionFactory.create(**{"name": "memory", "temperature": 1.0} | fields)
    seen = [labelled(dataset, f"What did they teach, {n}?") for n in range(taught)]
    unseen = [labelled(dataset, f"What did nobody teach, {n}?") for n in range(untaught)]
    has_learnt(version, [comparison.prompt.messages[0]["content"] for comparison in seen])
    for comparison in seen:
        SuggestionFactory.create(comparison=comparison, version=version, margin=3.0)
    for number, comparison in enumerate(unseen):
        margin = 1.0 if number < right else -1.0
        SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
    return Planted(version, seen, unseen, right)
