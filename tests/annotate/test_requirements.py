"""Who gets which pair, where a Dataset or a row requires a language or a skill."""

from collections import Counter
from itertools import count
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.urls import reverse

from tests.datasets.test_pages import sent
from tests.factories import ComparisonFactory, PromptFactory, UserFactory
from tests.imports.test_importing import take
from tests.votes import record_judgment
from workbench.models import Annotator, Claim, Comparison, Dataset, Judgment, Member, Requirement
from workbench.pipeline.annotate import handout, queue, requirements, statements
from workbench.pipeline.annotate.answers import Answer, skip
from workbench.pipeline.annotate.handout import next_claim
from workbench.worker.tasks import order_queue

pytestmark = pytest.mark.django_db

NAMES = count()


@pytest.fixture(autouse=True)
def nothing_is_counted_yet():
    cache.clear()


def person(dataset: Dataset, languages: str = "", skills: str = "") -> Annotator:
    user = UserFactory.create(username=f"person{next(NAMES)}")
    Member.objects.create(
        dataset=dataset, user=user, role="annotator", languages=languages.split(), skills=skills.split()
    )
    return Annotator.objects.for_user(user)


def pairs(dataset: Dataset, number: int = 1, detected: str = "", **metadata: object) -> list[Comparison]:
    """Pairs of prompts of their own, with what they require."""
    made = [
        ComparisonFactory.create(
            prompt=PromptFactory.create(dataset=dataset, language=detected, metadata=metadata)
        )
        for _ in range(number)
    ]
    requirements.renew(dataset)
    return made


def german_elsewhere(dataset: Dataset) -> None:
    """A pair for readers of German that is not in the queue: they meet something, and get nothing by it."""
    (comparison,) = pairs(dataset, detected="de")
    Comparison.objects.filter(pk=comparison.pk).update(required=0)


def handed(dataset: Dataset, annotator: Annotator, answer: str = "left") -> list[Comparison]:
    """All that the annotator is handed, in turn."""
    comparisons = []
    while claim := next_claim(dataset, annotator):
        comparisons.append(claim.comparison)
        record_judgment(annotator, claim.comparison, Answer(answer, uuid4()), claim.pk)
    return comparisons


@pytest.fixture
def by_language(dataset: Dataset) -> Dataset:
    dataset.requires_prompt_language = True
    dataset.save()
    return dataset


@pytest.fixture
def by_field(dataset: Dataset) -> Dataset:
    dataset.language_key, dataset.skill_key = "language", "subject"
    dataset.save()
    return dataset


# --- who gets what ------------------------------------------------------------------------------------------


def test_a_dataset_that_requires_a_language_hands_nothing_to_who_does_not_read_it(dataset):
    pairs(dataset)
    dataset.required_language = "pl"
    dataset.save()

    assert next_claim(dataset, person(dataset, "en")) is None
    assert next_claim(dataset, person(dataset, "en pl")) is not None


def test_a_dataset_that_requires_a_skill_hands_nothing_to_who_lacks_it(dataset):
    pairs(dataset)
    dataset.required_skill = "law"
    dataset.save()

    assert next_claim(dataset, person(dataset, skills="medicine")) is None
    assert next_claim(dataset, person(dataset, skills="law")) is not None


def test_whoever_is_no_member_has_no_language_and_no_skill(by_language):
    pairs(by_language, detected="pl")
    staff = Annotator.objects.for_user(UserFactory.create(is_staff=True))

    assert next_claim(by_language, staff) is None


def test_people_get_the_pairs_whose_language_they_read_and_those_of_no_sure_language(by_language):
    polish, german, unsure = (pairs(by_language, 2, language) for language in ("pl", "de", ""))

    assert set(handed(by_language, person(by_language, "pl"))) == {*polish, *unsure}
    by_language.overlap = 3
    by_language.save()
    assert set(handed(by_language, person(by_language, "de pl"))) == {*polish, *german, *unsure}
    assert set(handed(by_language, person(by_language))) == set(unsure)


