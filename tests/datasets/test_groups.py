"""The page of groups and overlap: prompts kept in one split, prompts like test prompts, and who sees them."""

import pytest
from django.urls import reverse

from tests.factories import DatasetFactory, PromptFactory
from tests.text.test_leakage import LONG, prompt_in
from workbench.models import Dataset
from workbench.pipeline.text import leakage

pytestmark = pytest.mark.django_db


def page(client, dataset: Dataset) -> str:
    answer = client.get(reverse("groups", args=[dataset.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def test_groups_of_several_prompts_are_listed_with_the_largest_first(as_user, alice, dataset):
    for number in range(7):
        PromptFactory.create(dataset=dataset, group=f"{number // 3:064x}", external_id=str(number))

    shown = page(as_user(alice), dataset)

    assert "2 groups have more than one prompt" in shown
    assert shown.count("<b>3</b> prompts") == 2
    assert "<b>1</b>" not in shown


def test_a_dataset_without_near_duplicates_says_so(as_user, alice, dataset):
    PromptFactory.create(dataset=dataset)

    shown = page(as_user(alice), dataset)

    assert "No near-identical prompts here" in shown
    assert "Not checked yet" in shown


def test_what_the_last_leakage_report_found_is_told_until_there_is_a_newer_one(as_user, alice, dataset):
    benchmark = DatasetFactory.create(name="Quiz", frozen=True)
    prompt_in(benchmark, "train", LONG)
    prompt_in(dataset, "train", LONG)
    run = leakage.begin(dataset)
    run.start()
    leakage.carry_out(run)

    shown = page(as_user(alice), dataset)

    assert "all of Quiz" in shown
    assert '<td class="number bad">1</td>' in shown
    assert "Newer prompts are not checked yet" not in shown
    prompt_in(dataset, "train", "something new")
    assert "Newer prompts are not checked yet" in page(as_user(alice), dataset)


def test_a_reviewer_sees_groups_and_not_the_names_of_other_datasets(as_user, rita, dataset):
    shown = page(as_user(rita), dataset)

    assert "Prompts that stay together" in shown
    assert "with test prompts" not in shown
