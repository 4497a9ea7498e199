import math
import re
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from scoring.formats import EMPTY_COMPLETION, bad_pair
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    ScoreFactory,
    SuggestionFactory,
    UserFactory,
)
from tests.planted import memorised
from workbench.forms.datasets import DatasetForm
from workbench.models import (
    Dataset,
    Member,
    ModelVersion,
    PromptChange,
    Release,
    Run,
    ScoreBatch,
    Topic,
    Upload,
    Worker,
)
from workbench.pipeline.data.search_index import reindex
from workbench.pipeline.datasets import overview
from workbench.pipeline.datasets.loop import loop_of
from workbench.templatetags.figures import percent

pytestmark = pytest.mark.django_db

POLL = {"HX-Request": "true"}


def page(client: Client, name: str, *args: object, **query: str) -> str:
    answer = client.get(reverse(name, args=args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def counts_of(dataset: Dataset, version: ModelVersion | None = None) -> Dataset:
    return overview.with_loop_counts(Dataset.objects.all(), version).get(pk=dataset.pk)


def worker(queues: str, seconds_ago: float) -> Worker:
    now = timezone.now()
    seen = now - timedelta(seconds=seconds_ago)
    return Worker.objects.create(name=f"worker-{seconds_ago}", queues=queues, started_at=seen, last_seen=seen)


# --- what is not scored -------------------------------------------------------------------------------------


def test_the_overview_says_why_completions_are_not_scored(dataset, alice, as_user):
    version = ModelVersionFactory.create(state="active")
    prompt = PromptFactory.create(dataset=dataset)
    for text in ("scored", " ", "\n", "odd", "late", "later", "latest"):
        completion = CompletionFactory.create(prompt=prompt, text=text)
    ScoreFactory.create(completion=prompt.completions.get(text="scored"), version=version)
    run = RunFactory.create(kind="score", dataset=dataset, version=version, state="running")
    for text, reason in (
        (" ", EMPTY_COMPLETION),
        ("\n", EMPTY_COMPLETION),
        ("odd", "the model answered nan"),
    ):
        completion = prompt.completions.get(text=text)
        ScoreBatch.objects.create(
            run=run, version=version, completion_ids=[completion.pk], size=1, state="failed", error=reason
        )

    client = as_user(alice)
    going_on = page(client, "dataset", dataset.pk)
    Run.objects.filter(pk=run.pk).update(state="cancelled")
    stopped = page(client, "dataset", dataset.pk)

    assert f'{reverse("data", args=[dataset.pk])}?empty=1">2 empty, so never scored' in going_on
    assert f'{reverse("run", args=[run.pk])}">1 could not be scored' in going_on
    assert "; 3 waiting" in going_on
    assert "; 3 waiting" not in stopped
    assert f"3 not scored: {run} was cancelled" in stopped


def test_empty_answers_do_not_keep_scoring_from_being_complete(dataset, alice, as_user):
    version = ModelVersionFactory.create(state="active")
    scored, empty = (CompletionFactory.create(prompt__dataset=dataset, text=text) for text in ("yes", " "))
    ScoreFactory.create(completion=scored, version=version)
    run = RunFactory.create(kind="score", dataset=dataset, version=version, state="done")
    ScoreBatch.objects.create(
        run=run, version=version, completion_ids=[empty.pk], size=1, state="failed", error=EMPTY_COMPLETION
    )

    html = page(as_user(alice), "dataset", dataset.pk)

    (step,) = (step for step in loop_of(counts_of(dataset, version), True, None) if step.name == "Scored")
    assert (step.state, step.words) == ("done", "1 of 2")
    assert '<progress max="1" value="1" aria-label="Scored">' in html


def test_a_text_that_no_scorer_reads_has_the_reason_that_is_counted_as_empty():
    assert {bad_pair("p", text) for text in ("", " \u3000", "\x1c\x85\u2028")} == {EMPTY_COMPLETION}


# --- counts -------------------------------------------------------------------------------------------------


def test_the_loop_counts_each_thing_once_however_many_of_the_others_there_are(dataset):
    version = ModelVersionFactory.create()
    for _ in range(2):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        ScoreFactory.create(completion=comparison.a, version=version)
        JudgmentFactory.create(comparison=comparison)
    CompletionFactory.create(prompt__dataset=dataset)
    ScoreFactory.create(completion=comparison.a)
    ComparisonFactory.create()

    counted = counts_of(dataset, version)

    assert (counted.prompt_count, counted.completion_count, counted.scored_count) == (3, 5, 2)
    assert (counted.comparison_count, counted.judged_count, counted.wanted_count) == (2, 2, 2)


def test_judged_counts_places_that_people_filled_and_no_more_than_are_wanted():
    dataset = DatasetFactory.create(overlap=2)
    crowded, uncrowded = ComparisonFactory.create_batch(2, prompt__dataset=dataset)
    for _ in range(3):
        JudgmentFactory.create(comparison=crowded)
    label = AnnotatorFactory.create(user=None, source="file.jsonl")
    JudgmentFactory.create(comparison=uncrowded, annotator=label, stage="imported")
    old = JudgmentFactory.create(comparison=uncrowded, is_current=False)
    JudgmentFactory.create(comparison=uncrowded, annotator=old.annotator, supersedes=old)

    counted = counts_of(dataset)

    assert (counted.judged_count, counted.wanted_count) == (3, 4)


def test_open_disagreements_are_counted_for_the_active_model(dataset):
    version = ModelVersionFactory.create()
    judgment = JudgmentFactory.create(comparison__prompt__dataset=dataset, outcome="a")
    SuggestionFactory.create(comparison=judgment.comparison, version=version, margin=-1.0)

    assert counts_of(dataset, version).model_split_count == 1
    assert counts_of(dataset, None).model_split_count == 0
    assert counts_of(dataset, version).disagreement_count == 0


def test_the_last_release_is_the_newest_that_is_ready(dataset):
    for number, state in ((1, "ready"), (2, "ready"), (3, "building")):
        Release.objects.create(dataset=dataset, number=number, state=state)

    assert counts_of(dataset).last_release == 2


# --- home ---------------------------------------------------------------------------------------------------


def test_home_lists_only_the_datasets_of_the_person(dataset, bob, as_user):
    DatasetFactory.create(name="Not for Bob")

    html = page(as_user(bob), "home")

    assert "Kitchen" in html
    assert "Not for Bob" not in html
    assert "Waiting for an admin" in html


def test_somebody_in_no_dataset_is_told_whom_to_ask(charlie, as_user):
    html = page(as_user(charlie), "home")

    assert "Ask an admin to add you" in html
    assert "charlie" in html


def test_staff_are_shown_how_to_begin():
    client = Client()
    client.force_login(UserFactory.create(is_staff=True), backend="workbench.backends.NameOrMail")

    assert reverse("dataset_new") in page(client, "home")


@pytest.mark.parametrize(
    ("who", "offered"),
    [
        ("bob", ["annotate"]),
        ("rita", ["review", "annotate"]),
        ("alice", ["review", "annotate"]),
    ],
)
def test_what_can_be_done_next_depends_on_the_role(who, offered, dataset, request, as_user):
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    for outcome in "ab":
        JudgmentFactory.create(comparison=comparison, outcome=outcome)
    ComparisonFactory.create(prompt__dataset=dataset)

    html = page(as_user(request.getfixturevalue(who)), "home")

    names = ("import", "review", "annotate", "releases")
    assert [name for name in names if reverse(name, args=[dataset.pk]) in html] == offered


def test_an_annotator_sees_what_they_did_and_nothing_of_how_the_rest_stands(dataset, bob, as_user):
    ModelVersionFactory.create(state="active")
    RunFactory.create(dataset=dataset, state="running", done=3, total=12)
    bobs_annotator = AnnotatorFactory.create(user=bob)
    for outcome, annotator in (("a", bobs_annotator), ("b", AnnotatorFactory.create())):
        JudgmentFactory.create(
            comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome=outcome, annotator=annotator
        )

    home = page(as_user(bob), "home")
    overview = page(as_user(bob), "dataset", dataset.pk)

    assert "Disagreements" not in home + overview
    assert "votes needed" not in home + overview
    assert "hx-get" not in overview
    assert 'id="worth"' not in overview
    assert "<b>1</b> today" in overview
    for html in (home, overview):
        assert reverse("annotate", args=[dataset.pk]) in html


def test_an_admin_of_an_empty_dataset_is_sent_to_import_and_an_annotator_told_to_wait(
    dataset, alice, bob, as_user
):
    importing = reverse("import", args=[dataset.pk])

    assert importing in page(as_user(alice), "home")
    assert importing not in page(as_user(bob), "home")
    assert "Waiting for an admin" in page(as_user(bob), "home")


def test_a_dataset_with_everything_judged_offers_its_admin_a_release(dataset, alice, as_user):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)

    html = page(as_user(alice), "home")

    assert reverse("releases", args=[dataset.pk]) in html
    assert reverse("annotate", args=[dataset.pk]) not in html


@pytest.mark.parametrize("role", ["annotator", "reviewer"])
def test_home_asks_as_often_for_three_datasets_as_for_one(role, dataset, bob, as_user, queries_of):
    dataset.members.filter(user=bob).update(role=role)
    ComparisonFactory.create(prompt__dataset=dataset)
    for_one = queries_of(as_user(bob), reverse("home"))
    for _ in range(2):
        comparison = ComparisonFactory.create()
        Member.objects.create(dataset=comparison.dataset, user=bob, role=role)
        JudgmentFactory.create(comparison=comparison)

    assert queries_of(as_user(bob), reverse("home")) == for_one


# --- making one ---------------------------------------------------------------------------------------------


def test_whoever_makes_a_dataset_is_its_admin(as_user):
    staff = UserFactory.create(is_staff=True)

    answer = as_user(staff).post(reverse("dataset_new"), {"name": "Pantry"})

    pantry = Dataset.objects.get(name="Pantry")
    assert answer.headers["Location"] == reverse("import", args=[pantry.pk])
    assert pantry.members.get().user == staff
    assert pantry.members.get().role == "admin"


def test_a_name_that_is_taken_makes_no_second_dataset_and_the_page_says_so(dataset, as_user):
    answer = as_user(UserFactory.create(is_staff=True)).post(reverse("dataset_new"), {"name": "Kitchen"})

    assert answer.status_code == 400
    assert "Another dataset has this name" in answer.content.decode()
    assert Dataset.objects.count() == 1


# --- overview -----------------------------------------------------------------------------------------------


def test_while_a_run_is_open_the_page_polls_and_scores_appear_in_what_it_polls(dataset, alice, as_user):
    version = ModelVersionFactory.create(state="active")
    RunFactory.create(dataset=dataset, version=version, state="running", done=3, total=12)
    completion = CompletionFactory.create(prompt__dataset=dataset)
    client = as_user(alice)
    url = reverse("dataset", args=[dataset.pk])

    assert f'hx-get="{url}"' in client.get(url).content.decode()
    before = client.get(url, headers=POLL)
    ScoreFactory.create(completion=completion, version=version)
    after = client.get(url, headers=POLL)

    assert (before.status_code, after.status_code) == (200, 200)
    assert "<html" not in before.content.decode()
    assert "<b>0</b>" in before.content.decode()
    assert "<b>0</b>" not in after.content.decode().split("Votes")[0]
    assert "3 of 12 answers" in after.content.decode()


def test_polling_stops_when_no_run_is_open_and_the_last_answer_brings_the_rest_up_to_date(
    dataset, alice, as_user
):
    ModelVersionFactory.create(state="active")
    RunFactory.create(dataset=dataset, state="done")
    client = as_user(alice)
    url = reverse("dataset", args=[dataset.pk])

    answer = client.get(url, headers=POLL)

    assert "hx-get" not in client.get(url).content.decode()
    assert answer.status_code == 286
    assert 'id="worth" hx-swap-oob="true"' in answer.content.decode()


def test_a_page_and_its_part_are_not_taken_for_each_other_by_a_cache(dataset, alice, as_user):
    answer = as_user(alice).get(reverse("dataset", args=[dataset.pk]))

    assert "HX-Request" in answer.headers["Vary"]


def test_the_model_is_measured_against_people_and_labels_apart_with_intervals_beside_longest(
    dataset, rita, as_user, store_figures
):
    version = ModelVersionFactory.create(state="active", name="rm-1", notice="This is the demo model.")
    label = AnnotatorFactory.create(user=None, source="file.jsonl")
    for index in range(20):
        comparison = ComparisonFactory.create(
            prompt__dataset=dataset, a__text="The longer of both answers.", b__text="The shorter."
        )
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
        JudgmentFactory.create(comparison=comparison, outcome="b" if index < 5 else "a")
        JudgmentFactory.create(comparison=comparison, annotator=label, outcome="a", stage="imported")
    store_figures(dataset)

    html = page(as_user(rita), "dataset", dataset.pk)

    worth = html.partition('id="worth"')[2]
    assert "This is the demo model." in worth
    assert "not calibrated" in worth
    people, labels, both = worth.split("<tbody>")[1:]
    assert "<b>75\xa0%</b>" in people  # 15 of 20
    assert "longest" in people
    assert "<b>100\xa0%</b>" in labels  # 20 of 20
    assert "<b>100\xa0%</b>" in both  # a vote against a label is no majority
    assert "Up to date" in worth


@pytest.mark.parametrize(
    ("right", "verdict"), [(0, "is worse than"), (32, "is not clearly better than"), (40, "")]
)
def test_a_model_that_is_not_better_than_taking_the_longer_says_so(
    right, verdict, dataset, rita, as_user, store_figures
):
    version = ModelVersionFactory.create(state="active", name="rm-1")
    for index in range(40):
        comparison = ComparisonFactory.create(prompt__dataset=dataset, a__text="a long answer", b__text="no")
        outcome = "a" if index % 5 else "b"
        margin = 1.0 if (outcome == "a") == (index < right) else -1.0
        SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
        JudgmentFactory.create(comparison=comparison, outcome=outcome)
    store_figures(dataset)

    html = page(as_user(rita), "dataset", dataset.pk)

    assert (f"rm-1 {verdict} picking the longer answer" in html) is bool(verdict)
    assert ("Its picks may not help here" in html) is bool(verdict)


@pytest.mark.parametrize(
    ("preferred", "said"),
    [("b", "percentages off by 90 points"), ("a", '<span class="tag agree">calibrated</span>')],
)
def test_a_calibrated_model_whose_percentages_are_far_off_says_so(
    preferred, said, dataset, rita, as_user, store_figures
):
    version = ModelVersionFactory.create(state="active", temperature=1 / math.log(0.9 / (1 - 0.9)))
    for _ in range(100):  # the model is 90 % sure of a; a fifth of the prompts measures that
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
        JudgmentFactory.create(comparison=comparison, outcome=preferred)
    store_figures(dataset)

    worth = page(as_user(rita), "dataset", dataset.pk).partition('id="worth"')[2]

    assert said in worth


def test_the_overview_leaves_out_what_the_model_has_learnt_and_says_so(dataset, rita, as_user, store_figures):
    planted = memorised(dataset, state="active")
    store_figures(dataset)

    worth = page(as_user(rita), "dataset", dataset.pk).partition('id="worth"')[2]

    assert f"<b>{percent(planted.share)}</b>" in worth
    assert "Left out: 60 pairs of prompts that the model was trained on." in worth
    assert "is not known" not in worth


def test_the_overview_says_how_far_people_agree_as_quality_does(dataset, rita, as_user, store_figures):
    ModelVersionFactory.create(state="active")
    for index in range(20):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        for outcome in ("a", "a" if index else "b"):
            JudgmentFactory.create(comparison=comparison, outcome=outcome)
    store_figures(dataset)
    client = as_user(rita)

    agreements = [
        re.search(r"Two people agree in (.*?) of cases, on 20 pairs", page(client, name, dataset.pk))
        for name in ("dataset", "quality")
    ]

    assert agreements[0][1] == agreements[1][1] == "95\xa0% (80 to 100)"


def test_without_judgments_no_accuracy_is_claimed(dataset, rita, as_user):
    ModelVersionFactory.create(state="active")

    worth = page(as_user(rita), "dataset", dataset.pk).partition('id="worth"')[2]

    assert "No votes or labels yet" in worth
    assert "%" not in worth


def test_before_the_first_report_the_overview_says_that_it_comes_by_itself(dataset, rita, as_user):
    ModelVersionFactory.create(state="active")
    JudgmentFactory.create(comparison__prompt__dataset=dataset)

    assert "The first figures appear by themselves" in page(as_user(rita), "dataset", dataset.pk)


def test_without_an_active_model_the_page_says_so(dataset, rita, as_user):
    assert "No model is active" in page(as_user(rita), "dataset", dataset.pk)


def test_a_run_that_no_worker_serves_says_since_when_and_how_to_start_one(dataset, alice, as_user):
    RunFactory.create(dataset=dataset)
    lost_worker = worker("score", seconds_ago=31)
    worker("work", seconds_ago=0)

    html = page(as_user(alice), "dataset", dataset.pk)

    assert f"No worker since {timezone.localtime(lost_worker.last_seen):%H:%M}" in html
    assert "celery -A workbench worker --pool solo --queues score" in html


def test_a_run_with_a_worker_alive_says_nothing_of_the_kind(dataset, alice, as_user):
    RunFactory.create(dataset=dataset)
    worker("score, work", seconds_ago=20)

    assert "No worker" not in page(as_user(alice), "dataset", dataset.pk)


def test_an_overview_asks_as_often_for_three_runs_as_for_one(dataset, alice, as_user, queries_of):
    url = reverse("dataset", args=[dataset.pk])
    RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), created_by=alice)
    for_one_run = queries_of(as_user(alice), url)
    for _ in range(2):
        RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), created_by=alice)

    assert queries_of(as_user(alice), url) == for_one_run


