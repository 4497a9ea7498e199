"""A large dataset for bench_search: texts, and all the facts that the Data page counts by. Random, the same
for the same number of prompts. Set Django up before this module is imported."""

import random
import string

import numpy as np
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from workbench.db.bulk import NewIds, RowValues, in_chunks, insert
from workbench.models import (
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Decision,
    Flag,
    Judgment,
    ModelVersion,
    Prompt,
    PromptTag,
    Score,
    Suggestion,
    Topic,
)
from workbench.pipeline.vectors import store

ANSWERS = 3
SIDES = ((0, 1), (1, 2), (0, 2))
"""The answers of each pair of a prompt."""

VOCABULARY = 50_000
PROMPT_WORDS, ANSWER_WORDS = 20, 50
SOURCES = ("alder", "birch", "cedar", "rowan", "willow")
LANGUAGES = ("en", "en", "en", "en", "de", "fr", "es", "zh", "")
LEVELS = ("easy", "medium", "hard")
TAGS = ("check", "odd", "later", "translated")
TOPICS = 60
WIDTH = 384
CHUNK = 5_000
VECTORS_AT_ONCE = 20_000


def vocabulary(draw: random.Random) -> list[str]:
    """Different words, the commonest first; their lengths grow as those of English words do."""
    found: dict[str, None] = {}
    while len(found) < VOCABULARY:
        rank = len(found) + 1
        length = max(2, round(1.6 + 0.4 * np.log2(rank)) + draw.randint(-1, 1))
        found["".join(draw.choices(string.ascii_lowercase, k=length))] = None
    return list(found)