@pytest.mark.parametrize("written", ["pl", "Polish", " polish ", "PL", "pl-PL", "pl_PL", ["pl"]])
def test_a_row_may_write_a_language_as_a_name_or_as_a_tag(written, by_field):
    wanted = pairs(by_field, detected="de", language=written)

    assert handed(by_field, person(by_field, "de")) == []
    assert handed(by_field, person(by_field, "pl")) == wanted


def test_a_row_may_require_several_languages_and_skills_and_people_need_all_of_them(by_field):
    wanted = pairs(by_field, language=["pl", "de"], subject=["Law", " tax  law "])

    for languages, skills in (("pl", ["law", "tax law"]), ("pl de", ["law"]), ("pl de", [])):
        lacking = person(by_field, languages)
        Member.objects.filter(user=lacking.user).update(skills=skills)
        assert handed(by_field, lacking) == []
    able = person(by_field, "de en pl")
    Member.objects.filter(user=able.user).update(skills=["law", "tax law"])
    assert handed(by_field, able) == wanted


def test_what_a_row_says_goes_before_the_language_that_was_detected(by_language):
    by_language.language_key = "language"
    by_language.save()
    said, detected = pairs(by_language, detected="de"), pairs(by_language, detected="de")
    Comparison.objects.filter(pk=said[0].pk).update(needs=None)
    said[0].prompt.metadata = {"language": "pl"}
    said[0].prompt.save()
    requirements.renew(by_language)

    assert handed(by_language, person(by_language, "pl")) == said
    assert handed(by_language, person(by_language, "de")) == detected


def test_the_metadata_of_a_pair_counts_where_its_prompt_has_no_such_key(by_field):
    comparison = ComparisonFactory.create(
        prompt=PromptFactory.create(dataset=by_field), metadata={"subject": "law"}
    )
    requirements.renew(by_field)

    assert handed(by_field, person(by_field)) == []
    assert handed(by_field, person(by_field, skills="law")) == [comparison]


@pytest.mark.parametrize("value", [None, "", {}, {"a": 1}, [], [None, {}], "zxx"])
def test_a_value_that_is_no_language_requires_none(value, by_field):
    wanted = pairs(by_field, language=value)

    assert handed(by_field, person(by_field)) == wanted


# --- nothing slips through ----------------------------------------------------------------------------------


def test_a_pair_whose_requirement_is_not_told_yet_goes_to_nobody(by_language):
    comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=by_language, language="pl"))
    polish = person(by_language, "pl")

    assert next_claim(by_language, polish) is None
    assert requirements.untold(by_language) == "1 pair waits until a worker has read what is required."
    requirements.renew(by_language)
    assert next_claim(by_language, polish).comparison == comparison


def test_gold_goes_to_those_alone_who_meet_what_it_requires(by_language, monkeypatch):
    by_language.gold_share = 0.5
    by_language.save()
    german_elsewhere(by_language)
    (gold,) = pairs(by_language, detected="pl")
    Comparison.objects.filter(pk=gold.pk).update(gold_outcome="a", required=0)
    monkeypatch.setattr(handout.random, "random", lambda: 0.0)

    assert next_claim(by_language, person(by_language, "de")) is None
    assert next_claim(by_language, person(by_language, "pl")).comparison == gold


def test_gold_that_was_put_off_does_not_come_back_to_who_has_lost_the_language(by_language, monkeypatch):
    by_language.gold_share = 0.5
    by_language.save()
    german_elsewhere(by_language)
    (gold,) = pairs(by_language, detected="pl")
    Comparison.objects.filter(pk=gold.pk).update(gold_outcome="a", required=0)
    monkeypatch.setattr(handout.random, "random", lambda: 0.0)
    polish = person(by_language, "pl")
    claim = next_claim(by_language, polish)
    skip(polish, gold, claim.pk)

    Member.objects.filter(user=polish.user).update(languages=["de"])
    assert next_claim(by_language, polish, again=True) is None

    Member.objects.filter(user=polish.user).update(languages=["pl"])
    assert next_claim(by_language, polish, again=True).comparison == gold


