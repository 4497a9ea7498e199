"""The pairs that pass each filter, equal in a count and in a build."""

import json
from datetime import UTC, date, datetime

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import Comparison, Dataset, Decision, Judgment, Release, SavedView
from workbench.pipeline import releases
from workbench.pipeline.data import columns, search
from workbench.pipeline.data.search_index import index_new
from workbench.pipeline.releases import BadFilter, Filters

pytestmark = pytest.mark.django_db


def judged(
    dataset: Dataset, name: str, outcomes: str = "a", texts=("some text", "other text"), source: str = ""
) -> Comparison:
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": name}])
    a, b = (CompletionFactory.create(prompt=prompt, text=text, source=source) for text in texts)
    comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
    for outcome in outcomes:
        JudgmentFactory.create(comparison=comparison, outcome=outcome)
    return comparison


def passed(dataset: Dataset, **filters) -> set[str]:
    """The prompts that come through; as many as the preview says, and the others counted by its reasons."""
    columns._kept.clear()  # the factories note no changes
    release = releases.build(Release(dataset=dataset, profiles=["preference"], filters=filters))
    names = set()
    for name, file in release.manifest["files"].items():
        if file["rows"]:
            with default_storage.open(f"{release.folder}/{name}") as lines:
                names |= {json.loads(line)["prompt"] for line in lines}
    preview = releases.preview(dataset, releases.Recipe.of(release))
    left_out = release.manifest["profiles"]["preference"]["left_out"]
    assert preview.passing == len(names)
    assert {reason.value: n for reason, n in preview.left_out.items()} == left_out
    narrowed = sum(left_out.get(why, 0) for why in ("filtered", "outside_view"))
    assert narrowed == preview.decided - preview.passing
    return names


def test_by_method_votes_and_agreement(dataset):
    judged(dataset, "one", "a")
    judged(dataset, "two", "aa")
    judged(dataset, "split", "aab")
    comparison = judged(dataset, "reviewed", "aaaa")
    Decision.objects.create(
        comparison=comparison, outcome="b", method="reviewer", votes=4, decided_by=UserFactory.create()
    )

    assert passed(dataset, method=["agreement"]) == {"one", "two"}
    assert passed(dataset, method=["majority", "reviewer"]) == {"split", "reviewed"}
    assert passed(dataset, min_votes=2) == {"two", "split", "reviewed"}
    assert passed(dataset, min_agreement=0.9) == {"one", "two"}
    assert passed(dataset, min_agreement=0.6, min_votes=2) == {"two", "split"}
    assert passed(dataset, max_agreement=0.7) == {"split", "reviewed"}
    assert passed(dataset, min_votes=2, max_votes=3) == {"two", "split"}


def test_by_source_and_length_of_both_texts(dataset):
    judged(dataset, "short", texts=("ab", "abcd"), source="gpt")
    judged(dataset, "long", texts=("a" * 10, "b" * 20), source="gpt")
    judged(dataset, "mixed", texts=("ab", "b" * 20), source="human")

    assert passed(dataset, source=["gpt"]) == {"short", "long"}
    assert passed(dataset, min_length=5) == {"long"}
    assert passed(dataset, max_length=5) == {"short"}
    assert passed(dataset, min_length=2, max_length=20) == {"short", "long", "mixed"}


def test_by_the_day_of_the_last_current_judgment(dataset):
    days = {"early": datetime(2026, 5, 1, 23, 59, tzinfo=UTC), "late": datetime(2026, 5, 2, 0, 0, tzinfo=UTC)}
    for name, moment in days.items():
        comparison = judged(dataset, name, "a")
        comparison.judgments.update(created_at=moment)
        superseded = JudgmentFactory.create(comparison=comparison, is_current=False)
        Judgment.objects.filter(pk=superseded.pk).update(created_at=datetime(2026, 6, 1, tzinfo=UTC))

    assert passed(dataset, judged_from="2026-05-02") == {"late"}
    assert passed(dataset, judged_until="2026-05-01") == {"early"}
    assert passed(dataset, judged_from="2026-05-01", judged_until="2026-05-02") == {"early", "late"}


def test_by_the_calibrated_confidence_of_the_active_model(dataset):
    version = ModelVersionFactory.create(state="active", temperature=2.0)
    for name, margin in {"sure": -4.5, "unsure": 0.5, "other model": 9.0}.items():
        by = ModelVersionFactory.create() if name == "other model" else version
        SuggestionFactory.create(comparison=judged(dataset, name), version=by, margin=margin)

    # 4.5 / 2 is a probability of 0.905.
    assert passed(dataset, min_confidence=0.9) == {"sure"}
    assert passed(dataset, min_confidence=0.5) == {"sure", "unsure"}
    assert passed(dataset, max_confidence=0.9) == {"unsure"}


