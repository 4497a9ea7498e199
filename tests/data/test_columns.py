"""The columns that the Data page counts by say what the database says, whatever happened since they were
read."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from django.utils import timezone

from scoring.formats import Pair, Scored
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
    UserFactory,
)
from tests.votes import record_judgment
from workbench.models import Comparison, Dataset, ModelVersion, PromptChange
from workbench.pipeline.annotate.answers import Answer, flag
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.data import acts, columns, more_pairs
from workbench.pipeline.data.changes import Exclude, GiveTag, MarkGold, PutFirst, put_first
from workbench.pipeline.data.columns import Columns, columns_of
from workbench.pipeline.decisions import aggregation, majority
from workbench.pipeline.imports.importing import import_file
from workbench.pipeline.review import decide
from workbench.pipeline.review.gold import mark_gold
from workbench.pipeline.scoring import batches
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


def facts(read: Columns) -> dict[str, list[object]]:
    """All that the columns say, with words in the place of their numbers."""
    said: dict[str, list[object]] = {}
    for name, table in (("prompt", read.prompts), ("pair", read.pairs)):
        for column, values in table.items():
            rounded = np.round(values, 4) if values.dtype == np.float32 else values
            said[f"{name}.{column}"] = [str(value) for value in rounded]
    for name, words in (("language", "language"), ("imported_by", "import")):
        said[f"prompt.{name}"] = [read.words[words].names[n] for n in read.prompts[name]]
    for name in ("source_a", "source_b"):
        said[f"pair.{name}"] = [read.words["source"].names[n] for n in read.pairs[name]]
    said["pair.prompt"] = [str(prompt) for prompt in read.prompts_of(read.pairs)]
    for name, table in read.many.items():
        words_of = read.words[name].names if name in read.words else None  # voters are primary keys
        said[name] = sorted(
            (int(prompt), str(words_of[word] if words_of else word))
            for prompt, word in zip(read.prompts_of(table), table["word"], strict=True)
        )
    return said


def same_as_read_anew(dataset: Dataset) -> bool:
    dataset = Dataset.objects.get(pk=dataset.pk)
    version = ModelVersion.objects.serving(dataset)
    return facts(columns_of(dataset, version)) == facts(columns.read(dataset, version))


def score_everything(dataset: Dataset, version: ModelVersion) -> None:
    def by_length(pairs: Sequence[Pair]) -> list[Scored]:
        return [Scored(float(len(completion)), 1, 1, 0, 0, "fp32") for _, completion in pairs]

    run = batches.plan(dataset, version)
    for _ in batches.score_here(run, by_length, "worker-1", 60):
        pass


def put_in(dataset: Dataset, tmp_path: Path, rows: list[dict[str, object]]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert import_file(file, dataset).accepted


ROWS = [
    {"prompt": f"How far away is the moon in winter, number {n}?", "chosen": f"Far, {n}.", "rejected": "No."}
    for n in range(4)
]


def test_columns_follow_every_vote_flag_label_score_and_import(tmp_path: Path) -> None:
    dataset = DatasetFactory.create(overlap=2)
    put_in(dataset, tmp_path, ROWS)
    version = ModelVersionFactory.create(state="active", temperature=1.0)
    ann, ben = AnnotatorFactory.create_batch(2)
    rita = UserFactory.create()
    assert same_as_read_anew(dataset)

    score_everything(dataset, version)
    assert same_as_read_anew(dataset)

    for annotator, side in ((ann, "left"), (ben, "right")):
        while claim := next_claim(dataset, annotator):
            record_judgment(annotator, claim.comparison, Answer(side, uuid4()))
            assert same_as_read_anew(dataset)

    first, second = Comparison.objects.filter(dataset=dataset)[:2]
    flag(ann, first, "unsafe", "")
    assert same_as_read_anew(dataset)

    decision = decide.settle(first, rita, "a", seen_token=decide.seen(first))
    assert same_as_read_anew(dataset)

    assert decide.undo(decision, rita)
    assert same_as_read_anew(dataset)

    mark_gold(second, "b")
    assert same_as_read_anew(dataset)

    for derived in (majority.derive, aggregation.derive):
        derived(dataset)
        assert same_as_read_anew(dataset)

    put_in(dataset, tmp_path, [{"prompt": "Why is snow white?", "chosen": "Light.", "rejected": " "}])
    assert same_as_read_anew(dataset)


def test_columns_follow_acts_and_their_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = DatasetFactory.create()
    put_in(dataset, tmp_path, ROWS)
    rita = UserFactory.create()
    pks = list(dataset.prompts.values_list("pk", flat=True))
    assert same_as_read_anew(dataset)

    for one_by_one in (acts.NOTED_ONE_BY_ONE, 0):
        monkeypatch.setattr(acts, "NOTED_ONE_BY_ONE", one_by_one)
        for change in (GiveTag("hard"), Exclude("both", "Spam"), MarkGold(outcome="a"), PutFirst()):
            act = acts.do(dataset, change, pks[:2], by=rita)
            assert same_as_read_anew(dataset)
            acts.undo(act, rita)
            assert same_as_read_anew(dataset)


def test_columns_follow_more_pairs_and_the_pairs_of_a_view() -> None:
    prompt = PromptFactory.create()
    dataset = prompt.dataset
    CompletionFactory.create_batch(3, prompt=prompt)
    rita = UserFactory.create()
    assert same_as_read_anew(dataset)

    act = more_pairs.make(dataset, more_pairs.Wanted(per_prompt=3), None, rita, uuid4())
    assert act
    assert same_as_read_anew(dataset)

    for pairs in (more_pairs.pairs_of(act)[:2], []):
        put_first(dataset, pairs)
        assert same_as_read_anew(dataset)

    more_pairs.undo(act, rita)
    assert same_as_read_anew(dataset)


def test_columns_follow_pairs_that_a_ranking_adds() -> None:
    dataset = DatasetFactory.create(allows_ranking=True)
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    CompletionFactory.create(prompt=pair.prompt)
    assert same_as_read_anew(dataset)

    assert next_claim(dataset, AnnotatorFactory.create())

    assert dataset.comparisons.count() == 3
    assert same_as_read_anew(dataset)


def test_columns_follow_picks_from_scores_that_were_there_before_the_pair() -> None:
    dataset = DatasetFactory.create()
    version = ModelVersionFactory.create(state="active", temperature=1.0)
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    ScoreFactory.create(completion=pair.a, version=version, value=2.0)
    ScoreFactory.create(completion=pair.b, version=version, value=1.0)
    assert same_as_read_anew(dataset)

    batches.plan(dataset, version)

    assert pair.suggestions.exists()
    assert same_as_read_anew(dataset)


def test_columns_follow_scores_of_answers_that_no_pair_compares() -> None:
    answer = CompletionFactory.create()
    dataset = answer.prompt.dataset
    version = ModelVersionFactory.create(state="active", temperature=1.0)
    assert same_as_read_anew(dataset)

    score_everything(dataset, version)

    assert answer.scores.exists()
    assert same_as_read_anew(dataset)


def test_columns_follow_labels_by_skill_and_their_withdrawal() -> None:
    dataset = DatasetFactory.create(aggregation="skill")
    pairs = ComparisonFactory.create_batch(25, prompt__dataset=dataset)
    for annotator in AnnotatorFactory.create_batch(2):
        for pair in pairs:
            JudgmentFactory.create(comparison=pair, annotator=annotator, outcome="a")
    assert same_as_read_anew(dataset)

    aggregation.derive(dataset)
    assert pairs[0].decisions.get().method == "aggregation"
    assert same_as_read_anew(dataset)

    pairs[0].judgments.update(is_current=False)
    PromptChange.objects.note(dataset.pk, [pairs[0].prompt_id])
    assert same_as_read_anew(dataset)
    aggregation.derive(dataset)

    assert not pairs[0].decisions.get().is_current
    assert same_as_read_anew(dataset)


def test_nothing_is_read_again_while_nothing_changes(django_assert_num_queries) -> None:
    dataset = PromptFactory.create().dataset
    columns_of(dataset, None)
    with django_assert_num_queries(1):
        columns_of(dataset, None)


def test_a_change_is_not_lost_on_a_machine_whose_clock_is_a_minute_slow() -> None:
    prompt = PromptFactory.create()
    columns_of(prompt.dataset, None)
    CompletionFactory.create(prompt=prompt)
    late = timezone.now() - timedelta(minutes=1)
    PromptChange.objects.create(dataset=prompt.dataset, prompt_id=prompt.pk, at=late)
    assert list(columns_of(prompt.dataset, None).prompts["answers"]) == [1]


def test_columns_of_another_model_or_other_metadata_are_read_anew() -> None:
    prompt = PromptFactory.create(metadata={"level": 2})
    dataset = prompt.dataset
    columns_of(dataset, None)
    dataset.facet_keys = ["level"]
    assert columns_of(dataset, None).words["meta.level"].names == ["2"]


def test_changes_of_more_than_a_day_ago_are_forgotten() -> None:
    dataset = DatasetFactory.create()
    old = PromptChange.objects.create(dataset=dataset, prompt_id=1, at=timezone.now() - timedelta(hours=25))
    young = PromptChange.objects.create(dataset=dataset, prompt_id=1)

    tasks.reconcile()

    assert PromptChange.objects.filter(pk__in=[old.pk, young.pk]).get() == young
