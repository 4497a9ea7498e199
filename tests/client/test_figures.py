"""The figures of a dataset by the client, on a running workbench."""

import pytest
from preference_workbench import NotFound

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    PromptFactory,
)
from workbench.pipeline import quality

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


def test_the_tables_of_quality_and_of_sources_come_with_their_rows(enter, dataset, alice):
    kitchen = enter(alice).datasets["Kitchen"]
    for read in (kitchen.quality, kitchen.sources, kitchen.source_table, kitchen.statistics):
        with pytest.raises(NotFound):
            read()
    ann, bea = AnnotatorFactory.create_batch(2)
    for number in range(12):
        prompt = PromptFactory.create(dataset=dataset)
        a, b = (CompletionFactory.create(prompt=prompt, source=name) for name in ("alder", "birch"))
        pair = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        JudgmentFactory.create(comparison=pair, annotator=ann, outcome="a")
        JudgmentFactory.create(comparison=pair, annotator=bea, outcome="a" if number else "b")
    run = quality.begin(dataset)
    run.start()
    quality.carry_out(run)

    report = kitchen.statistics().report
    agreement = kitchen.quality_table("agreement")
    board = kitchen.source_table("people")

    (row,) = [row for row in agreement.rows if row["label"] == "All weeks"]
    assert row["raw"] == report["agreement"]["people"]["all"]["raw"]
    assert {table.name for table in kitchen.quality().tables} >= {"agreement", "annotators"}
    assert kitchen.quality("all").label_source == "all"
    assert [row["source"] for row in board.rows] == ["alder", "birch"]
    assert kitchen.sources().boards == report["boards"]
    with pytest.raises(NotFound):
        kitchen.quality_table("taste")
