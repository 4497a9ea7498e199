"""Copy: prompts and answers into another dataset, without votes, by the stages of an import."""

import pytest
from django.urls import reverse

from scoring.rows.drafts import FILE_LICENCE
from tests.data.test_columns import same_as_read_anew
from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    PromptFactory,
    RunFactory,
    ScoreFactory,
)
from workbench.models import (
    Act,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    Member,
    Prompt,
    SearchDocument,
    User,
)
from workbench.pipeline.data import finding
from workbench.pipeline.data.acts import do, preview, undo
from workbench.pipeline.data.copying import Copy
from workbench.pipeline.data.finding import Selection
from workbench.pipeline.runs.progress import Refused

pytestmark = pytest.mark.django_db

LONG = "How do I keep bread fresh for a whole week without a freezer, a bread box or any plastic at all"
CALL = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1", "b": 1, "a": [2.0, 10**20]}]}]


@pytest.fixture
def target(alice: User) -> Dataset:
    target = DatasetFactory.create(name="Pantry")
    Member.objects.create(dataset=target, user=alice, role="admin")
    return target


@pytest.fixture
def prompt(dataset: Dataset) -> Prompt:
    """A prompt with three answers of two sources, one pair and a vote on it."""
    prompt = PromptFactory.create(
        dataset=dataset,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{LONG}?"}],
        tools=[{"name": "search", "b": 1, "a": 2}],
        metadata={"topic": "bread"},
        external_id="row-1",
    )
    first = CompletionFactory.create(prompt=prompt, text="In a cloth.", source="rowan", metadata={"t": 0.5})
    second = CompletionFactory.create(prompt=prompt, text="You cannot.", source="alder")
    CompletionFactory.create(prompt=prompt, text="", conversation=CALL, source="alder")
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt, a=first, b=second))
    return prompt


def copied(dataset: Dataset, prompts: list[Prompt], to: Dataset, by: User) -> Act:
    return do(dataset, Copy(to.pk, to.name), [prompt.pk for prompt in prompts], by=by)


def contents(dataset: Dataset) -> list[dict[str, object]]:
    """Prompts and answers as they are, without what belongs to one Dataset."""
    own = {"id", "dataset_id", "prompt_id", "created_at", "imported_by_id", "topic_id"}
    rows = [*Prompt.objects.of(dataset).order_by("sha256").values()]
    rows += Completion.objects.of(dataset).order_by("sha256").values()
    return [{name: value for name, value in row.items() if name not in own} for row in rows]


def test_a_copy_has_all_of_the_prompt_and_its_answers_and_no_vote(dataset, alice, prompt, target):
    act = copied(dataset, [prompt], target, alice)

    assert contents(target) == contents(dataset)
    assert Comparison.objects.filter(dataset=target).count() == 3
    assert not Judgment.objects.of(target).exists()
    assert (act.details["answers"], act.details["made"], act.prompt_count) == (3, 3, 1)
    target.refresh_from_db()
    assert target.needs_scoring


def test_a_copy_is_found_by_its_words(dataset, alice, prompt, target):
    copied(dataset, [prompt], target, alice)

    found = finding.find(target, Selection(text="cloth"), None)

    assert list(found.prompts) == [Prompt.objects.of(target).get().pk]
    assert same_as_read_anew(target)


def test_a_copy_keeps_the_language_that_is_stored_and_tells_none_anew(dataset, alice, prompt, target):
    Prompt.objects.update(language="eo")

    do(dataset, Copy(to=target.pk), [prompt.pk], by=alice)

    assert Prompt.objects.get(dataset=target).language == "eo"


def test_pairs_are_made_as_by_the_last_import_of_the_other_dataset(dataset, alice, prompt, target):
    for pairs in ("all", "adjacent"):
        RunFactory.create(
            dataset=target, kind="import", state="done", params={"pairs": pairs, "max_pairs": 9}
        )

    extent = preview(dataset, Copy(target.pk), [prompt.pk], by=alice)
    copied(dataset, [prompt], target, alice)

    assert extent.pairs == Comparison.objects.filter(dataset=target).count() == 2
    assert Copy(target.pk, "Pantry").promise.endswith("Pairs there: only neighbours in the ranking.")


def test_what_is_there_already_is_not_doubled(dataset, alice, prompt, target):
    copied(dataset, [prompt], target, alice)

    with pytest.raises(Refused, match="Nothing was changed: 1 prompt there already"):
        copied(dataset, [prompt], target, alice)

    assert Prompt.objects.of(target).count() == 1


