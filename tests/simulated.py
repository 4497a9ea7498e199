"""Campaigns by the product's own queue, with two models whose difference is known."""

import random
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from scoring.evaluate import compare
from tests.votes import record_judgment
from workbench.models import (
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    ModelVersion,
    Prompt,
    Suggestion,
    User,
)
from workbench.models.dataset import answer_digest, group_digest, messages_digest
from workbench.pipeline.annotate import queue as annotate_queue
from workbench.pipeline.annotate.answers import Answer
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.model import promotion
from workbench.pipeline.model.compare import Compared
from workbench.pipeline.model.promotion import activate

RIGHT, FOLLOWS = 0.9, 0.6
"""How often a person is right, and how often they take the Suggestion that they are shown."""


@dataclass(frozen=True)
class Outcome:
    """What a campaign came to: the true difference of new and old over all pairs, the gate's finding, and
    what counting every label would say."""

    truth: float
    gate: Compared
    verdict: str
    every_label: float
    every_interval: tuple[float, float]

    @property
    def estimate(self) -> float | None:
        return self.gate.paired.accuracy_difference

    @property
    def holds(self) -> bool | None:
        """Whether the gate's interval holds the truth; None where it gives none."""
        interval = self.gate.paired.accuracy_interval
        return None if interval is None else interval[0] <= self.truth <= interval[1]


def campaign(seed: int, *, pairs: int, votes: int, queue: str = "mixture", blind: float = 0.5) -> Outcome:
    """So many votes on a Dataset of so many pairs, each of a prompt of its own. The old model is active, and
    unsure where it errs; the new one errs as often, anywhere."""
    random.seed(seed)
    drawn = np.random.default_rng(seed)
    old = ModelVersion.objects.create(
        name=f"old {seed}", kind="transformer", temperature=1.0, weights_sha256=f"{2 * seed:064}"
    )
    new = ModelVersion.objects.create(
        name=f"new {seed}", kind="transformer", temperature=1.0, weights_sha256=f"{2 * seed + 1:064}"
    )
    dataset = Dataset.objects.create(
        name=f"Campaign {seed}", order=queue, random_share=0.3, blind_share=blind
    )
    activate(old, reason="simulated")
    truth = drawn.random(pairs) < 0.5
    comparisons = _pairs(dataset, pairs)
    sure = drawn.exponential(1.5, pairs)
    old_right = drawn.random(pairs) < 1 / (1 + np.exp(-sure))
    new_right = drawn.random(pairs) < old_right.mean() - 0.008
    for version, right, size in ((old, old_right, sure), (new, new_right, drawn.exponential(1.5, pairs))):
        Suggestion.objects.bulk_create(
            Suggestion(comparison=c, version=version, margin=float(m if r == t else -m))
            for c, m, r, t in zip(comparisons, size, right, truth, strict=True)
        )
    annotate_queue.renew_all(dataset)
    prefers = {c.pk: "a" if t else "b" for c, t in zip(comparisons, truth, strict=True)}
    _vote(dataset, votes, prefers, drawn)
    gate = promotion.weigh(new, dataset)
    assert gate.test is not None
    by = {c.pk: n for n, c in enumerate(comparisons)}
    outcomes = {j.comparison_id: j.outcome for j in Judgment.objects.of(dataset).current()}
    places = [by[key] for key in outcomes]
    naive = compare(
        np.where(new_right == truth, 1.0, -1.0)[places],
        np.where(old_right == truth, 1.0, -1.0)[places],
        [float(outcome == "a") for outcome in outcomes.values()],
        places,
    )
    assert naive.accuracy_difference is not None
    assert naive.accuracy_interval is not None
    return Outcome(
        float(new_right.mean() - old_right.mean()),
        gate.test,
        gate.verdict,
        naive.accuracy_difference,
        naive.accuracy_interval,
    )


def _pairs(dataset: Dataset, count: int) -> list[Comparison]:
    questions = [[{"role": "user", "content": f"{dataset.name}: what is {n}?"}] for n in range(count)]
    prompts = Prompt.objects.bulk_create(
        Prompt(
            dataset=dataset, messages=messages, sha256=messages_digest(messages), group=group_digest(messages)
        )
        for messages in questions
    )
    texts = Completion.objects.bulk_create(
        Completion(prompt=prompt, text=text, sha256=answer_digest(text))
        for prompt in prompts
        for text in ("one", "other")
    )
    return Comparison.objects.bulk_create(
        Comparison(dataset=dataset, prompt=prompt, a=texts[2 * n], b=texts[2 * n + 1])
        for n, prompt in enumerate(prompts)
    )


def _vote(dataset: Dataset, votes: int, prefers: dict[int, str], drawn: np.random.Generator) -> None:
    """One after the other, of three people in turn."""
    people = [
        Annotator.objects.create(user=User.objects.create(username=f"{dataset.name} {n}".replace(" ", "-")))
        for n in range(3)
    ]
    for number in range(votes):
        annotator = people[number % 3]
        claim = next_claim(dataset, annotator)
        if claim is None:
            return
        wants = prefers[claim.comparison_id]
        if drawn.random() > RIGHT:
            wants = "b" if wants == "a" else "a"
        if claim.mode == "assisted" and claim.suggestion and drawn.random() < FOLLOWS:
            wants = claim.suggestion.outcome
        shown = "left" if claim.left == wants else "right"
        record_judgment(annotator, claim.comparison, Answer(shown, uuid4()))
