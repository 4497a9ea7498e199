"""What the page shows before a Release is built, beside what the build then writes."""

import random
from collections import Counter

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import Decision, Flag, ModelVersion, Prompt, Release
from workbench.pipeline import releases
from workbench.pipeline.data.search_index import index_new
from workbench.pipeline.decisions import aggregation
from workbench.pipeline.releases import building

pytestmark = pytest.mark.django_db

OUTCOMES = ["a", "b", "tie", "both_bad", "cannot_judge"]


@pytest.fixture
def mixed(dataset):
    """A Dataset with pairs of every fate: judged, in disagreement, flagged, empty, not judged, excluded."""
    draw = random.Random(7)
    for number in range(60):
        messages = [{"role": "user", "content": f"=Question {number}, “really”?"}]
        prompt = PromptFactory.create(dataset=dataset, messages=messages)
        a = CompletionFactory.create(prompt=prompt, text="" if number % 15 == 0 else f"Salt\n{number}")
        b = CompletionFactory.create(prompt=prompt, text="Pepper, or nothing at all")
        pair = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for _ in range(draw.choice([0, 1, 2, 3])):
            JudgmentFactory.create(comparison=pair, outcome=draw.choices(OUTCOMES, [6, 4, 2, 1, 1])[0])
        if number % 11 == 0:
            annotator = JudgmentFactory.create(comparison=pair, outcome="a").annotator
            Flag.objects.create(comparison=pair, annotator=annotator, reason="other")
        if number % 13 == 0:
            Prompt.objects.filter(pk=prompt.pk).update(excluded_from="releases")
    aggregation.derive(dataset)
    return dataset


def content(release: Release, name: str) -> str:
    with default_storage.open(f"{release.folder}/{name}") as file:
        return file.read().decode()


CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
SAYS = {"role": "assistant", "content": "Salt."}


@pytest.fixture
def various(mixed):
    """As `mixed`, with every form of messages, superseded votes, Suggestions, sources and settled pairs."""
    draw = random.Random(11)
    version = ModelVersionFactory.create(state="active", temperature=1.5)
    reviewer = UserFactory.create()
    turns = [SAYS, {"role": "user", "content": "Why?"}]
    forms = [
        {"messages": [{"role": "user", "content": "Hi"}, *turns]},
        {"messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello"}]},
        {"messages": [{"role": "user", "content": "Two"}, {"role": "user", "content": "in a row"}]},
        {"messages": [{"role": "user", "content": "A call?"}], "tools": [{"type": "function"}]},
        {"messages": [{"role": "user", "content": "Named", "name": "Ann"}]},
    ]
    for form in forms * 6:
        number = mixed.prompts.count()
        first, *rest = form["messages"]
        messages = [first | {"content": f"{first['content']} {number}"}, *rest]
        prompt = PromptFactory.create(dataset=mixed, **form | {"messages": messages})
        conversation = draw.choice([None, None, [CALL], [SAYS, SAYS], [SAYS | {"name": "Bo"}]])
        a = CompletionFactory.create(prompt=prompt, source="gpt", conversation=conversation)
        b = CompletionFactory.create(prompt=prompt, source=draw.choice(["gpt", "human"]))
        pair = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for outcome in draw.choice(["a", "aa", "aab", "ab"]):
            kept = JudgmentFactory.create(comparison=pair, outcome=outcome)
            if draw.random() < 0.3:
                JudgmentFactory.create(comparison=pair, annotator=kept.annotator, is_current=False)
        SuggestionFactory.create(comparison=pair, version=version, margin=draw.uniform(-4, 4))
    aggregation.derive(mixed)
    settled = mixed.comparisons.filter(decisions__is_current=True).order_by("pk")[:6]
    for pair, outcome in zip(settled, ["a", "b", "drop", "tie", "a", "b"], strict=True):
        pair.decisions.update(is_current=False)
        Decision.objects.create(
            comparison=pair, outcome=outcome, method="reviewer", decided_by=reviewer, votes=2, votes_for=1
        )
    return mixed