# --- data ---------------------------------------------------------------------------------------------------


def test_text_is_shown_escaped_and_with_its_white_space(dataset, rita, as_user):
    CompletionFactory.create(prompt__dataset=dataset, text="<script>alert(1)</script>\n\tindented  & done")

    html = page(as_user(rita), "data", dataset.pk)

    assert "&lt;script&gt;alert(1)&lt;/script&gt;\n\tindented  &amp; done" in html
    assert "<script>alert" not in html


def test_completions_stand_best_score_first_and_unscored_ones_last(dataset, rita, as_user):
    version = ModelVersionFactory.create(state="active")
    prompt = PromptFactory.create(dataset=dataset)
    for text, value in (("middling", 0.5), ("unscored", None), ("best", 2.25), ("worst", -3.0)):
        completion = CompletionFactory.create(prompt=prompt, text=text)
        if value is not None:
            ScoreFactory.create(completion=completion, version=version, value=value)
        ScoreFactory.create(completion=completion, value=9.0)

    _, _, html = page(as_user(rita), "data", dataset.pk).partition('<ol class="completions">')

    order = sorted(("middling", "unscored", "best", "worst"), key=html.index)
    assert order == ["best", "middling", "worst", "unscored"]
    assert "2.25" in html


def test_a_search_that_finds_nothing_says_so(dataset, rita, as_user):
    assert "No match for “nowhere”." in page(as_user(rita), "data", dataset.pk, q="nowhere")