def test_a_repeat_is_not_asked_of_who_has_lost_the_language(by_language, monkeypatch):
    by_language.repeat_share = 0.5
    by_language.save()
    german_elsewhere(by_language)
    pairs(by_language, detected="pl")
    polish = person(by_language, "pl")
    monkeypatch.setattr(handout, "REPEAT_AFTER", 0)
    monkeypatch.setattr(handout.random, "random", lambda: 0.9)
    handed(by_language, polish)
    monkeypatch.setattr(handout.random, "random", lambda: 0.0)

    Member.objects.filter(user=polish.user).update(languages=["de"])
    assert next_claim(by_language, polish) is None

    Member.objects.filter(user=polish.user).update(languages=["pl"])
    assert next_claim(by_language, polish).purpose == "repeat"


def test_a_ranking_has_only_pairs_whose_requirement_is_met_and_new_pairs_have_the_same(by_language):
    by_language.allows_ranking = True
    by_language.save()
    (first,) = pairs(by_language, detected="pl")
    third = first.prompt.completions.create(text="A third.", sha256="c" * 64)
    polish = person(by_language, "pl")

    assert next_claim(by_language, person(by_language, "de")) is None
    claim = next_claim(by_language, polish)

    assert third.pk in claim.ranking.shown
    assert by_language.comparisons.count() == 3
    assert set(by_language.comparisons.values_list("needs", flat=True)) == {claim.comparison.needs_id}


def test_a_pair_that_gets_another_requirement_while_it_is_handed_out_is_passed_over(by_language):
    (comparison,) = pairs(by_language, detected="pl")
    polish = person(by_language, "pl")
    needs = requirements.met_by(by_language, polish.user_id)
    rows, _ = statements.read_windows(by_language, 0.0, 32, needs)
    assert comparison.pk in {pk for _, pk in rows}

    Comparison.objects.filter(pk=comparison.pk).update(needs=needs[0] + 1)

    assert queue._lock_first(by_language, polish, [comparison.pk], needs) is None


def test_a_vote_on_a_pair_that_one_was_never_handed_is_refused(by_language, bob, as_user):
    (comparison,) = pairs(by_language, detected="pl")
    fields = {"user": bob.pk, "comparison": comparison.pk, "answer": "left", "key": uuid4()}
    headers = {"Accept": "application/json", "X-Requested-With": "fetch"}

    vote = as_user(bob).post(reverse("judge", args=[by_language.pk]), fields, headers=headers)
    to_see = as_user(bob).get(
        reverse("annotate_markdown", args=[by_language.pk]), {"comparison": comparison.pk}
    )

    assert vote.status_code == 409
    assert to_see.status_code == 404
    assert not Judgment.objects.exists()


def test_the_next_pair_that_a_page_fetches_ahead_is_one_whose_language_its_reader_reads(
    by_language, bob, as_user
):
    polish, _ = pairs(by_language, 2, "pl"), pairs(by_language, 20, "de")
    Member.objects.filter(user=bob).update(languages=["pl"])
    client, have = as_user(bob), []

    for _ in range(2):
        page = client.post(
            reverse("annotate_next", args=[by_language.pk]), {"have": ",".join(map(str, have))}
        )
        assert page.status_code == 200
        have = list(Claim.objects.values_list("comparison", flat=True))
    ahead = client.post(reverse("annotate_next", args=[by_language.pk]), {"have": ",".join(map(str, have))})

    assert ahead.status_code == 204
    assert set(have) == {comparison.pk for comparison in polish}


# --- what changes meanwhile ---------------------------------------------------------------------------------