def test_confidence_of_a_model_that_is_not_calibrated_is_refused(dataset):
    judged(dataset, "one")
    ModelVersionFactory.create(state="active")

    with pytest.raises(releases.ReleaseError, match="calibrated"):
        passed(dataset, min_confidence=0.9)


def test_without_named_prompt_groups(dataset):
    leaked, _ = judged(dataset, "in the benchmark"), judged(dataset, "not in it")

    assert passed(dataset, without_groups=[leaked.prompt.group]) == {"not in it"}


def test_what_is_not_decided_counts_under_its_own_reason_and_not_as_filtered(dataset):
    judged(dataset, "decided", "a")
    judged(dataset, "split", "ab")

    release = releases.build(
        Release(dataset=dataset, profiles=["preference"], filters={"min_votes": 1, "max_length": 100})
    )

    assert release.manifest["profiles"]["preference"]["left_out"] == {"undecided": 1}
    assert release.manifest["filters"] == {"min_votes": 1, "max_length": 100}


def test_all_votes_are_filtered_too(dataset):
    judged(dataset, "one", "a")
    judged(dataset, "two", "aa")

    release = releases.build(Release(dataset=dataset, profiles=["all-votes"], filters={"min_votes": 2}))

    assert (release.rows, release.manifest["profiles"]["all-votes"]["left_out"]) == (2, {"filtered": 1})


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"votes": "3"}, 'There is no filter "votes"; there are method, min_votes'),
        ({"min_votes": "three"}, 'min_votes takes a whole number, not "three"'),
        ({"min_agreement": "most"}, 'min_agreement takes a number, not "most"'),
        ({"judged_from": "May"}, 'judged_from takes a day like 2026-05-31, not "May"'),
        ({"method": ["guess"]}, 'method is one of agreement, majority, aggregation, reviewer, not "guess"'),
    ],
)
def test_a_filter_that_does_not_exist_or_cannot_have_its_value_is_refused_with_what_can(filters, sentence):
    with pytest.raises(BadFilter, match=sentence):
        Filters.parse(filters)


def test_filters_are_stored_as_they_are_read(dataset):
    filters = Filters(
        method=("reviewer",),
        min_votes=2,
        judged_from=date(2026, 5, 1),
        min_agreement=0.75,
        source=("gpt", "me"),
    )

    assert Filters.parse(filters.as_json()) == filters
    assert Filters().as_json() == {}
    assert filters.in_words()["both answers written by"] == "gpt, me"


def test_pages_show_shares_in_per_cent_and_cards_stay_as_they_were():
    filters = Filters(min_votes=2, min_agreement=0.667, max_confidence=0.9)

    assert list(filters.on_page().values()) == ["2", "66.7 %", "90 %"]
    assert list(filters.in_words().values()) == ["2", "0.667", "0.9"]


def saved(dataset: Dataset, query: str, name: str = "Of gpt", **fields) -> SavedView:
    return SavedView.objects.create(dataset=dataset, name=name, query=query, **fields)


def by_view(view: SavedView) -> dict[str, dict[str, str]]:
    return {"view": {"name": view.name, "query": view.query}}


def test_a_view_lets_pass_what_it_finds_and_is_a_reason_of_its_own(dataset):
    judged(dataset, "one", "aa", source="gpt")
    judged(dataset, "two", "a", source="gpt")
    judged(dataset, "other", "aa", source="human")
    judged(dataset, "split", "ab", source="human")
    view = by_view(saved(dataset, "source=gpt"))

    assert passed(dataset, **view) == {"one", "two"}
    assert passed(dataset, **view, min_votes=2) == {"one"}
    release = Release.objects.get(number=2)
    left_out = release.manifest["profiles"]["preference"]["left_out"]
    assert left_out == {"filtered": 1, "undecided": 1, "outside_view": 1}
    assert release.manifest["left_out"]["outside_view"] == "Not in the saved view of this release"
    assert release.manifest["filters"]["view"] == {"name": "Of gpt", "query": "source=gpt"}


def test_a_view_chooses_pairs_and_not_whole_prompts(dataset):
    first = judged(dataset, "two answers and a third", "aa")
    third = CompletionFactory.create(prompt=first.prompt, text="third")
    JudgmentFactory.create(
        comparison=ComparisonFactory.create(prompt=first.prompt, a=first.a, b=third), outcome="a"
    )

    release = releases.build(
        Release(dataset=dataset, profiles=["preference"], filters=by_view(saved(dataset, "votes=2-2")))
    )

    assert (release.rows, release.manifest["profiles"]["preference"]["left_out"]) == (1, {"outside_view": 1})