def test_a_search_of_minus_words_only_says_what_lacks(dataset, rita, as_user):
    shown = page(as_user(rita), "data", dataset.pk, q="-heat")

    assert "“-heat” only leaves prompts out. Add a word to look for." in shown


def test_a_search_for_what_no_database_can_hold_is_refused(dataset, rita, as_user):
    answer = as_user(rita).get(reverse("data", args=[dataset.pk]), {"q": "a\x00b"})

    assert answer.status_code == 400


def test_data_comes_in_pages_and_keeps_the_search(dataset, rita, as_user):
    prompts = PromptFactory.create_batch(21, dataset=dataset)
    reindex(dataset, [prompt.pk for prompt in prompts])

    first = page(as_user(rita), "data", dataset.pk, q="Question")
    last = page(as_user(rita), "data", dataset.pk, q="Question", page="2")

    assert first.count('<article class="prompt"') == 20
    assert last.count('<article class="prompt"') == 1
    assert "?q=Question&amp;page=2" in first


def test_data_asks_as_often_for_three_prompts_as_for_one(dataset, rita, as_user, queries_of):
    version = ModelVersionFactory.create(state="active")
    url = reverse("data", args=[dataset.pk])
    ScoreFactory.create(completion__prompt__dataset=dataset, version=version)
    as_user(rita).get(url)  # the first visitor of a process reads what it keeps
    for_one_prompt = queries_of(as_user(rita), url)
    for _ in range(2):
        ScoreFactory.create(completion__prompt__dataset=dataset, version=version)
    PromptChange.objects.all_of(dataset.pk)
    as_user(rita).get(url)

    assert queries_of(as_user(rita), url) == for_one_prompt