def test_a_skill_that_is_given_or_taken_counts_from_the_next_request_on(by_field, alice, bob, as_user):
    wanted = pairs(by_field, 3, subject="law")
    member = Member.objects.get(user=bob)
    admin, client = as_user(alice), as_user(bob)
    to_set = reverse("member_facts", args=[by_field.pk, member.pk])
    to_vote = reverse("annotate_next", args=[by_field.pk])

    assert "No pairs for you" in client.post(to_vote).content.decode()
    admin.post(to_set, {"languages": "", "skills": "Law, tax  law"})
    assert Member.objects.get(user=bob).skills == ["law", "tax law"]
    first = client.post(to_vote).content.decode()
    assert any(f'data-comparison="{comparison.pk}"' in first for comparison in wanted)
    admin.post(to_set, {"languages": "", "skills": ""})

    # What is held stays, and nothing comes beside it.
    held = list(Claim.objects.values_list("comparison", flat=True))
    assert client.post(to_vote, {"have": ",".join(map(str, held))}).status_code == 204
    again = client.post(to_vote).content.decode()
    assert [f'data-comparison="{pk}"' in again for pk in held] == [True]
    assert list(Claim.objects.values_list("comparison", flat=True)) == held


def test_settings_that_change_do_not_pull_away_what_somebody_holds_and_votes_stay(
    dataset, alice, as_user, messages, django_capture_on_commit_callbacks
):
    pairs(dataset, 3, "pl")
    annotator = person(dataset, "en")
    voted = next_claim(dataset, annotator)
    record_judgment(annotator, voted.comparison, Answer("left", uuid4()), voted.pk)
    held = next_claim(dataset, annotator)

    with django_capture_on_commit_callbacks(execute=True):
        as_user(alice).post(
            reverse("settings", args=[dataset.pk]), sent(dataset, requires_prompt_language="on")
        )
    dataset.refresh_from_db()
    assert messages == [(order_queue, dataset.pk)]
    order_queue(dataset.pk)

    assert next_claim(dataset, annotator) == held
    record_judgment(annotator, held.comparison, Answer("left", uuid4()), held.pk)
    assert Judgment.objects.current().count() == 2
    assert next_claim(dataset, annotator) is None
    assert len(handed(dataset, person(dataset, "pl"))) == 1


def test_until_a_worker_has_read_what_pairs_require_by_new_settings_nobody_gets_them(
    by_field, alice, as_user, messages
):
    pairs(by_field, language="pl", topic="de")
    polish, german = person(by_field, "pl"), person(by_field, "de")

    as_user(alice).post(reverse("settings", args=[by_field.pk]), sent(by_field, language_key="topic"))
    by_field.refresh_from_db()

    assert next_claim(by_field, polish) is None
    assert next_claim(by_field, german) is None
    order_queue(by_field.pk)
    assert next_claim(by_field, polish) is None
    assert next_claim(by_field, german) is not None


def test_settings_that_stop_to_require_give_the_pairs_to_all_at_once(by_language, alice, as_user, messages):
    pairs(by_language, detected="pl")
    as_user(alice).post(
        reverse("settings", args=[by_language.pk]), sent(by_language, requires_prompt_language="")
    )

    assert next_claim(Dataset.objects.get(pk=by_language.pk), person(by_language)) is not None


def test_a_setting_of_something_else_leaves_the_requirements_as_they_are(
    by_language, alice, as_user, messages
):
    pairs(by_language, detected="pl")
    before = list(Requirement.objects.values_list("pk", flat=True))

    as_user(alice).post(reverse("settings", args=[by_language.pk]), sent(by_language, overlap=2))

    assert Dataset.objects.get(pk=by_language.pk).overlap == 2
    assert list(Requirement.objects.values_list("pk", flat=True)) == before


def test_an_import_says_what_its_pairs_require(by_language, tmp_path):
    by_language.skill_key = "subject"
    by_language.save()
    text = "Proszę wyjaśnić, dlaczego niebo jest niebieskie, a trawa zielona. Dziękuję bardzo za pomoc."
    row = {"prompt": text, "chosen": "good", "rejected": "bad", "subject": "law"}

    take(tmp_path, [{"id": "1", **row}], dataset=by_language)

    needs = by_language.comparisons.get().needs
    assert (needs.languages, needs.skills) == (["pl"], ["law"])
    assert len(handed(by_language, person(by_language, "pl", "law"))) == 1