def test_a_prompt_that_is_there_gets_the_answers_that_it_lacks_in_pairs(dataset, alice, prompt, target):
    copied(dataset, [prompt], target, alice)
    Comparison.objects.filter(dataset=target).delete()
    late = CompletionFactory.create(prompt=prompt, text="Slice and toast it.")

    extent = preview(dataset, Copy(target.pk), [prompt.pk], by=alice)
    copied(dataset, [prompt], target, alice)

    there = Completion.objects.of(target).get(text=late.text)
    assert (extent.prompts, extent.answers, extent.pairs) == (1, 1, 3)
    assert Completion.objects.of(target).count() == 4
    pairs = Comparison.objects.filter(dataset=target)
    assert [there.pk in pair for pair in pairs.values_list("a", "b")] == [True] * 3


def test_a_preview_counts_and_stores_nothing(dataset, alice, prompt, target):
    extent = preview(dataset, Copy(target.pk), [prompt.pk], by=alice)

    assert (extent.prompts, extent.answers, extent.pairs) == (1, 3, 3)
    assert not Prompt.objects.of(target).exists()


# --- group, split and licence -------------------------------------------------------------------------------


def test_a_copy_keeps_its_group_and_so_its_split(dataset, alice, target):
    prompts = [
        PromptFactory.create(
            dataset=dataset, messages=[{"role": "user", "content": f"{LONG}{end}"}], group="5" * 64
        )
        for end in ("?", "!", ", please?")
    ]

    copied(dataset, prompts[1:], target, alice)

    assert set(Prompt.objects.of(target).values_list("group", flat=True)) == {"5" * 64}


def test_a_copy_joins_a_near_duplicate_that_is_there(dataset, alice, target):
    there = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{LONG}?"}])
    copied(dataset, [there], target, alice)
    Prompt.objects.of(target).update(group="7" * 64)
    near = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{LONG}!!"}])

    copied(dataset, [near], target, alice)

    assert set(Prompt.objects.of(target).values_list("group", flat=True)) == {"7" * 64}


def test_the_licence_goes_along_where_the_other_dataset_has_another(dataset, alice, prompt, target):
    Dataset.objects.filter(pk=dataset.pk).update(licence="CC-BY-4.0")
    dataset.refresh_from_db()
    prompt.completions.filter(text="You cannot.").update(metadata={FILE_LICENCE: "MIT"})

    copied(dataset, [prompt], target, alice)

    licences = dict(Completion.objects.of(target).values_list("text", "metadata"))
    assert licences["In a cloth."] == {FILE_LICENCE: "CC-BY-4.0", "t": 0.5}
    assert licences["You cannot."] == {FILE_LICENCE: "MIT"}


# --- a new dataset ------------------------------------------------------------------------------------------


def test_a_copy_into_a_new_dataset_has_its_settings_and_people(dataset, alice, rita, prompt):
    Dataset.objects.filter(pk=dataset.pk).update(overlap=3)
    dataset.refresh_from_db()

    do(dataset, Copy(to_name="Larder"), [prompt.pk], by=alice)

    new = Dataset.objects.get(name="Larder")
    assert (new.overlap, new.members.count()) == (3, 2)
    assert Prompt.objects.of(new).count() == 1


def test_a_name_that_is_taken_is_refused(dataset, alice, prompt, target):
    with pytest.raises(Refused, match="a dataset Pantry already"):
        do(dataset, Copy(to_name="Pantry"), [prompt.pk], by=alice)

    assert not Act.objects.exists()


def test_a_dataset_is_not_copied_into_itself_nor_into_an_archived_one(dataset, alice, prompt, target):
    Dataset.objects.filter(pk=target.pk).update(archived_at=dataset.created_at)

    for to in (dataset, target):
        with pytest.raises(Refused, match="Choose another dataset"):
            copied(dataset, [prompt], to, alice)


def test_more_prompts_than_a_request_can_copy_are_refused(dataset, alice, prompt, target, monkeypatch):
    monkeypatch.setattr(Copy, "most", 0)

    with pytest.raises(Refused, match="1 prompts are too many at once"):
        copied(dataset, [prompt], target, alice)


# --- history and undo ---------------------------------------------------------------------------------------


def test_both_histories_say_what_was_copied(dataset, alice, prompt, target):
    copied(dataset, [prompt], target, alice)

    here, there = Act.objects.get(dataset=dataset), Act.objects.get(dataset=target)
    assert [row.prompt for row in here.on_prompts.all()] == [prompt]
    assert [row.prompt.dataset for row in there.on_prompts.all()] == [target]