# --- settings -----------------------------------------------------------------------------------------------


def sent(dataset: Dataset, **changes: object) -> dict[str, object]:
    fields = tuple(DatasetForm.Meta.fields)
    values = {name: getattr(dataset, name) for name in fields}
    return {**{name: "" if value is None else value for name, value in values.items()}, **changes}


def test_settings_are_saved(dataset, alice, as_user):
    as_user(alice).post(reverse("settings", args=[dataset.pk]), sent(dataset, overlap=3, blind_share=0.8))

    dataset.refresh_from_db()
    assert (dataset.overlap, dataset.blind_share) == (3, 0.8)


def test_saving_one_setting_does_not_write_the_others_back(dataset, alice, as_user, monkeypatch):
    form = DatasetForm(sent(dataset, overlap=3), instance=Dataset.objects.get(pk=dataset.pk))
    Dataset.objects.filter(pk=dataset.pk).update(licence="CC-BY-4.0")  # somebody else, meanwhile
    assert form.is_valid()

    form.save()

    dataset.refresh_from_db()
    assert (dataset.overlap, dataset.licence) == (3, "CC-BY-4.0")


@pytest.mark.parametrize(("field", "value"), [("overlap", 0), ("blind_share", 1.2), ("lease_minutes", 241)])
def test_a_setting_out_of_range_is_refused_at_its_field_and_nothing_is_saved(
    field, value, dataset, alice, as_user
):
    before = getattr(dataset, field)

    answer = as_user(alice).post(
        reverse("settings", args=[dataset.pk]), sent(dataset, licence="MIT", **{field: value})
    )

    assert answer.status_code == 400
    assert answer.context["form"].errors.keys() == {field}
    dataset.refresh_from_db()
    assert (getattr(dataset, field), dataset.licence) == (before, "")