FILTERS = {
    "all": {},
    "agreement": {"min_agreement": 0.6, "max_agreement": 0.9},
    "method": {"method": ["agreement", "reviewer"], "min_votes": 2, "max_votes": 3},
    "source": {"source": ["gpt"]},
    "lengths": {"min_length": 5, "max_length": 24},
    "confidence": {"min_confidence": 0.6, "max_confidence": 0.85},
    "days": {"judged_from": "2020-01-01", "judged_until": "2020-01-02"},
    "posterior": {"min_posterior": 0.5},
    "groups": {"without_groups": ["0" * 64, "no group"]},
    "view": {"view": {"name": "Mine", "query": "votes=2-&source=gpt&q=hi"}},
    "view and more": {"view": {"name": "Sure", "query": "confidence=60-"}, "min_votes": 2},
}


def preview_of(release: Release) -> releases.Preview:
    return releases.preview(release.dataset, releases.Recipe.of(release))


def test_the_preview_counts_and_writes_as_the_build_does(various):
    for profile in releases.PROFILES:
        unsaved = Release(dataset=various, profiles=[profile])

        preview = preview_of(unsaved)
        built = releases.build(unsaved)

        facts = built.manifest["profiles"][profile]
        assert preview.rows == facts["rows"], profile
        left_out = {reason.value: count for reason, count in preview.left_out.items()}
        assert left_out == facts["left_out"], profile
        assert preview.total == built.manifest["comparisons"]["total"], profile
        assert content(built, preview.file).startswith("".join(preview.first)), profile


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
def test_the_preview_filters_as_the_build_does(various, filters):
    for _ in index_new(various.pk):
        pass
    for pair in various.comparisons.filter(decisions__is_current=True).order_by("-pk")[:3]:
        JudgmentFactory.create(comparison=pair, outcome="b")  # newer than its final label
    version = ModelVersion.objects.serving(various)
    for profile in ("pairs", "all-votes", "kto"):
        unsaved = Release(dataset=various, profiles=[profile], filters=filters)

        preview = preview_of(unsaved)

        # Sorted as a build does, which refuses to write a release without rows.
        recipe, cases = building.read(various, releases.Recipe.of(unsaved), version, "default")
        sorter = building.Sorter(recipe.profiles)
        rows = Counter(split for case in cases for _, split, _ in sorter.rows(case))
        assert preview.rows == rows, profile
        assert preview.left_out == sorter.counts.left_out[profile], profile


def test_the_rows_of_a_csv_are_shown_as_they_are_written_with_their_heading(mixed):
    unsaved = Release(dataset=mixed, profiles=["pairs"], formats=["csv"])

    preview = releases.preview(mixed, releases.Recipe.of(unsaved))

    built = releases.build(unsaved)
    assert content(built, preview.file).startswith(preview.heading + "".join(preview.first))
    assert len(preview.first) == 3
    assert preview.first[0].startswith("\"'=Question")


def test_the_page_shows_rows_splits_and_reasons_before_the_build(mixed, alice, as_user):
    preview = releases.preview(mixed, releases.Recipe.of(Release(dataset=mixed, profiles=["pairs"])))

    form = {"purpose": "pairs", "preview": ""}
    page = as_user(alice).post(reverse("releases", args=[mixed.pk]), form).content.decode()

    assert "pairs.train.jsonl" in page
    assert f"<b>{preview.rows['train']}</b> train" in page
    for reason, count in preview.left_out.items():
        assert f'<td>{reason.label}</td><td class="number">{count}</td>' in page
    assert preview.flow.in_words in page
    assert not Release.objects.exists()