def fill(dataset: Dataset, prompts: int) -> list[list[str]]:
    """Store the texts, with all that is known of them but pairs. Gives the words of some of them."""
    draw, rng = random.Random(3), np.random.default_rng(3)
    known = np.array(vocabulary(draw), dtype=object)
    weights = 1 / np.arange(1, VOCABULARY + 1)
    cumulative = np.cumsum(weights / weights.sum())
    kept: list[list[str]] = []
    topics = Topic.objects.bulk_create(
        Topic(dataset=dataset, number=n, name=f"topic {n}", size=prompts // TOPICS)
        for n in range(1, TOPICS + 1)
    )

    def words(mean: int) -> list[str]:
        size = max(3, int(rng.gamma(4, mean / 4)))
        chosen: list[str] = known[
            np.searchsorted(cumulative, rng.random(size), side="right").clip(max=VOCABULARY - 1)
        ].tolist()
        if rng.random() < 0.002:
            kept.append(chosen)
        return chosen

    ids = {model: NewIds(model) for model in (Prompt, Completion)}
    now = str(connection.ops.adapt_datetimefield_value(timezone.now()))
    for chunk in in_chunks(range(prompts), CHUNK):
        new_prompts: list[RowValues] = []
        answers: list[RowValues] = []
        for n in chunk:
            key, text = ids[Prompt].take(), " ".join(words(PROMPT_WORDS))
            messages = f'[{{"role": "user", "content": "{text}"}}]'
            # Every twentieth is in the group of the one before it.
            group = f"{n - (n % 20 == 19):016x}" * 4
            level = f'{{"level": "{draw.choice(LEVELS)}"}}'
            facts = len(text), draw.choice((1, 1, 1, 3, 5)), draw.choice(LANGUAGES), level
            excluded = draw.choice(("queue", "releases", "both")) if n % 100 == 0 else ""
            topic = topics[int(len(topics) * draw.random() ** 2)].pk
            new_prompts.append((key, dataset.pk, f"{n:064x}", group, messages, *facts, excluded, topic, now))
            for k in range(ANSWERS):
                answer = " ".join(words(ANSWER_WORDS))
                answers.append(
                    (ids[Completion].take(), key, f"{k:064x}", answer, draw.choice(SOURCES), "{}", now)
                )
        insert(
            Prompt,
            (
                "id", "dataset_id", "sha256", "group", "messages", "characters", "turns", "language",
                "metadata", "excluded_from", "topic_id", "created_at",
            ),
            new_prompts,
        )  # fmt: skip
        insert(
            Completion,
            ("id", "prompt_id", "sha256", "text", "source", "metadata", "created_at"),
            answers,
            {"conversation": None},
        )
    return kept


def add_pairs(dataset: Dataset, pairs_per_prompt: int) -> None:
    """Pairs of each prompt, and what people and a model said of them: 99 % of the answers are scored, a third
    of the pairs has two votes, most of these a final label, and some are gold, flagged or tagged."""
    draw = random.Random(4)
    version = ModelVersion.objects.create(
        name="bench", kind="transformer", state="active", activated_at=timezone.now(), temperature=1.0
    )
    people = [Annotator.objects.create(source=f"person {n}").pk for n in range(2)]
    tags = [dataset.tags.create(name=name).pk for name in TAGS]
    answers = Completion.objects.of(dataset).order_by("pk").values_list("pk", "prompt")
    pair_ids, now = NewIds(Comparison), str(timezone.now())
    for chunk in in_chunks(answers.iterator(chunk_size=CHUNK), CHUNK * ANSWERS):
        rows: dict[type[Model], list[RowValues]] = {model: [] for model in _COLUMNS}
        for at in range(0, len(chunk), ANSWERS):
            prompt, keys = chunk[at][1], [key for key, _ in chunk[at : at + ANSWERS]]
            scored = [draw.gauss(0, 1) for _ in keys]
            rows[Score] += [
                (key, version.pk, value, "fp32")
                for key, value in zip(keys, scored, strict=True)
                if draw.random() < 0.99
            ]
            if draw.random() < 0.05:
                rows[PromptTag].append((prompt, draw.choice(tags)))
            for a, b in SIDES[:pairs_per_prompt]:
                _add_pair(
                    rows, draw, (pair_ids.take(), dataset.pk, prompt, keys[a], keys[b]),
                    scored[a] - scored[b], version.pk, people,
                )  # fmt: skip
        for model, columns in _COLUMNS.items():
            insert(model, columns, rows[model], {"created_at": now})


def _add_pair(
    rows: dict[type[Model], list[RowValues]],
    draw: random.Random,
    pair: tuple[int, ...],
    margin: float,
    version: int,
    people: list[int],
) -> None:
    key, *_ = pair
    rows[Suggestion].append((key, version, margin))
    drawn = draw.random()
    gold = "a" if drawn < 0.005 else ""
    rows[Comparison].append((*pair, 0 if gold else None, gold, int(drawn > 0.999), draw.random()))
    if drawn > 0.33:
        return
    votes = [draw.choice("aab") for _ in people]
    rows[Judgment] += [
        (key, person, vote, "first", "a", "blind") for person, vote in zip(people, votes, strict=True)
    ]
    if votes[0] == votes[1]:
        rows[Decision].append((key, votes[0], "agreement", 2, 2))
    elif drawn < 0.02:
        rows[Flag].append((key, people[0], "other"))


_COLUMNS: dict[type[Model], tuple[str, ...]] = {
    Score: ("completion_id", "version_id", "value", "precision"),
    Comparison: (
        "id", "dataset_id", "prompt_id", "a_id", "b_id", "required", "gold_outcome", "priority",
        "random_rank",
    ),
    Suggestion: ("comparison_id", "version_id", "margin"),
    Judgment: ("comparison_id", "annotator_id", "outcome", "stage", "left", "mode"),
    Decision: ("comparison_id", "outcome", "method", "votes", "votes_for"),
    Flag: ("comparison_id", "annotator_id", "reason"),
    PromptTag: ("prompt_id", "tag_id"),
}  # fmt: skip


def add_vectors(dataset: Dataset) -> None:
    """A vector of random direction for each prompt and answer: no row is much nearer than the next, which is
    harder to rank than texts are."""
    rng = np.random.default_rng(5)
    store.adopt(dataset.pk, "bench")
    prompts = [(key, key) for key in Prompt.objects.of(dataset).values_list("pk", flat=True)]
    answers = list(Completion.objects.of(dataset).order_by("pk").values_list("pk", "prompt"))
    kinds: dict[store.Kind, list[tuple[int, int]]] = {"prompts": prompts, "completions": answers}
    for kind, keys in kinds.items():
        before = 0
        for chunk in in_chunks(keys, VECTORS_AT_ONCE):
            exact = rng.standard_normal((len(chunk), WIDTH), dtype=np.float32)
            exact /= np.linalg.norm(exact, axis=1, keepdims=True)
            before = store.append(dataset.pk, "bench", kind, before, np.array(chunk), exact)