def revise(client: Client, dataset: Dataset, text: str, based_on: int):
    return client.post(
        reverse("guidelines_revise", args=[dataset.pk]), {"text": text, "based_on": str(based_on)}
    )


def test_each_change_of_the_guidelines_is_a_new_version_and_the_same_text_is_none(dataset, alice, as_user):
    client = as_user(alice)

    revise(client, dataset, "Be kind.", 0)
    revise(client, dataset, "Be kind.", 1)
    revise(client, dataset, "Be kind.\nBe right.", 1)

    assert list(dataset.guidelines.values_list("number", "text", "created_by__username")) == [
        (1, "Be kind.", "alice"),
        (2, "Be kind.\nBe right.", "alice"),
    ]


def test_guidelines_are_previewed_as_annotators_see_them_and_nothing_is_stored(dataset, alice, as_user):
    sent = {"text": "**Be** kind.", "preview": "1", "based_on": "0"}

    answer = as_user(alice).post(reverse("guidelines_revise", args=[dataset.pk]), sent)

    assert answer.content.decode().strip() == "<p><strong>Be</strong> kind.</p>"
    assert not dataset.guidelines.exists()


def test_guidelines_are_kept_byte_for_byte_but_for_the_line_ends_of_the_form(dataset, alice, as_user):
    text = "\r\n  # Rules \r\n\ttabs\u2028 <b>&amp;</b> trailing  \r\n\r\n"

    revise(as_user(alice), dataset, text, 0)

    assert dataset.current_guidelines.text == text.replace("\r\n", "\n")