def test_a_second_import_adds_no_second_row_of_the_same_requirement(by_field, tmp_path):
    for number in range(2):
        row = {"prompt": f"p{number}", "chosen": "good", "rejected": "bad", "subject": "law"}
        take(tmp_path, [row], dataset=by_field)

    assert Requirement.objects.get().skills == ["law"]
    assert by_field.comparisons.filter(needs=Requirement.objects.get()).count() == 2


def test_a_clone_requires_the_same_and_its_people_know_the_same(by_field, alice, bob, as_user):
    Member.objects.filter(user=bob).update(languages=["pl"], skills=["law"])
    Member.objects.filter(user=alice).update(languages=["de"])

    as_user(alice).post(reverse("clone", args=[by_field.pk]), {"clone-name": "Pantry"})

    clone = Dataset.objects.get(name="Pantry")
    assert (clone.language_key, clone.skill_key) == ("language", "subject")
    assert (clone.members.get(user=bob).languages, clone.members.get(user=bob).skills) == (["pl"], ["law"])
    assert (clone.members.get(user=alice).languages, clone.members.get(user=alice).role) == (["de"], "admin")


def test_a_field_of_too_many_values_leaves_pairs_to_nobody_and_the_page_of_people_says_so(
    by_field, alice, as_user, monkeypatch
):
    monkeypatch.setattr(requirements, "MOST_KINDS", 2)
    for number in range(3):
        pairs(by_field, subject=f"subject {number}")

    page = as_user(alice).get(reverse("people", args=[by_field.pk])).content.decode()

    assert Requirement.objects.count() == 2
    assert "1 pair waits for nobody: a dataset takes at most 2 different requirements." in page


# --- what the queue promises --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["random", "uncertain", "disagreement", "mixture"])
@pytest.mark.parametrize("their_own", [8, 0])
def test_every_pair_gets_exactly_the_overlap_of_people_who_meet_what_it_requires(
    by_field, order, their_own, monkeypatch
):
    """In windows of each requirement, and in one window for all."""
    monkeypatch.setattr(statements, "WINDOWS_OF_THEIR_OWN", their_own)
    by_field.overlap, by_field.order = 2, order
    by_field.save()
    for language in ("pl", "de", "en", ""):
        for subject in ("law", ""):
            pairs(by_field, 3, language=language, subject=subject)
    people = [
        person(by_field, languages, skills)
        for languages in ("pl en", "pl de", "de en")
        for skills in ("law", "law", "")
    ]
    working = dict.fromkeys(people)

    while working:
        for one in list(working):
            claim = next_claim(by_field, one)
            if claim is None:
                del working[one]
                continue
            record_judgment(one, claim.comparison, Answer("left", uuid4()), claim.pk)

    votes = Counter(Judgment.objects.current().values_list("comparison", flat=True))
    assert set(votes.values()) == {2}
    assert len(votes) == by_field.comparisons.count()
    knows = {member.user.annotator.pk: member for member in Member.objects.select_related("user__annotator")}
    for judgment in Judgment.objects.select_related("comparison__needs"):
        needs, member = judgment.comparison.needs, knows[judgment.annotator_id]
        assert set(needs.languages) <= set(member.languages)
        assert set(needs.skills) <= set(member.skills)


def test_each_side_is_on_the_left_equally_often_whatever_a_person_may_get(by_language):
    pairs(by_language, 8, "pl"), pairs(by_language, 8, "de")
    polish = person(by_language, "pl")

    handed(by_language, polish)

    left = Counter(Claim.objects.filter(annotator=polish).values_list("left", flat=True))
    assert left == {"a": 4, "b": 4}


@pytest.mark.parametrize("their_own", [8, 0])
def test_what_others_have_begun_comes_first_then_what_an_admin_put_first(by_field, their_own, monkeypatch):
    monkeypatch.setattr(statements, "WINDOWS_OF_THEIR_OWN", their_own)
    by_field.overlap = 2
    by_field.save()
    pairs(by_field, 10, language="pl"), pairs(by_field, 10, language="de")
    chosen = pairs(by_field, language="de")[0]
    Comparison.objects.filter(pk=chosen.pk).update(priority=2)
    begun = next_claim(by_field, person(by_field, "pl")).comparison

    both = handed(by_field, person(by_field, "de pl"))

    assert both[:2] == [begun, chosen]


