"""The number beside each value of a facet is the number of prompts that a click on it finds; and columns that
were brought up to date say the same as columns that were read anew."""

import random
from itertools import pairwise

import numpy as np
import pytest

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    ModelVersionFactory,
    PromptFactory,
)
from workbench.models import Dataset, Excluded, ModelVersion, Prompt, PromptChange, Suggestion
from workbench.models.dataset import group_digest
from workbench.pipeline.data import columns, finding
from workbench.pipeline.data.columns import Columns, Table
from workbench.pipeline.data.fields import FIELDS, Mark, fields_of
from workbench.pipeline.data.finding import Selection, find
from workbench.pipeline.data.search_index import reindex

NAMES = ["alder", "birch", "cedar", "rowan"]
WORDS = ["heat", "pump", "moves", "out", "of", "the", "house", "and", "cools", "a", "room"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are counted in blocks of thousands: here in blocks of three."""
    monkeypatch.setattr(columns, "BLOCK", 3)


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersionFactory.create(state="active", temperature=1.5)


def filled(draw: random.Random, version: ModelVersion) -> Dataset:
    """Some prompts with up to three pairs each, and random facts of every kind."""
    dataset = DatasetFactory.create(facet_keys=["level", "absent"])
    people = AnnotatorFactory.create_batch(3)
    tags = [dataset.tags.create(name=name) for name in NAMES]
    topics = [dataset.topics.create(number=n, name=f"topic {n}") for n in (1, 2, 5)]
    for n in range(20):
        same = group_digest([{"role": "user", "content": f"{n // 3}"}])
        prompt = PromptFactory.create(
            dataset=dataset,
            messages=[{"role": "user", "content": f"{' '.join(draw.choices(WORDS, k=4))} {n}"}],
            characters=draw.choice([0, 40, 100, 499, 5000, 20_000]),
            turns=draw.randint(0, 6),
            language=draw.choice(["", "en", "de"]),
            excluded_from=draw.choice(["", "", *Excluded.values]),
            topic=draw.choice([None, *topics]),
            metadata=draw.choice([{}, {"level": 1}, {"level": "hard"}, {"level": None}]),
            **({"group": same} if draw.random() < 0.5 else {}),
        )
        for tag in draw.sample(tags, draw.randint(0, 2)):
            tag.prompts.add(prompt)
        _add_pairs(draw, prompt, version, people)
    reindex(dataset, list(Prompt.objects.of(dataset).values_list("pk", flat=True)))
    return dataset


def _add_pairs(draw: random.Random, prompt: Prompt, version: ModelVersion, people: list) -> None:
    answers = [
        CompletionFactory.create(
            prompt=prompt,
            text=draw.choice([" ", "short", "long " * 60]) + " " * k,
            source=draw.choice(["", *NAMES]),
        )
        for k in range(draw.choice([0, 2, 3, 4]))
    ]
    for answer in answers:
        if draw.random() < 0.7:
            answer.scores.create(version=version, value=draw.gauss(0, 1), precision="fp32")
    for a, b in list(pairwise(answers))[: draw.randint(1, 3)]:
        gold = draw.random() < 0.3
        pair = ComparisonFactory.create(
            prompt=prompt,
            a=a,
            b=b,
            gold_outcome="a" if gold else "",
            required=0 if gold else None,
            priority=draw.choice([0, 2]),
        )
        if draw.random() < 0.7:
            margin = draw.choice([-5, -1.0, 0, 0.1, 0.7, 3])
            Suggestion.objects.create(comparison=pair, version=version, margin=margin)
        voters = draw.sample(people, draw.randint(0, 3))
        outcomes = [draw.choice(["a", "b", "tie", "both_bad", "cannot_judge"]) for _ in voters]
        for person, outcome in zip(voters, outcomes, strict=True):
            pair.judgments.create(annotator=person, outcome=outcome, stage="first", mode="blind")
        if outcomes and draw.random() < 0.5:
            method = draw.choice(["agreement", "majority", "aggregation", "reviewer"])
            pair.decisions.create(outcome=outcomes[0], method=method)
        if voters and draw.random() < 0.3:
            pair.flags.create(annotator=voters[0], reason="other")


def selection(draw: random.Random, dataset: Dataset, values: dict[str, list[str]]) -> Selection:
    """Up to four fields with one or two values each, sometimes with words, an own range, or a value that no
    prompt has any more."""
    chosen = {}
    for name in draw.sample(sorted(values), draw.randint(0, 4)):
        among = [*values[name], "gone"] if name in ("source", "tag", "topic") else values[name]
        among = [*among, "3-700"] if name in ("length", "answer") else among
        chosen[name] = tuple(draw.sample(among, min(len(among), draw.randint(1, 2))))
    fields = fields_of(dataset.facet_keys)
    return Selection(
        text=draw.choice(["", "", "heat", "pump -cools", '"of the"']),
        chosen={name: chosen[name] for name in fields if name in chosen},
    )


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(4))
def test_each_facet_counts_what_a_click_on_it_finds(seed: int, version: ModelVersion) -> None:
    draw = random.Random(seed)
    dataset = filled(draw, version)
    every = find(dataset, Selection(), version)
    values: dict[str, list[str]] = {}
    for facet in every.facets:
        for value in facet.values:
            values.setdefault(value.name, []).append(value.value)
    assert {one.name for one in FIELDS} - set(values) <= {"disagreement", "sources"}

    for _ in range(25):
        asked = selection(draw, dataset, values)
        found = find(dataset, asked, version)
        for facet in found.facets:
            for value in facet.values:
                if isinstance(found.fields[value.name], Mark):
                    clicked = asked if value.chosen else asked.with_value(value.name, value.value)
                elif value.value in [known for known, _ in found.fields[value.name].values(found.columns)]:
                    clicked = asked.with_only(value.name, value.value)
                else:  # a range of one's own, or a value that is gone, is shown with what is found now
                    clicked = asked
                then = find(dataset, clicked, version)
                assert value.count == len(then.prompts), (asked, value)
                assert set(then.prompts.tolist()) == set(
                    then.columns.prompts_of(then.columns.pairs)[then.pair_rows].tolist()
                ) or not any(found.fields[name].of_pairs for name in clicked.chosen)


def counts_of(found: finding.Found) -> list[tuple[str, str, int]]:
    return [(value.name, value.value, value.count) for facet in found.facets for value in facet.values]


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(4))
def test_counts_after_a_change_are_those_of_a_process_that_starts_anew(
    seed: int, version: ModelVersion
) -> None:
    draw = random.Random(seed)
    dataset = filled(draw, version)
    before = find(dataset, Selection(), version)
    counts_before, grid_before = counts_of(before), before.grid()
    changed = draw.sample(list(Prompt.objects.of(dataset)), 5)
    for prompt in changed:
        prompt.turns, prompt.language = 9, "fr"
        prompt.save()
        prompt.comparisons.update(gold_outcome="", priority=3)
        Suggestion.objects.filter(comparison__prompt=prompt).update(margin=9.0)
    PromptChange.objects.note(dataset.pk, [prompt.pk for prompt in changed])

    after = find(dataset, Selection(), version)

    anew = find(dataset, Selection(), version, columns.read(dataset, version))
    assert sorted(counts_of(after)) == sorted(counts_of(anew)) != sorted(counts_before)
    assert after.grid() == anew.grid()
    assert sum(map(sum, grid_before)) > 0


# --- columns that are brought up to date --------------------------------------------------------------------

Facts = dict[int, tuple[int, list[tuple[int, float]], list[int]]]


def columns_of_facts(facts: Facts) -> Columns:
    """For each Prompt: (group, pairs of (primary key, margin), words)."""
    keys = sorted(facts, reverse=True)
    pairs = [(pk, key, margin) for key in keys for pk, margin in facts[key][1]]
    words = [(key, word) for key in keys for word in facts[key][2]]
    return Columns.of_tables(
        Table(pk=np.array(keys, np.int64), group=np.array([facts[key][0] for key in keys], np.int64)),
        Table(
            pk=np.array([pk for pk, _, _ in pairs], np.int64),
            prompt=np.array([key for _, key, _ in pairs], np.int64),
            margin=np.array([margin for *_, margin in pairs], np.float32),
        ),
        {
            "tag": Table(
                prompt=np.array([key for key, _ in words], np.int64),
                word=np.array([word for _, word in words], np.int32),
            )
        },
        {},
    )


def drawn_facts(draw: random.Random) -> Facts:
    return {
        key: (
            draw.randint(0, 2),
            [(10 * key + n, draw.choice([float("nan"), 0.5, 2.0])) for n in range(draw.randint(0, 3))],
            draw.sample(range(4), draw.randint(0, 3)),
        )
        for key in {1, *draw.sample(range(2, 9), draw.randint(0, 7))}
    }


@pytest.mark.parametrize("seed", range(60))
def test_rows_that_change_take_the_place_of_the_old_ones(seed: int) -> None:
    draw = random.Random(seed)
    before, after = drawn_facts(draw), drawn_facts(draw)
    if seed % 2:  # the usual change: no prompt comes or goes, and each stays in its group
        after = {key: (before[key][0], *facts[1:]) for key, facts in after.items() if key in before}
        changed = set(after)
    else:
        changed = set(draw.sample(range(1, 9), draw.randint(1, 8)))
    old, untouched = columns_of_facts(before), columns_of_facts(before)
    now = {key: facts for key, facts in before.items() if key not in changed}
    fresh = {key: facts for key, facts in after.items() if key in changed}

    updated = old.updated(np.array(sorted(changed), np.int64), columns_of_facts(fresh))

    assert_same(updated, columns_of_facts(now | fresh))
    assert_same(old, untouched)  # other threads read these arrays


def assert_same(one: Columns, other: Columns) -> None:
    for a, b in zip(
        (one.prompts, one.pairs, one.many["tag"]),
        (other.prompts, other.pairs, other.many["tag"]),
        strict=True,
    ):
        assert set(a) == set(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], name)


def test_a_column_that_stays_the_same_is_not_copied() -> None:
    before = columns_of_facts({n: (n, [(10 * n, 0.5)], [1]) for n in range(1, 5)})
    fresh = columns_of_facts({2: (2, [(20, 2.0)], [1])})

    after = before.updated(np.array([2]), fresh)

    assert after.pairs["margin"].tolist() == [0.5, 2.0, 0.5, 0.5]
    assert after.pairs["pk"] is before.pairs["pk"]
    assert after.prompts["alike"] is before.prompts["alike"]


@pytest.mark.parametrize("pairs", [[1, 1, 1], [3, 3], [1, 3, 2, 4], [2, columns.FEW_PAIRS + 2, 1], [9]])
def test_what_one_of_its_pairs_has_a_prompt_has(pairs: list[int]) -> None:
    bits = [1 << (place * 5 % 8) for place in range(sum(pairs) + 2)]
    starts = [sum(pairs[:n]) for n in range(len(pairs))]

    block = columns.PairBlock.of(slice(2, 2 + sum(pairs)), np.array(starts))

    own = bits[2:]
    expected = [
        np.bitwise_or.reduce(own[start : start + number]) for start, number in zip(starts, pairs, strict=True)
    ]
    assert block.joined(np.array(bits, np.uint8)[block.rows]).tolist() == expected