def test_the_form_brings_back_just_the_text_that_is_stored(dataset, alice, as_user):
    dataset.revise_guidelines("\n  leading line", alice)

    html = page(as_user(alice), "settings", dataset.pk)

    # A browser drops the first line end after the tag, so there has to be one more than in the text.
    assert ">\n\n  leading line</textarea>" in html


def test_two_admins_who_revise_at_once_do_not_overwrite_each_other(dataset, alice, as_user):
    dataset.revise_guidelines("First.", alice)
    dataset.revise_guidelines("By somebody else.", None, based_on=1)

    answer = revise(as_user(alice), dataset, "By Alice.", 1)

    assert answer.status_code == 400
    assert dataset.current_guidelines.text == "By somebody else."
    html = answer.content.decode()
    assert "By Alice." in html
    assert "Version 2 was saved while you were writing" in html


def test_after_such_a_conflict_a_second_save_goes_through(dataset, alice, as_user):
    dataset.revise_guidelines("First.", alice)
    client = as_user(alice)

    conflict = revise(client, dataset, "By Alice.", 0)
    revise(client, dataset, "By Alice.", conflict.context["guidelines"]["based_on"].value())

    assert dataset.current_guidelines.text == "By Alice."


def test_every_version_of_the_guidelines_can_be_read(dataset, alice, as_user):
    dataset.revise_guidelines("Be kind.", alice)
    dataset.revise_guidelines("Be right.", alice, based_on=1)

    html = page(as_user(alice), "settings", dataset.pk)

    assert "Be kind." in html
    assert "Be right." in html