@pytest.mark.parametrize("their_own", [8, 0])
def test_the_queue_is_in_its_order_over_all_that_somebody_may_get(by_field, their_own, monkeypatch):
    monkeypatch.setattr(statements, "WINDOWS_OF_THEIR_OWN", their_own)
    monkeypatch.setattr(handout, "draw", lambda *_: 0.0)
    made = [pairs(by_field, language=("pl", "de", "en")[n % 3])[0] for n in range(9)]
    made.reverse()  # so that the order is not that of the primary keys
    for place, comparison in enumerate(made):
        Comparison.objects.filter(pk=comparison.pk).update(random_rank=place / 10)

    assert handed(by_field, person(by_field, "de pl")) == [made[n] for n in (1, 2, 4, 5, 7, 8)]


@pytest.mark.parametrize("their_own", [8, 0])
def test_the_chance_of_a_draw_is_that_among_what_the_person_may_get(by_field, their_own, monkeypatch):
    monkeypatch.setattr(statements, "WINDOWS_OF_THEIR_OWN", their_own)
    pairs(by_field, 4, language="pl"), pairs(by_field, 4, language="de"), pairs(by_field, 4, language="en")

    claim = next_claim(by_field, person(by_field, "de pl"))

    assert claim.propensity == pytest.approx(1 / 8)


# --- what is said -------------------------------------------------------------------------------------------


def test_nothing_for_you_says_what_is_missing_and_how_many_pairs_wait_for_it(by_field, bob, as_user):
    pairs(by_field, 12, language="pl"), pairs(by_field, language="en", subject="law")
    Member.objects.filter(user=bob).update(languages=["en"])

    page = as_user(bob).get(reverse("annotate", args=[by_field.pk])).content.decode()

    assert "12 pairs wait for somebody who reads Polish." in page
    assert "1 pair waits for somebody who has the skill “law”." in page


def test_nothing_for_you_says_what_the_dataset_requires_of_everybody(dataset, bob, as_user):
    pairs(dataset, 2)
    dataset.required_language, dataset.required_skill = "pl", "law"
    dataset.save()

    page = as_user(bob).get(reverse("annotate", args=[dataset.pk])).content.decode()

    assert "2 pairs wait for somebody who reads Polish and has the skill “law”." in page


def test_nothing_for_you_says_nothing_of_what_one_has_or_of_pairs_that_have_their_votes(
    by_language, bob, as_user
):
    pairs(by_language, 2, "pl"), pairs(by_language, 2, "de")
    Member.objects.filter(user=bob).update(languages=["pl"])
    handed(by_language, person(by_language, "pl de"))

    page = as_user(bob).get(reverse("annotate", args=[by_language.pk])).content.decode()

    assert "No pairs for you right now" in page
    assert "somebody who" not in page


@pytest.mark.parametrize("second", ["left", "right"])
def test_how_many_pairs_wait_does_not_say_whether_others_agree(second, by_language, bob, as_user):
    by_language.overlap, by_language.max_overlap = 2, 5
    by_language.save()
    pairs(by_language, 3, "pl")
    comparison = by_language.comparisons.first()
    by_language.comparisons.exclude(pk=comparison.pk).update(required=0)
    for outcome in ("a", "a" if second == "left" else "b"):
        one = person(by_language, "pl")
        claim = next_claim(by_language, one)
        record_judgment(one, comparison, Answer(outcome, uuid4()), claim.pk)
    by_language.comparisons.exclude(pk=comparison.pk).update(required=None)

    page = as_user(bob).get(reverse("annotate", args=[by_language.pk])).content.decode()

    assert Comparison.objects.get(pk=comparison.pk).required == (None if second == "left" else 3)
    assert "2 pairs wait for somebody who reads Polish." in page