@pytest.mark.parametrize("side", ["Kitchen", "Pantry"])
def test_undo_on_either_side_removes_the_copy_and_leaves_nothing_of_it(dataset, alice, prompt, target, side):
    before = contents(dataset)
    copied(dataset, [prompt], target, alice)
    ScoreFactory.create(completion=Completion.objects.of(target).first())

    undone = undo(Act.objects.get(dataset__name=side), alice)

    assert (undone.prompts, undone.left) == (1, [])
    assert contents(target) == []
    assert not SearchDocument.objects.exists() or SearchDocument.objects.filter(prompt=prompt).exists()
    assert contents(dataset) == before
    assert not Act.objects.done().exists()
    assert same_as_read_anew(target)


def test_a_prompt_on_which_somebody_has_voted_stays_whole(dataset, alice, prompt, target):
    other = PromptFactory.create(dataset=dataset)
    act = copied(dataset, [prompt, other], target, alice)
    voted = Comparison.objects.filter(dataset=target).first()
    JudgmentFactory.create(comparison=voted)

    undone = undo(act, alice)

    assert (undone.prompts, undone.left) == (1, ["1 prompt begun by somebody"])
    assert Prompt.objects.of(target).get() == voted.prompt
    assert Completion.objects.of(target).count() == Comparison.objects.filter(dataset=target).count() == 3


def test_undo_takes_only_what_it_added_to_a_prompt_that_was_there(dataset, alice, prompt, target):
    copied(dataset, [prompt], target, alice)
    before = contents(target)
    CompletionFactory.create(prompt=prompt, text="Slice and toast it.")
    act = copied(dataset, [prompt], target, alice)

    undo(act, alice)

    assert contents(target) == before
    assert Comparison.objects.filter(dataset=target).count() == 3
    assert list(finding.find(target, Selection(text="toast"), None).prompts) == []


def test_a_copy_into_a_dataset_that_is_gone_cannot_be_undone(dataset, alice, prompt, target):
    act = copied(dataset, [prompt], target, alice)
    Act.objects.filter(dataset=target).delete()

    with pytest.raises(Refused, match="The other dataset is deleted"):
        undo(act, alice)


# --- pages --------------------------------------------------------------------------------------------------


def test_an_admin_sees_the_numbers_first_then_copies_and_undoes(dataset, alice, as_user, prompt, target):
    client, page = as_user(alice), reverse("data_act", args=[dataset.pk])
    fields = {"kind": "copy", "to": target.pk, "prompts": prompt.pk}

    shown = client.post(page, fields).content.decode()
    assert "Copied: 1 prompt, 3 answers, 3 pairs" in shown
    assert "To Pantry; without votes. Pairs there: every two answers of a prompt." in shown

    done = client.post(page, {**fields, "sure": "1"}, follow=True).content.decode()
    assert "Copied 1 prompt to Pantry: 3 answers, 3 pairs." in done
    history = client.get(reverse("data_history", args=[target.pk])).content.decode()
    assert "Copied 1 prompt from Kitchen: 3 answers, 3 pairs" in history

    undo_it = reverse("act_undo", args=[Act.objects.get(dataset=dataset).pk])
    undone = client.post(undo_it, follow=True).content.decode()
    assert "Undone for 1 prompt. Pantry is empty now; its settings can delete it." in undone
    assert not Prompt.objects.of(target).exists()


def test_only_datasets_that_the_person_administers_are_offered_and_taken(
    dataset, alice, as_user, prompt, target
):
    other = DatasetFactory.create(name="Cellar")
    Member.objects.create(dataset=other, user=alice, role="reviewer")
    client, fields = as_user(alice), {"kind": "copy", "prompts": prompt.pk, "sure": "1"}

    page = client.get(reverse("prompt", args=[prompt.pk])).content.decode()
    assert "Pantry</option>" in page
    assert "Cellar</option>" not in page
    for to, status in ((other, 403), (DatasetFactory.create(), 404)):
        answer = client.post(reverse("data_act", args=[dataset.pk]), {**fields, "to": to.pk})
        assert answer.status_code == status


def test_who_no_longer_administers_the_other_dataset_may_not_undo(dataset, alice, as_user, prompt, target):
    act = copied(dataset, [prompt], target, alice)
    Member.objects.filter(dataset=target).delete()

    assert as_user(alice).post(reverse("act_undo", args=[act.pk])).status_code == 404
    assert Prompt.objects.of(target).exists()


def test_a_copy_needs_a_dataset(dataset, alice, as_user, prompt):
    answer = as_user(alice).post(
        reverse("data_act", args=[dataset.pk]), {"kind": "copy", "prompts": prompt.pk}, follow=True
    )

    assert "Choose a dataset, or write the name of a new one." in answer.content.decode()