def test_every_vote_of_what_a_view_finds_is_released_decided_or_not(dataset):
    judged(dataset, "open", "ab", source="gpt")
    judged(dataset, "other", "a", source="human")

    release = releases.build(
        Release(dataset=dataset, profiles=["all-votes"], filters=by_view(saved(dataset, "source=gpt")))
    )

    assert (release.rows, release.manifest["profiles"]["all-votes"]["left_out"]) == (2, {"outside_view": 1})


@pytest.mark.parametrize("query", ["source=gpt", "q=one", "meta.topic=salt", "split=train&split=test"])
def test_a_release_is_rebuilt_when_its_view_is_changed_or_gone(dataset, query):
    dataset.facet_keys = ["topic"]
    dataset.save()
    for name in ("one", "one more", "two"):
        comparison = judged(dataset, name, source="gpt" if name != "two" else "human")
        comparison.prompt.metadata = {"topic": "salt" if name != "two" else "pepper"}
        comparison.prompt.save()
    for _ in index_new(dataset.pk):
        pass
    view = saved(dataset, query)
    release = releases.build(Release(dataset=dataset, profiles=["preference"], filters=by_view(view)))
    assert 0 < release.rows < 4

    view.query = "source=nobody"
    view.save()
    assert releases.verify(release) == releases.Verified({}, [])
    view.delete()
    dataset.facet_keys = []
    dataset.save()
    release = Release.objects.get(pk=release.pk)
    assert releases.verify(release) == releases.Verified({}, [])


def test_a_release_by_words_has_prompts_that_no_worker_has_indexed_yet(dataset, monkeypatch):
    monkeypatch.setattr(search, "LOOKED_THROUGH", 1)
    for name in ("one", "one more", "two"):
        judged(dataset, name)
    Dataset.objects.filter(pk=dataset.pk).update(indexed_to=0)
    filters = by_view(saved(dataset, "q=one"))
    release = Release(dataset=dataset, profiles=["preference"], filters=filters)

    with pytest.raises(releases.ReleaseError, match=r"2 new prompts can't be searched yet."):
        releases.preview(dataset, releases.Recipe.of(release))
    assert releases.build(release).rows == 2


def test_a_view_whose_key_is_no_filter_now_is_refused_with_its_name(dataset):
    view = saved(dataset, "meta.topic=salt", name="Salty")

    with pytest.raises(BadFilter, match=r"The view Salty cannot be used. There is no filter"):
        releases.View.of(view, dataset.facet_keys)


@pytest.mark.parametrize("value", [{"name": "x", "query": "colour=red"}, {"name": "x"}, "Of gpt"])
def test_a_selection_that_cannot_be_read_is_refused(value):
    with pytest.raises(BadFilter, match=r"(cannot be used|takes the name)"):
        Filters.parse({"view": value})


def test_the_command_takes_a_view_by_name_a_shared_one_first(dataset, tmp_path):
    judged(dataset, "one", source="gpt")
    judged(dataset, "two", source="human")
    saved(dataset, "source=human", owner=UserFactory.create())
    saved(dataset, "source=gpt", owner=UserFactory.create(), shared=True)

    call_command("release", "Kitchen", out=tmp_path / "out", filter=["view=Of gpt", "min_votes=1"])

    release = Release.objects.get()
    assert release.filters == {"min_votes": 1, "view": {"name": "Of gpt", "query": "source=gpt"}}
    assert release.rows == 1
    with pytest.raises(CommandError, match=r'no saved view called "Long". The views of Kitchen: Of gpt\.'):
        call_command("release", "Kitchen", out=tmp_path / "other", filter=["view=Long"])
    SavedView.objects.update(shared=False)
    with pytest.raises(CommandError, match='2 people have a view called "Of gpt"'):
        call_command("release", "Kitchen", out=tmp_path / "other", filter=["view=Of gpt"])


def test_the_command_takes_filters_and_names_a_wrong_one(dataset, tmp_path):
    judged(dataset, "one", "a")
    judged(dataset, "two", "aa")
    call_command(
        "release", "Kitchen", out=tmp_path / "out", filter=["min_votes=2", "method=agreement,majority"]
    )

    with pytest.raises(CommandError, match='There is no filter "votes"'):
        call_command("release", "Kitchen", out=tmp_path / "other", filter=["votes=2"])

    release = Release.objects.get()
    assert release.filters == {"min_votes": 2, "method": ["agreement", "majority"]}
    assert release.rows == 1
