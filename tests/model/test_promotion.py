import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.urls import reverse
from django.utils import timezone

from scoring.anytime import level_of
from scoring.formats import BadText, Scored
from tests.factories import (
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    UserFactory,
)
from tests.planted import has_learnt
from workbench.models import (
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    ModelVersion,
    Promotion,
    Score,
    ScoreBatch,
    Suggestion,
)
from workbench.pipeline.model import promotion
from workbench.pipeline.model.promotion import Refused, activate
from workbench.pipeline.scoring import batches as scoring_batches
from workbench.pipeline.text.splits import split_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def old() -> ModelVersion:
    version = ModelVersionFactory.create(name="old", temperature=1.0)
    activate(version)
    return version


@pytest.fixture
def new() -> ModelVersion:
    return ModelVersionFactory.create(name="new", temperature=1.0)


@pytest.fixture
def admin():
    return UserFactory.create(username="ada", is_staff=True)


def unseen_prompts(dataset: Dataset, start: int = 0) -> Iterator:
    """Prompts of the test split, without end."""
    number = start
    while True:
        prompt = PromptFactory.build(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        if dataset.frozen or split_of(prompt.group) == "test":
            prompt.save()
            yield prompt
        number += 1


def labelled(*comparisons: Comparison) -> None:
    """Side a is what a file prefers."""
    by, _ = Annotator.objects.get_or_create(source="labels.jsonl", user=None)
    Judgment.objects.bulk_create(
        Judgment(comparison=comparison, annotator=by, outcome="a", stage="imported")
        for comparison in comparisons
    )


def settled(dataset: Dataset, margins: list[tuple[ModelVersion, list[bool]]], start: int = 0) -> None:
    """Pairs that a file labels, one a prompt, and for each version whether it is right on each pair."""
    pairs = list(zip(*(right for _, right in margins), strict=True))
    comparisons = [
        ComparisonFactory.create(prompt=prompt)
        for prompt, _ in zip(unseen_prompts(dataset, start), pairs, strict=False)
    ]
    labelled(*comparisons)
    Suggestion.objects.bulk_create(
        Suggestion(comparison=comparison, version=version, margin=1.0 if right else -1.0)
        for version, column in margins
        for comparison, right in zip(comparisons, column, strict=True)
    )


def shares(n: int, new_right: float, old_right: float) -> tuple[list[bool], list[bool]]:
    """Which of n pairs each is right on; what the worse one has right, the better one has too."""
    return [i < n * new_right for i in range(n)], [i < n * old_right for i in range(n)]


@pytest.fixture
def few(monkeypatch):
    """Sixty pairs are enough, so that each test makes no more."""
    monkeypatch.setattr(promotion, "NEEDED", 60)


def gate_of(new: ModelVersion, old: ModelVersion, dataset: Dataset, n: int = 60, up: float = 0.9):
    right, was_right = shares(n, up, 0.5)
    settled(dataset, [(new, right), (old, was_right)])
    return promotion.weigh(new, dataset)


def test_a_version_that_is_better_here_and_worse_nowhere_is_promoted(few, old, new, dataset):
    gate = gate_of(new, old, dataset)

    record = promotion.promote(new, dataset)

    assert gate.verdict == "promote"
    assert ModelVersion.objects.active() == new
    assert (record.kind, record.supersedes, record.gate["verdict"]) == ("earned", old, "promote")
    assert record.gate["test"]["n"] == 60


def test_a_version_that_is_not_clearly_better_is_not_promoted(few, old, new, dataset):
    gate = gate_of(new, old, dataset, up=0.55)

    assert gate.verdict == "not enough data"
    with pytest.raises(Refused, match=r"Not decided yet on Kitchen: \+5.0 points on 60 pairs"):
        promotion.promote(new, dataset)
    assert ModelVersion.objects.active() == old


def test_a_version_that_is_shown_to_be_no_better_is_refused(few, old, new, dataset):
    gate = gate_of(new, old, dataset, up=0.2)

    assert gate.verdict == "no"
    assert "Not better by 3.0 points or more on Kitchen: −30.0 points on 60 pairs" in gate.sentence


def test_the_gate_says_how_many_more_votes_would_decide(few, old, new, dataset):
    dataset.overlap = 2
    dataset.save()

    open_one = next(c for c in gate_of(new, old, dataset, up=0.55).conditions if c.name == "superior")

    assert (open_one.met, open_one.weighed.met) == (None, None)
    assert open_one.more_votes == 2 * open_one.weighed.more_pairs
    more = f"{open_one.more_votes:,} more votes on {open_one.weighed.more_pairs:,} more pairs"
    assert f"If the difference stays as it is, about {more} would decide." in open_one.said


def test_about_as_many_pairs_more_as_the_gate_names_decide(few, old, new, dataset):
    first = next(c for c in gate_of(new, old, dataset, up=0.6).conditions if c.name == "superior")
    more = first.weighed.more_pairs + 10

    right, was_right = shares(more, 0.6, 0.5)
    settled(dataset, [(new, right), (old, was_right)], start=100_000)
    grown = next(c for c in promotion.weigh(new, dataset).conditions if c.name == "superior")

    assert (first.met, grown.met) == (None, True)
    assert grown.weighed.pairs == 60 + more < 500


def test_candidates_against_one_active_version_share_one_chance_of_error(old, dataset):
    before = ModelVersionFactory.create(name="before")
    active = ModelVersionFactory.create(name="better")
    activate(active, reason="better")
    later = [ModelVersionFactory.create(name=f"later {n}") for n in range(3)]

    numbers = [promotion.candidate_number(v, active) for v in (*later, before, old)]

    assert numbers == [1, 3, 5, 2, 4]
    assert level_of(1) == 0.05
    assert sum(level_of(k) / 2 for k in range(1, 100_000)) <= 0.05
    wide, narrow = (
        next(c for c in promotion.weigh(v, dataset).conditions if c.name == "superior") for v in later[:2]
    )
    assert wide.said == narrow.said  # nothing is scored


def test_a_rule_takes_no_place_among_the_candidates(old, new):
    ModelVersionFactory.create(name="longest of us", kind="baseline", weights_sha256="")

    assert promotion.candidate_number(ModelVersionFactory.create(name="third"), old) == 3


def test_under_300_decided_test_pairs_there_is_not_enough_data(old, new, dataset):
    gate = gate_of(new, old, dataset)

    assert gate.verdict == "not enough data"
    assert "60 pairs of Kitchen count. A reliable difference needs 300" in gate.sentence


def test_an_uncalibrated_version_is_not_promoted(few, old, new, dataset):
    new.temperature = None
    new.save()

    gate = gate_of(new, old, dataset)

    assert gate.verdict == "no"
    assert "not calibrated" in gate.sentence


def test_a_dataset_that_was_trained_on_and_then_frozen_decides_nothing(few, old, new, dataset):
    gate_of(new, old, dataset)
    held = DatasetFactory.create(name="Public", frozen=True)
    settled(held, list(zip((new, old), shares(60, 0.9, 0.5), strict=True)))
    prompts = [prompt.messages[0]["content"] for prompt in held.prompts.all()]
    has_learnt(new, prompts[:50])
    has_learnt(old, prompts[50:55])

    gate = promotion.weigh(new, held)

    assert gate.verdict == "not enough data"
    assert gate.test.paired.n == 5
    assert (
        "On Public: 5 pairs have imported labels. Left out: 55 pairs of prompts that one of the two"
        in "".join(condition.said for condition in gate.conditions)
    )
    assert gate.as_json()["test"]["learnt"] == 55


def test_a_gate_between_models_of_which_too_little_is_known_says_so(few, old, new, dataset):
    gate = gate_of(new, old, dataset)

    [remarks] = [condition.said for condition in gate.conditions if condition.name == "unseen"]
    assert "new: its training data is not known. old: its training data is not known." in remarks


def test_a_version_that_loses_on_a_frozen_dataset_is_not_promoted(few, old, new, dataset):
    held = DatasetFactory.create(name="Public", frozen=True)
    settled(held, list(zip((new, old), shares(60, 0.3, 0.6), strict=True)))

    gate = gate_of(new, old, dataset)

    assert gate.verdict == "no"
    assert "Worse on Public: −30.0 points" in gate.sentence


def test_a_frozen_dataset_that_is_too_small_to_tell_is_not_enough_data(few, old, new, dataset):
    held = DatasetFactory.create(name="Public", frozen=True)
    settled(held, list(zip((new, old), shares(20, 0.6, 0.6), strict=True)))

    assert gate_of(new, old, dataset).verdict == "not enough data"


def test_a_slice_that_got_significantly_worse_stops_a_version_that_is_better_on_the_whole(
    few, old, new, dataset
):
    # Prompts of one subset, on which the new version is wrong where the old was right.
    settled(dataset, [(new, [False] * 40), (old, [True] * 40)])
    dataset.prompts.update(metadata={"subset": "safety"})
    right, was_right = shares(160, 0.95, 0.4)
    comparisons = [
        ComparisonFactory.create(prompt=prompt)
        for prompt, _ in zip(unseen_prompts(dataset, 100_000), right, strict=False)
    ]
    dataset.prompts.filter(metadata={}).update(metadata={"subset": "chat"})
    for comparison, good, bad in zip(comparisons, right, was_right, strict=True):
        labelled(comparison)
        for version, r in ((new, good), (old, bad)):
            Suggestion.objects.create(comparison=comparison, version=version, margin=1.0 if r else -1.0)

    gate = promotion.weigh(new, dataset)

    assert gate.verdict == "no"
    assert [c.met for c in gate.conditions if c.name == "superior"] == [True]
    assert "where subset is “safety”: −100.0 points" in gate.sentence


def test_pairs_that_only_one_of_the_two_has_scored_are_not_enough_data(few, old, new, dataset):
    gate_of(new, old, dataset)
    Suggestion.objects.filter(pk=new.suggestions.first().pk).delete()
    comparisons = iter(unseen_prompts(dataset, 200_000))
    labelled(ComparisonFactory.create(prompt=next(comparisons)))

    gate = promotion.weigh(new, dataset)

    assert gate.verdict == "not enough data"
    assert "2 pairs of Kitchen still lack a score of new or old" in gate.sentence


def test_pairs_with_an_empty_answer_keep_no_version_from_being_promoted(few, old, new, dataset):
    gate_of(new, old, dataset)
    comparison = ComparisonFactory.create(prompt=next(unseen_prompts(dataset, 10_000)))
    Completion.objects.filter(pk=comparison.b_id).update(text=" \n")
    labelled(comparison)

    gate = promotion.weigh(new, dataset)

    assert gate.verdict == "promote"
    (scored,) = (condition for condition in gate.conditions if condition.name == "scored")
    assert scored.said == f"Both models have scored every pair that counts in {dataset}."
    assert "Left out: 1 pair with an empty answer." in gate.conditions[0].said


def test_an_override_needs_an_admin_by_name_and_a_reason_and_keeps_both(old, new, dataset, admin, bob):
    for by, reason in ((None, "why"), (bob, "why"), (admin, " ")):
        with pytest.raises(Refused):
            promotion.promote(new, dataset, by=by, override=True, reason=reason)
    assert ModelVersion.objects.active() == old

    record = promotion.promote(new, dataset, by=admin, override=True, reason="The old one was broken.")

    assert ModelVersion.objects.active() == new
    assert (record.kind, record.by, record.reason) == ("override", admin, "The old one was broken.")
    assert record.gate["verdict"] == "not enough data"


def test_an_override_without_a_reason_cannot_even_be_stored(old, new):
    with pytest.raises(IntegrityError):
        activate(new)


def test_the_first_model_needs_no_gate(new, dataset):
    record = promotion.promote(new, dataset)

    assert (record.kind, record.supersedes) == ("first", None)


def test_promotion_makes_every_dataset_want_the_new_scores(few, old, new, dataset):
    Dataset.objects.update(needs_scoring=False)
    gate_of(new, old, dataset)

    promotion.promote(new, dataset)

    assert not Dataset.objects.filter(needs_scoring=False).exists()


def test_a_version_that_was_weighed_against_another_than_is_active_now_is_refused(
    few, old, new, dataset, monkeypatch
):
    gate_of(new, old, dataset)
    weighed = promotion.weigh(new, dataset)
    successor = ModelVersionFactory.create(name="other")
    activate(successor, reason="quicker")
    monkeypatch.setattr(promotion, "weigh", lambda *_: weighed)

    with pytest.raises(Refused, match="other has become the active model meanwhile"):
        promotion.promote(new, dataset)

    assert ModelVersion.objects.active() == successor


def test_a_rollback_takes_back_one_promotion_after_the_other_and_is_on_record(admin):
    first, second, third = (ModelVersionFactory.create(name=name) for name in ("one", "two", "three"))
    activate(first)
    activate(second, reason="better")
    activate(third, reason="better still")

    assert promotion.roll_back(by=admin, reason="It prefers apologies").version == second
    assert promotion.roll_back(by=admin).version == first
    with pytest.raises(Refused, match="no model to go back to from one"):
        promotion.roll_back(by=admin)

    assert ModelVersion.objects.active() == first
    assert [p.kind for p in Promotion.objects.history()] == [
        "rollback", "rollback", "override", "override", "first",
    ]  # fmt: skip


def test_after_a_rollback_the_old_suggestions_are_shown_at_once(old, new, dataset):
    comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
    for version in (old, new):
        Suggestion.objects.create(comparison=comparison, version=version, margin=1.0)
    ModelVersion.objects.filter(pk=old.pk).update(activated_at=timezone.now() - timedelta(days=1))
    activate(new, reason="better")
    assert comparison.suggestions.to_show().first().version == new

    promotion.roll_back()

    assert comparison.suggestions.to_show().first().version == old


def test_the_active_version_is_not_promoted_again(old, dataset):
    with pytest.raises(Refused, match="already the active model"):
        promotion.promote(old, dataset)


def test_a_version_that_learns_that_people_like_length_is_not_stopped_where_they_did_not(
    few, old, new, dataset
):
    settled(dataset, [(new, [False] * 40), (old, [True] * 40)])
    for comparison in dataset.comparisons.all():
        Completion.objects.filter(pk=comparison.b_id).update(text="long and wrong " * 20)
    right, was_right = shares(160, 0.95, 0.4)
    for prompt, good, bad in zip(unseen_prompts(dataset, 100_000), right, was_right, strict=False):
        comparison = ComparisonFactory.create(prompt=prompt)
        Completion.objects.filter(pk=comparison.a_id).update(text="long and right " * 20)
        labelled(comparison)
        for version, r in ((new, good), (old, bad)):
            Suggestion.objects.create(comparison=comparison, version=version, margin=1.0 if r else -1.0)

    gate = promotion.weigh(new, dataset)

    worse = [p for p in gate.test.paired.slices if p.label == "preferred is shorter"]
    assert worse[0].difference == -1
    assert gate.verdict == "promote"


# --- the version before serves until the new one has scored everything --------------------------------------


def said_here(dataset, client) -> dict[str, str]:
    """What each page says of the model's part, for a reader who cannot see into the database."""
    pages = {name: reverse(name, args=[dataset.pk]) for name in ("dataset", "data", "review", "quality")}
    return {name: client.get(path).content.decode() for name, path in pages.items()} | {
        "home": client.get(reverse("home")).content.decode()
    }


@pytest.fixture
def rescored(dataset):
    """Two models that say the opposite of each other; the old one has scored all, the new one is about to."""
    old = ModelVersionFactory.create(name="old-model", temperature=1.0)
    new = ModelVersionFactory.create(name="new-model", temperature=1.0)
    comparisons = ComparisonFactory.create_batch(4, prompt__dataset=dataset)
    for comparison in comparisons:
        JudgmentFactory.create(comparison=comparison, outcome="a", mode="blind")
    activate(old)
    scoring_batches.plan_missing(dataset)
    assert score_some(old, {comparison.a_id for comparison in comparisons}) == 8
    dataset.refresh_from_db()
    return old, new, comparisons


def score_some(version, preferred, batches: int = 100) -> int:
    """Score some batches as a worker does: the preferred completions 1, the others 0."""
    texts = dict(Completion.objects.filter(pk__in=preferred).values_list("text", "pk"))

    def scorer(pairs):
        return [Scored(float(text in texts), 1, 1, 0, 0, "fp32") for _, text in pairs]

    for batch in list(ScoreBatch.objects.unfinished().filter(version=version).order_by("pk")[:batches]):
        scoring_batches.work(batch, scorer, "worker", 60)
    return Score.objects.filter(version=version).count()


def test_until_the_new_model_has_scored_everything_every_page_is_the_old_ones(
    rescored, dataset, alice, as_user, monkeypatch
):
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 2)
    old, new, comparisons = rescored
    client = as_user(alice)
    before = said_here(dataset, client)

    promotion.put_in_place(new, by=UserFactory.create(is_staff=True), reason="better")
    scoring_batches.plan_missing(dataset)
    assert score_some(new, {comparison.b_id for comparison in comparisons}, batches=2) == 4
    during = said_here(dataset, client)

    shown = Suggestion.objects.filter(comparison__dataset=dataset).to_show()
    assert {(suggestion.version, suggestion.outcome) for suggestion in shown} == {(old, "a")}
    assert shown.count() == 4
    for name in ("home", "data", "review"):
        assert without_tokens(during[name]) == without_tokens(before[name]), name
    assert worth_in(during["dataset"]) == worth_in(before["dataset"])
    assert "old-model" in during["dataset"]
    assert "new-model is active and is scoring this dataset" in during["dataset"]

    assert score_some(new, {comparison.b_id for comparison in comparisons}) == 8
    assert Dataset.objects.get().held_by is None
    suggestions = Suggestion.objects.filter(comparison__dataset=dataset).to_show()
    assert {suggestion.version for suggestion in suggestions} == {new}
    assert "new-model</b>" in client.get(reverse("dataset", args=[dataset.pk])).content.decode()
    queue = client.get(reverse("review", args=[dataset.pk]), {"queue": "model"}).content.decode()
    assert "Model against people (4)" in " ".join(queue.split())


