"""A release knows of which prompts it has a row, and the page of a prompt says so."""

import pytest
from django.urls import reverse

from tests.factories import ComparisonFactory, PromptFactory
from workbench.models import Comparison, Dataset, Decision, Prompt, Release
from workbench.pipeline import releases
from workbench.pipeline.releases import members, proof

pytestmark = pytest.mark.django_db


def decided(dataset: Dataset, outcome: str = "a") -> Prompt:
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    Decision.objects.create(comparison=pair, outcome=outcome, method="reviewer")
    return pair.prompt


def built(dataset: Dataset, *profiles: str) -> Release:
    return releases.build(Release(dataset=dataset, profiles=list(profiles or ["preference"])))


def test_a_release_has_the_prompts_of_its_rows_and_no_others(dataset):
    prompts = [decided(dataset, outcome) for outcome in ("a", "tie", "b", "both_bad", "a")]
    ComparisonFactory.create(prompt=prompts[0])
    open_prompt = ComparisonFactory.create(prompt__dataset=dataset).prompt

    release = built(dataset)

    has = {prompt.pk: members.has_row_of(release, prompt.pk) for prompt in [*prompts, open_prompt]}
    assert list(has.values()) == [True, False, True, False, True, False]
    assert members.has_row_of(release, 10**15) is False


def test_a_profile_whose_files_do_not_load_counts_for_nothing(dataset, monkeypatch):
    plain, tie = decided(dataset), decided(dataset, "tie")
    faults = iter([[{"profile": "all-votes", "format": "jsonl", "why": "No reader took it."}], []])
    monkeypatch.setattr(proof, "check", lambda *_: next(faults))

    release = built(dataset, "preference", "all-votes")

    assert [members.has_row_of(release, prompt.pk) for prompt in (plain, tie)] == [True, False]


def test_verify_and_the_downloads_know_nothing_of_the_list_of_prompts(dataset):
    decided(dataset)
    release = built(dataset)

    assert releases.verify(release).damaged == {}
    assert members.NAME not in "".join(release.manifest["files"])


def test_a_release_built_before_this_was_kept_says_that_nobody_knows(dataset):
    prompt = decided(dataset)
    release = built(dataset)
    members.delete(release)

    assert members.has_row_of(release, prompt.pk) is None


def test_the_page_of_a_prompt_names_the_releases_that_have_it(dataset, alice, rita, as_user):
    early = decided(dataset)
    old = built(dataset)
    members.delete(old)
    with_early = built(dataset)
    late = decided(dataset)
    Comparison.objects.filter(prompt=early).delete()
    with_late = built(dataset)

    def says(prompt: Prompt, user) -> str:
        page = as_user(user).get(reverse("prompt", args=[prompt.pk])).content.decode()
        return " ".join(page.partition('<p class="releases">')[2].partition("</p>")[0].split())

    assert says(early, rita) == "In releases 2. Not in 3. Not recorded for 1."
    assert says(late, rita) == "In releases 3. Not in 2."
    for release in (with_early, with_late):
        assert reverse("release", args=[release.pk]) in says(late, alice)


def test_a_prompt_of_a_dataset_without_releases_says_nothing_of_them(dataset, rita, as_user):
    prompt = PromptFactory.create(dataset=dataset)

    assert 'class="releases"' not in as_user(rita).get(reverse("prompt", args=[prompt.pk])).content.decode()