def test_a_stale_revision_is_an_error_for_every_caller(dataset, alice):
    dataset.revise_guidelines("First.", alice)

    with pytest.raises(ValidationError, match="Version 1"):
        dataset.revise_guidelines("Second.", alice, based_on=0)


def test_a_large_dataset_opens_at_once_and_its_numbers_follow(dataset, alice, as_user, monkeypatch):
    monkeypatch.setattr(overview, "LARGE", 1)
    client, url = as_user(alice), reverse("dataset", args=[dataset.pk])
    ComparisonFactory.create(prompt__dataset=dataset)
    small = client.get(url).content.decode()
    ComparisonFactory.create(prompt__dataset=dataset)

    with CaptureQueriesContext(connection) as queries:
        at_once = client.get(url).content.decode()
    follows = client.get(url, {"whole": 1}, headers={"HX-Request": "true"}).content.decode()

    assert "Progress of this dataset" in small
    assert "Progress of this dataset" not in at_once
    assert f'hx-get="{url}?whole=1" hx-trigger="load"' in at_once
    assert not any("workbench_judgment" in query["sql"] for query in queries.captured_queries)
    assert "Progress of this dataset" in follows
    assert 'id="steps" hx-swap-oob="true"' in follows
    assert 'id="worth" hx-swap-oob="true"' in follows
    assert "Progress of this dataset" in client.get(url, {"now": 1}).content.decode()


def test_with_large_datasets_the_first_page_opens_at_once_and_its_numbers_follow(
    dataset, alice, as_user, monkeypatch
):
    monkeypatch.setattr(overview, "LARGE", 0)
    ComparisonFactory.create(prompt__dataset=dataset)

    with CaptureQueriesContext(connection) as queries:
        at_once = page(as_user(alice), "home")
    follows = page(as_user(alice), "home", whole="1")

    assert not any("workbench_judgment" in query["sql"] for query in queries.captured_queries)
    assert (dataset.name in at_once, "0 of 1" in at_once) == (True, False)
    assert 'hx-select="#datasets"' in at_once
    assert "0 of 1" in follows
    assert "hx-select" not in follows