def test_admins_are_warned_of_pairs_that_too_few_people_may_judge(by_language, alice, as_user):
    by_language.overlap = 2
    by_language.save()
    pairs(by_language, 12, "pl"), pairs(by_language, 3, "de"), pairs(by_language, 2, "en")
    person(by_language, "de en"), person(by_language, "en")
    gone = person(by_language, "pl")
    gone.user.is_active = False
    gone.user.save()

    for name in ("people", "dataset"):
        page = as_user(alice).get(reverse(name, args=[by_language.pk])).content.decode()

        assert "12 pairs wait for somebody who reads Polish. Nobody here does." in page
        assert "3 pairs wait for somebody who reads German. 1 person here does; each pair needs 2." in page
        assert "reads English" not in page


def test_reviewers_and_annotators_are_not_shown_the_warning_of_admins(by_language, rita, bob, as_user):
    pairs(by_language, 12, "pl")

    for user in (rita, bob):
        page = as_user(user).get(reverse("dataset", args=[by_language.pk])).content.decode()
        assert "Nobody here does" not in page


def test_an_admin_of_one_dataset_cannot_say_what_somebody_knows_in_another(dataset, alice, bob, as_user):
    elsewhere = Dataset.objects.create(name="Elsewhere")
    there = Member.objects.create(dataset=elsewhere, user=bob, role="annotator")

    refused = as_user(alice).post(reverse("member_facts", args=[elsewhere.pk, there.pk]), {"skills": "law"})
    here = dataset.members.get(user=bob)
    as_user(alice).post(reverse("member_facts", args=[dataset.pk, here.pk]), {"skills": "law"})

    assert refused.status_code == 404
    assert (Member.objects.get(pk=here.pk).skills, Member.objects.get(pk=there.pk).skills) == (["law"], [])


def test_the_page_of_a_person_takes_names_and_codes_and_says_when_there_are_too_many(
    dataset, alice, bob, as_user
):
    client, member = as_user(alice), dataset.members.get(user=bob)
    url = reverse("member_facts", args=[dataset.pk, member.pk])

    client.post(url, {"languages": "Polish, de, English, pl", "skills": ""})
    page = client.get(reverse("person", args=[dataset.pk, member.pk])).content.decode()
    too_many = client.post(url, {"languages": ", ".join(f"l{n}" for n in range(11)), "skills": ""})

    assert Member.objects.get(pk=member.pk).languages == ["pl", "de", "en"]
    assert 'value="Polish, German, English"' in page
    assert (too_many.status_code, "At most 10" in too_many.content.decode()) == (400, True)
    assert "English, German, Polish" in client.get(reverse("people", args=[dataset.pk])).content.decode()


def test_what_a_person_says_they_read_counts_until_an_admin_says_otherwise(by_language, alice, bob, as_user):
    polish, german = pairs(by_language, detected="pl"), pairs(by_language, detected="de")
    annotator = Annotator.objects.for_user(bob)
    assert handed(by_language, annotator) == []

    as_user(bob).post(reverse("own_languages"), {"languages": "Polish"})
    assert handed(by_language, annotator) == polish
    member = by_language.members.get(user=bob)
    admin = as_user(alice)
    admin.post(reverse("member_facts", args=[by_language.pk, member.pk]), {"languages": "de", "skills": ""})

    assert handed(by_language, annotator) == german
    html = admin.get(reverse("person", args=[by_language.pk, member.pk])).content.decode()
    assert "Says: reads Polish." in html


def test_who_says_they_read_a_language_counts_among_those_who_can_judge(by_language, bob):
    by_language.overlap = 2
    by_language.save()
    pairs(by_language, detected="pl")
    person(by_language, "pl")
    assert [row.able for row in requirements.short_of_people(by_language)] == [1]

    bob.languages = ["pl"]
    bob.save()

    assert requirements.short_of_people(by_language) == []


def test_too_many_languages_of_ones_own_are_refused_and_nothing_is_saved(bob, as_user):
    sent_words = ", ".join(f"language {number}" for number in range(11))

    answer = as_user(bob).post(reverse("own_languages"), {"languages": sent_words})

    assert answer.status_code == 400
    assert "At most 10; these are 11." in answer.content.decode()
    bob.refresh_from_db()
    assert bob.languages == []
