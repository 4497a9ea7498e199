"""Scores of a model that is scored elsewhere, on a running workbench."""

import pytest
from preference_workbench import RowsRefused

from tests.factories import ComparisonFactory, UserFactory
from workbench.models import Score

pytestmark = pytest.mark.django_db(transaction=True)


def test_scores_are_pushed_in_chunks_and_never_twice(enter, dataset, monkeypatch):
    monkeypatch.setattr("preference_workbench.models.SCORES", 3)
    for _ in range(4):
        ComparisonFactory.create(prompt__dataset=dataset)
    wb = enter(UserFactory.create(is_staff=True))
    model = wb.models.external("judge", "abcdef1234")
    answers = sorted(pk for pair in dataset.comparisons.all() for pk in (pair.a_id, pair.b_id))

    pushed = model.push_scores((pk, pk / 2) for pk in answers)
    again = model.push_scores((pk, pk / 2) for pk in answers)
    with pytest.raises(RowsRefused, match=r"^Row 5: ") as refused:
        model.push_scores([*((pk, pk / 2) for pk in answers[:4]), (10**6, 1.0)])

    assert (model.kind, pushed.stored, again.stored, again.known) == ("external", 8, 0, 8)
    assert refused.value.errors[0].line == 5
    stored = Score.objects.filter(version=model.id).values_list("completion_id", "value")
    assert dict(stored) == {pk: pk / 2 for pk in answers}


def test_a_model_is_renamed(enter):
    wb = enter(UserFactory.create(is_staff=True))
    model = wb.models.external("judge", "abcdef1234", notice="Scored elsewhere.")

    model.rename("judge-1")

    assert (model.name, model.notice) == ("judge-1", "Scored elsewhere.")
    assert wb.models["judge-1"].id == model.id