@pytest.mark.parametrize("n", [1, 30])
def test_the_overview_takes_14_queries_for_one_comparison_and_for_thirty(
    dataset, alice, as_user, django_assert_num_queries, store_figures, n
):
    version = ModelVersionFactory.create(state="active")
    for _ in range(n):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        JudgmentFactory.create(comparison=comparison)
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
    store_figures(dataset)
    client = as_user(alice)

    with django_assert_num_queries(14):
        assert client.get(reverse("dataset", args=[dataset.pk])).status_code == 200


def test_the_page_of_a_prompt_says_where_it_is_from_and_leads_to_what_is_like_it(
    dataset, alice, rita, as_user
):
    upload = Upload.objects.create(
        dataset=dataset, shown_name="pantry.csv", path="p", size=1, sha256="a" * 64
    )
    topic = Topic.objects.create(dataset=dataset, number=4, name="bread, yeast")
    answer = CompletionFactory.create(
        prompt__dataset=dataset,
        prompt__language="sv",
        prompt__topic=topic,
        prompt__imported_by=RunFactory.create(
            kind="import", dataset=dataset, upload=upload, created_by=alice
        ),
    )

    text = as_user(rita).get(reverse("prompt", args=[answer.prompt_id])).content.decode()

    similar = reverse("similar", args=[dataset.pk])
    assert "Swedish" in text
    assert f'topic <a href="{reverse("data", args=[dataset.pk])}?topic=4">bread, yeast</a>' in text
    assert f'href="{similar}?prompt={answer.prompt_id}"' in text
    assert f'href="{similar}?completion={answer.pk}"' in text
    assert '<td>alice</td><td>Imported <span class="hint">pantry.csv</span></td>' in " ".join(text.split())


def test_prompts_too_long_for_a_list_are_shortened_there_and_whole_on_a_page_of_their_own(
    dataset, rita, as_user, monkeypatch
):
    """Twenty prompts with two answers of 3.5 MB each took 3.8 GB of memory when ten people looked."""
    monkeypatch.setattr(overview, "MOST_OF_A_PAGE", 1000)
    short = CompletionFactory.create(prompt__dataset=dataset, text="Short and sweet.")
    long = CompletionFactory.create(prompt__dataset=dataset, text="Long " * 200 + "and at its end this.")
    data = reverse("data", args=[dataset.pk])

    listed = as_user(rita).get(data).content.decode()
    alone = as_user(rita).get(reverse("prompt", args=[long.prompt_id])).content.decode()

    assert 'class="judged-text" dir="auto">Short and sweet.' in listed
    assert "Long Long" in listed
    assert "at its end" not in listed
    assert f'href="{reverse("prompt", args=[long.prompt_id])}">Show all 1,0' in listed
    assert "at its end this." in alone
    assert short.text not in alone


def test_a_prompt_too_long_for_any_page_says_where_all_of_it_is(dataset, rita, as_user, monkeypatch):
    monkeypatch.setattr(overview, "MOST_OF_ONE", 1000)
    long = CompletionFactory.create(prompt__dataset=dataset, text="Long " * 200)

    alone = as_user(rita).get(reverse("prompt", args=[long.prompt_id])).content.decode()

    assert "characters are too many to show. A release contains them all." in alone


def test_a_group_of_long_prompts_shows_how_they_begin(dataset, rita, as_user, monkeypatch):
    monkeypatch.setattr(overview, "MOST_OF_A_PAGE", 1000)
    for name in ("One", "Two"):
        messages = [{"role": "user", "content": name + " long" * 300 + " end"}]
        PromptFactory.create(dataset=dataset, messages=messages, group="1" * 64)

    page = as_user(rita).get(reverse("groups", args=[dataset.pk])).content.decode()

    assert "One long" in page
    assert "Two long" in page
    assert "long end" not in page
    assert "Show all 1,5" in page
