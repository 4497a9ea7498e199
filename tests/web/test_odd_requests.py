"""Numbers, digits and characters that no database and no int() takes: never a 5xx."""

import pytest
from django.test import Client
from django.urls import reverse

from tests.datasets.test_pages import sent
from tests.factories import ComparisonFactory, JudgmentFactory, UserFactory
from workbench.models import Release
from workbench.pipeline import imports
from workbench.pipeline import releases as pipeline

pytestmark = pytest.mark.django_db

HUGE = str(2**63)
NUL = "%00"


@pytest.fixture
def staff(as_user):
    return as_user(UserFactory.create(is_staff=True, is_superuser=True))


@pytest.mark.parametrize("name", ["min_length", "max_length", "min_votes"])
@pytest.mark.parametrize("number", [HUGE, "-" + HUGE, "9" * 4301])
def test_a_filter_of_a_release_larger_than_any_text_is_told(name, number, dataset, alice, as_user):
    """The count answered 500 for min_length and max_length of 2^63."""
    form = {"profiles": ["preference"], "formats": ["jsonl"], name: number}

    for page in ("release_count", "releases"):
        assert as_user(alice).post(reverse(page, args=[dataset.pk]), form).status_code in (200, 400)
    assert not dataset.releases.exists()


@pytest.mark.parametrize("version", ["²", HUGE, "9" * 4301, "٣", "", "1\0"])
def test_a_version_that_is_no_number_is_not_found(version, dataset, alice, as_user):
    """A superscript two is a digit to isdigit and none to int: 500."""
    answer = as_user(alice).post(reverse("model_evaluate", args=[dataset.pk]), {"version": version})

    assert answer.status_code == 404


@pytest.mark.parametrize("range_of", ["bytes={}-", "bytes=-{}", "bytes=0-{}"])
def test_a_range_of_4301_digits_gets_the_whole_file(range_of, dataset, alice, as_user):
    """int() takes 4,300 digits: 500."""
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    release = pipeline.build(Release(dataset=dataset, profiles=["preference"]))
    url = reverse("release_download", args=[release.pk, "manifest.json"])

    answer = as_user(alice).get(url, headers={"range": range_of.format("9" * 4301)})

    assert answer.status_code == 200
    assert b"".join(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/admin/workbench/modelversion/?name=" + NUL,
        "/admin/workbench/modelversion/?kind__exact=" + NUL,
        "/admin/workbench/run/?state=a" + NUL,
        "/admin/workbench/dataset/?q=" + NUL,
        "/admin/workbench/dataset/" + NUL + "/change/",
        "/datasets/new/?next=" + NUL,
    ],
)
def test_a_nul_in_an_address_is_a_bad_request(path, staff):
    """A filter of the Django admin took it to PostgreSQL: 500."""
    assert staff.get(path).status_code == 400


def test_a_nul_in_the_cookie_of_a_session_is_a_bad_request(db):
    client = Client(headers={"cookie": 'sessionid="aaaaaaaaaaaa\\000"'})

    assert client.get("/").status_code == 400


def test_a_nul_in_the_reason_of_a_promotion_is_left_out(staff):
    assert staff.post(reverse("rollback"), {"reason": "a\0b"}).status_code == 302


@pytest.mark.parametrize(
    "cursor", ["[" * 100_000, f"[0, 0, 1.0, {HUGE}]", "[0, 0, 1e999, 1]", f"[{HUGE}, 0, 1.0, 1]"]
)
def test_a_place_in_the_queue_that_no_database_holds_is_no_error(cursor, dataset, alice, as_user):
    """A guard: the form that reads it refuses it."""
    page = as_user(alice).get(reverse("review", args=[dataset.pk]), {"after": cursor})

    assert page.status_code in (200, 400)


def test_a_nul_character_among_words_is_told_in_each_form_that_takes_a_list(dataset, alice, as_user):
    """PostgreSQL stores none in JSON, and the validators of a text were left out for a list: 500."""
    client, odd = as_user(alice), "law, a\0b"
    member = dataset.members.get(user=alice)
    upload = imports.keep_sample("pairs.jsonl", dataset, alice)
    mapping = {"mapped": "1", "format": "columns", "use:a\0b": "prompt", "use:c": "a", "use:d": "b"}
    forms = {
        reverse("member_facts", args=[dataset.pk, member.pk]): {"skills": odd},
        reverse("own_languages"): {"languages": odd},
        reverse("settings", args=[dataset.pk]): sent(dataset, facet_keys=odd),
        reverse("import_preview", args=[upload.pk]): {**mapping, "import": "1"},
    }

    answers = {path: client.post(path, form) for path, form in forms.items()}

    for path, answer in answers.items():
        assert answer.status_code < 500, path
    assert not dataset.runs.filter(kind="import").exists()
    assert (dataset.members.get(user=alice).skills, dataset.facet_keys) == ([], [])