@pytest.mark.parametrize("excluded_from", ["releases", "both"])
@pytest.mark.parametrize("profile", ["pairs", "all-votes"])
def test_an_excluded_prompt_is_left_out_and_counted(dataset, excluded_from, profile):
    for outcome in ("a", "b", "a"):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome=outcome)
    excluded = Prompt.objects.filter(dataset=dataset).first()
    Prompt.objects.filter(pk=excluded.pk).update(excluded_from=excluded_from)

    release = releases.build(Release(dataset=dataset, profiles=[profile]))

    facts = release.manifest["profiles"][profile]
    assert facts["left_out"] == {"excluded": 1}
    assert sum(facts["rows"].values()) == 2
    assert release.manifest["left_out"]["excluded"] == "An admin excluded its prompt"
    assert release.manifest["comparisons"]["by_outcome"]["excluded"] == 1
    preview = preview_of(release)
    assert (preview.passing, preview.decided) == (2, 2)


def test_a_prompt_that_only_the_queue_leaves_out_is_released(dataset):
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome="a")
    Prompt.objects.update(excluded_from="queue")

    release = releases.build(Release(dataset=dataset, profiles=["pairs"]))

    assert release.rows == 1
    assert "excluded" not in release.manifest["left_out"]  # as in the manifests of older Releases


def test_the_page_of_a_release_draws_where_its_pairs_went(mixed, alice, as_user):
    built = releases.build(Release(dataset=mixed, profiles=["pairs"]))

    page = as_user(alice).get(reverse("release", args=[built.pk])).content.decode()

    left_out = built.manifest["profiles"]["pairs"]["left_out"]
    kept = 60 - sum(left_out.values())
    assert f"60 pairs: {kept} in the files (" in page
    assert f"{left_out['excluded']} prompt excluded" in page
    assert "style=" not in page.partition("<svg")[2].partition("</svg>")[0]


def test_the_bars_of_the_picture_are_as_high_as_the_pairs_are_many():
    flow = releases.Flow(100, {"tie": 30, "flagged": 10}, {"train": 45, "test": 15})

    heights = {bar.label: bar.height for bar in flow.bars}

    assert heights == pytest.approx(
        {"pairs": 160, "in the files": 96, "tie": 48, "flagged": 16, "train": 72, "test": 24}
    )
    assert flow.in_words == "100 pairs: 60 in the files (45 train, 15 test); left out: 30 tie, 10 flagged."


def test_a_dataset_without_pairs_has_no_picture():
    assert releases.Flow(0, {}, {}).bars == []


def test_histograms_are_of_pairs_with_a_preferred_side_and_mark_what_passes(dataset):
    for outcome, length in (("a", 10), ("b", 150), ("aa", 160), ("tie", 5000)):
        prompt = PromptFactory.create(dataset=dataset)
        a, b = (CompletionFactory.create(prompt=prompt, text=letter * length) for letter in "ab")
        pair = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for one in [outcome] if outcome == "tie" else outcome:
            JudgmentFactory.create(comparison=pair, outcome=one)
    aggregation.derive(dataset)

    histograms = preview_of(
        Release(dataset=dataset, profiles=["pairs"], filters={"min_length": 20})
    ).histograms

    length = histograms["length"]
    shown = list(zip(length.lows, length.highs, length.total, length.kept, strict=True))
    assert [bar for bar in shown if bar[2]] == [("10", "14", 2, 0), ("150", "160", 4, 4)]
    assert histograms["votes"].lows == ["1", "2"]
    assert (histograms["votes"].total, histograms["votes"].kept) == ([2, 1], [1, 1])
    assert (histograms["agreement"].lows, histograms["agreement"].total) == (["95"], [3])
    assert histograms.keys() == {"length", "votes", "agreement", "days"}
    assert length.in_words == "10 to 160; most often 150 to 160, 67 % of all"


def test_a_dataset_without_final_labels_has_no_histograms(dataset):
    ComparisonFactory.create(prompt__dataset=dataset)

    assert preview_of(Release(dataset=dataset, profiles=["pairs"])).histograms == {}