def worth_in(html: str) -> str:
    """What the overview says of the model, but for the line that another is about to serve."""
    worth = re.sub('<p class="hint">new-model is active.*?</p>', "", html.partition('id="worth"')[2])
    return " ".join(worth.split())


def without_tokens(html: str) -> str:
    return re.sub(
        r'csrfmiddlewaretoken" value="\w+|X-CSRFToken": "\w+|as_of=[\d.]+|value="[\d.]{12,}"', "~", html
    )


def test_a_text_that_cannot_be_scored_does_not_keep_the_old_model_for_ever(rescored, dataset):
    _, new, comparisons = rescored
    promotion.put_in_place(new, by=UserFactory.create(is_staff=True), reason="better")
    scoring_batches.plan_missing(dataset)
    bad = Completion.objects.get(pk=comparisons[0].a_id).text

    def scorer(pairs):
        wrong = next((n for n, (_, text) in enumerate(pairs) if text == bad), None)
        if wrong is not None:
            raise BadText(wrong, "no good")
        return [Scored(1.0, 1, 1, 0, 0, "fp32") for _ in pairs]

    for batch in ScoreBatch.objects.unfinished().filter(version=new):
        scoring_batches.work(batch, scorer, "worker", 60)

    assert Dataset.objects.get().held_by is None


def test_a_rollback_serves_at_once_what_was_scored_before(rescored, dataset):
    old, new, _ = rescored
    staff = UserFactory.create(is_staff=True)
    promotion.put_in_place(new, by=staff, reason="better")
    assert ModelVersion.objects.serving(Dataset.objects.get()) == old

    promotion.roll_back(by=staff)

    assert Dataset.objects.get().held_by is None
    assert ModelVersion.objects.serving(Dataset.objects.get()) == old


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], ""),
        (["Demo"], "Demo"),
        (["Demo", "OASST"], "Demo and OASST"),
        (["Demo", "OASST", "Pantry"], "Demo, OASST and Pantry"),
        (["Demo", "OASST", "Pantry", "Quiz"], "4 other datasets"),
    ],
)
def test_what_a_promotion_changes_besides_is_said_by_name_or_by_number(names, sentence, dataset):
    for name in names:
        DatasetFactory.create(name=name)

    assert promotion.served(besides=dataset) == sentence
