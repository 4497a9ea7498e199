"""Campaigns for the benchmarks: a dataset with prompts, answers, people, votes and a model's scores.

`add_pairs` makes prompts, answers and pairs from texts. Three campaigns are made with it:
- `make_uniform`: pairs of one length, for the annotation page; `add_votes` and `add_suggestions` fill it.
- `make_imported`: random texts with one imported vote a pair, for releases.
- `make_simulated`: people of known skill and models of known accuracy, for review and statistics.

The same seed makes the same campaign. Set Django up before this module is imported.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.utils import timezone

from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Guidelines,
    Judgment,
    Member,
    ModelVersion,
    Prompt,
    Role,
    Suggestion,
    User,
)
from workbench.models.dataset import answer_digest, group_digest, messages_digest
from workbench.pipeline.annotate import requirements
from workbench.pipeline.model.promotion import activate

CHUNK = 5_000
Vector = npt.NDArray[np.float64]


def add_pairs(
    dataset: Dataset,
    questions: Sequence[str],
    answers: Sequence[tuple[str, str]],
    *,
    pairs_per_prompt: int = 1,
    near_duplicates: bool = False,
    sources: Sequence[tuple[str, str]] | None = None,
    topics: Sequence[str] = (),
    claimed: int = 0,
) -> list[Comparison]:
    """One pair for each of `answers`; each question is the prompt of `pairs_per_prompt` of them in a row.

    With `near_duplicates`, every twentieth prompt is in the group of the prompt before it.
    """
    conversations = [[{"role": "user", "content": question}] for question in questions]
    prompts = Prompt.objects.bulk_create(
        [
            Prompt(
                dataset=dataset,
                messages=messages,
                sha256=messages_digest(messages),
                group=group_digest(conversations[n - (near_duplicates and n % 20 == 19)]),
                metadata={"topic": topics[n % len(topics)]} if topics else {},
            )
            for n, messages in enumerate(conversations)
        ],
        batch_size=2_000,
    )
    completions = Completion.objects.bulk_create(
        [
            Completion(
                prompt=prompts[n // pairs_per_prompt],
                text=text,
                sha256=answer_digest(text),
                source=sources[n][side] if sources else "",
            )
            for n, texts in enumerate(answers)
            for side, text in enumerate(texts)
        ],
        batch_size=2_000,
    )
    return Comparison.objects.bulk_create(
        [
            Comparison(dataset=dataset, prompt=a.prompt, a=a, b=b, claimed=claimed)
            for a, b in zip(completions[::2], completions[1::2], strict=True)
        ],
        batch_size=2_000,
    )


LANGUAGES = ("en", "de", "fr")
RARE = "pl"


def assign(dataset: Dataset, users: Sequence[User], overlap: int) -> None:
    """Give the people two of three languages each, and every second of them a skill; `overlap` people read a
    rare language too. One pair in a hundred requires the rare language, and one in ten nothing. The others
    require a language, and every third of these the skill. Six people or more are needed."""
    for n, user in enumerate(users):
        languages = [LANGUAGES[n % 3], LANGUAGES[(n + 1) % 3], *([RARE] if n < overlap else [])]
        Member.objects.filter(dataset=dataset, user=user).update(
            languages=languages, skills=["law"] if n % 2 else []
        )
    prompts = list(Prompt.objects.of(dataset).order_by("pk"))
    for n, prompt in enumerate(prompts):
        if n % 100 == 99:
            reads, knows = [RARE], []
        elif n % 10 == 0:
            reads, knows = [], []
        else:
            reads, knows = [LANGUAGES[n % 3]], ["law"] if n // 3 % 3 == 0 else []
        prompt.metadata = {"reads": reads, "knows": knows}
    Prompt.objects.bulk_update(prompts, ["metadata"], batch_size=500)
    Dataset.objects.filter(pk=dataset.pk).update(language_key="reads", skill_key="knows")
    dataset.refresh_from_db()
    requirements.renew(dataset)


def add_person(dataset: Dataset, name: str, role: Role) -> Annotator:
    """A member of the dataset; a user of this name is used again."""
    user, _ = User.objects.get_or_create(username=name)
    Member.objects.create(dataset=dataset, user=user, role=role)
    return Annotator.objects.for_user(user)


# --- pairs of one length ------------------------------------------------------------------------------------


def make_uniform(
    pairs: int, *, overlap: int = 1, question_words: int = 60, answer_words: int = 180
) -> Dataset:
    """Each pair has a prompt of its own."""
    dataset = Dataset.objects.create(name=f"bench {time.time_ns()}", overlap=overlap)
    questions = [f"{n} " + "question " * (question_words - 1) for n in range(pairs)]
    answers = [
        (f"a {n} " + "answer " * (answer_words - 2), f"b {n} " + "answer " * (answer_words - 2))
        for n in range(pairs)
    ]
    add_pairs(dataset, questions, answers)
    return dataset


def add_votes(dataset: Dataset, votes: int) -> None:
    """Judge three of four pairs by `votes` people each, so that no place is left on them."""
    people = [Annotator.objects.create(user=User.objects.create(username=uuid4().hex)) for _ in range(votes)]
    keys = [key for n, key in enumerate(dataset.comparisons.values_list("pk", flat=True)) if n % 4]
    expires_at = timezone.now() + timedelta(hours=1)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        places = [(slot, key, annotator) for key in chunk for slot, annotator in enumerate(people)]
        Claim.objects.bulk_create(
            Claim(
                comparison_id=key,
                annotator=annotator,
                state="done",
                slot=slot,
                left="a",
                mode="blind",
                expires_at=expires_at,
            )
            for slot, key, annotator in places
        )
        Judgment.objects.bulk_create(
            Judgment(
                comparison_id=key,
                annotator=annotator,
                outcome="ab"[(key + slot * (key % 5 == 0)) % 2],
                stage="first",
                mode="blind",
                left="a",
            )
            for slot, key, annotator in places
        )
        Comparison.objects.filter(pk__in=chunk).update(claimed=votes)


def add_suggestions(dataset: Dataset) -> None:
    """Suggestions of an active model with margins drawn from N(0, 2)."""
    version = ModelVersion.objects.active() or ModelVersion.objects.create(
        name="bench", kind="transformer", state="active", activated_at=timezone.now(), temperature=1.0
    )
    draw = random.Random(1)
    Suggestion.objects.bulk_create(
        (
            Suggestion(comparison_id=key, version=version, margin=draw.gauss(0, 2))
            for key in dataset.comparisons.values_list("pk", flat=True)
        ),
        batch_size=CHUNK,
    )


# --- imported votes -----------------------------------------------------------------------------------------


def make_imported(name: str, pairs: int, characters: int) -> None:
    """Pairs of random words, about `characters` in prompt and both answers, with one imported vote each."""
    draw = random.Random(7)
    words = [hashlib.sha256(str(n).encode()).hexdigest()[: 3 + n % 8] for n in range(4_000)]
    dataset = Dataset.objects.create(name=name)
    label_source = Annotator.objects.create(source="bench")

    def text(length: int) -> str:
        return " ".join(draw.choices(words, k=max(1, length // 8)))

    for start in range(0, pairs, 2_000):
        numbers = range(start, min(start + 2_000, pairs))
        questions = [f"{n} {text(characters // 10)}" for n in numbers]
        answers = [(text(int(characters * 0.45)), text(int(characters * 0.45))) for _ in numbers]
        Judgment.objects.bulk_create(
            Judgment(comparison=comparison, annotator=label_source, outcome="ab"[n % 2], stage="imported")
            for n, comparison in enumerate(add_pairs(dataset, questions, answers))
        )


# --- simulated votes ----------------------------------------------------------------------------------------


def _cooking_text(_draw: np.random.Generator, words: int) -> str:
    vocabulary = ["pan", "heat", "oil", "salt", "stir", "until", "done", "then", "serve", "with", "bread"]
    return " ".join(np.resize(vocabulary, words))


def _log_normal_lengths(draw: np.random.Generator, pairs: int) -> npt.NDArray[np.int_]:
    return draw.lognormal(4.2, 0.6, (pairs, 2)).astype(int) + 3


@dataclass(frozen=True)
class Recipe:
    """What a simulated campaign is made of.

    `skill`: chance of the right side, from the least to the most skilled person. `models`: standard deviation
    of margin - truth for each model; the last model is active. `lengths` draws (N, 2) words of N pairs.
    """

    seed: int = 5
    pairs_per_prompt: int = 1
    people: int = 24
    skill: tuple[float, float] = (0.65, 0.95)
    models: Mapping[str, float] = field(default_factory=lambda: {"reward-1": 2.2, "reward-2": 1.3})
    sources: Sequence[str] = ("amber", "birch", "cedar", "dune")
    topics: Sequence[str] = ()
    lengths: Callable[[np.random.Generator, int], npt.NDArray[np.int_]] = _log_normal_lengths
    text: Callable[[np.random.Generator, int], str] = _cooking_text


def make_simulated(pairs: int, recipe: Recipe = Recipe(), **fields: str) -> Dataset:
    """Three votes a pair over twelve weeks, with two versions of the guidelines, the second one better.

    One person leans to the left. All models are calibrated. `fields` are set on the Dataset.
    """
    draw = np.random.default_rng(recipe.seed)
    # Votes get dates in past weeks instead of the moment of the insert.
    Judgment._meta.get_field("created_at").auto_now_add = False
    dataset = Dataset.objects.create(**{"name": f"Campaign {time.time_ns()}", "overlap": 3, **fields})
    people = [add_person(dataset, f"person{n:02}", Role.ANNOTATOR) for n in range(recipe.people)]
    guidelines = [Guidelines.objects.create(dataset=dataset, number=n, text=f"Version {n}.") for n in (1, 2)]
    models = {
        ModelVersion.objects.create(
            name=name, kind="transformer", weights_sha256=f"{number:064x}", temperature=1.3
        ): noise
        for number, (name, noise) in enumerate(recipe.models.items(), 1)
    }
    activate(list(models)[-1])
    now = timezone.now()
    for start in range(0, pairs, CHUNK):
        size = min(CHUNK, pairs - start)
        lengths = recipe.lengths(draw, size)
        truth = draw.normal(0, 1, size) + 0.25 * np.log2(lengths[:, 0] / lengths[:, 1])
        sources = [
            tuple(names)
            for names in np.array(recipe.sources)[draw.integers(0, len(recipe.sources), (size, 2))]
        ]
        numbers = range(start, start + size)
        with transaction.atomic():
            comparisons = add_pairs(
                dataset,
                [f"How do I cook dish {n}?" for n in numbers[:: recipe.pairs_per_prompt]],
                [
                    (f"a {n} {recipe.text(draw, a)}", f"b {n} {recipe.text(draw, b)}")
                    for n, (a, b) in zip(numbers, lengths.tolist(), strict=True)
                ],
                pairs_per_prompt=recipe.pairs_per_prompt,
                near_duplicates=True,
                sources=sources,
                topics=recipe.topics,
                claimed=3,
            )
            _suggest(comparisons, models, truth, lengths, draw)
            Judgment.objects.bulk_create(
                _votes(
                    comparisons,
                    truth,
                    people,
                    np.linspace(*recipe.skill, recipe.people),
                    guidelines,
                    now,
                    draw,
                )
            )
    return dataset


def _suggest(
    comparisons: Sequence[Comparison],
    models: Mapping[ModelVersion, float],
    truth: Vector,
    lengths: npt.NDArray[np.int_],
    draw: np.random.Generator,
) -> None:
    """Suggestions of the models and of the rules `longest` and `random`."""
    rules = {version.name: version for version in ModelVersion.objects.baselines()}
    margins = {version: truth + draw.normal(0, noise, len(truth)) for version, noise in models.items()}
    margins[rules["longest"]] = lengths[:, 0] - lengths[:, 1]
    margins[rules["random"]] = draw.normal(0, 1, len(truth))
    Suggestion.objects.bulk_create(
        Suggestion(comparison=comparison, version=version, margin=float(margin))
        for version, column in margins.items()
        for comparison, margin in zip(comparisons, column, strict=True)
    )


def _votes(
    comparisons: Sequence[Comparison],
    truth: Vector,
    people: Sequence[Annotator],
    skill: Vector,
    guidelines: Sequence[Guidelines],
    now: datetime,
    draw: np.random.Generator,
) -> Iterable[Judgment]:
    for comparison, margin in zip(comparisons, truth, strict=True):
        days_ago = float(draw.uniform(0, 84))
        newer = days_ago < 42
        for person in draw.choice(len(people), 3, replace=False):
            right = draw.random() < skill[person] + (0.04 if newer else -0.04)
            outcome = "a" if (margin > 0) == right else "b"
            left = "ab"[int(draw.integers(2))]
            if person == 3 and draw.random() < 0.25:
                outcome = left
            if draw.random() < 0.06:
                outcome = "tie"
            yield Judgment(
                comparison=comparison,
                annotator=people[person],
                outcome=outcome,
                stage="first",
                mode="blind",
                left=left,
                guidelines=guidelines[newer],
                seconds=float(draw.lognormal(3.4, 0.5)),
                created_at=now - timedelta(days=days_ago, seconds=float(draw.uniform(0, 300))),
            )
