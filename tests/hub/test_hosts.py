"""Which hosts a worker may ask, and the page where staff say so."""

import pytest
from django.urls import reverse

from tests.factories import UserFactory
from workbench.models import AllowedHost
from workbench.pipeline.hub import hosts

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(as_user, db):
    return as_user(UserFactory.create(username="sam", is_staff=True))


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("huggingface.co", "huggingface.co"),
        ("  https://HuggingFace.co/datasets/a/b ", "huggingface.co"),
        ("hub.example:8443", "hub.example:8443"),
        ("hub.example:443", "hub.example"),
        ("[::1]:8000", "[::1]:8000"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.example", ""),
        ("a b", ""),
        ("user@", ""),
        ("hub.example:99999", ""),
        ("", ""),
    ],
)
def test_a_host_is_read_however_it_is_typed(typed, name):
    assert hosts.read_name(typed) == name


def test_a_port_other_than_that_of_https_has_to_be_allowed_by_itself(staff):
    staff.post(reverse("allowed_hosts"), {"name": "hub.example"})

    hosts.refuse_unlisted("https", "hub.example", None)
    with pytest.raises(hosts.HostRefused, match=r"hub.example:8443"):
        hosts.refuse_unlisted("https", "hub.example", 8443)


def test_no_host_is_allowed_at_first_and_the_hub_is_one_press_away(staff):
    page = staff.get(reverse("allowed_hosts")).content.decode()

    assert not AllowedHost.objects.exists()
    assert "Allow huggingface.co</button>" in page


@pytest.mark.parametrize(
    ("sent", "there"),
    [
        ("/imports/hub/3/", "/imports/hub/3/"),
        ("//evil.example/", "/hosts/"),
        ("https://a.example", "/hosts/"),
    ],
)
def test_staff_come_back_to_the_page_that_missed_the_host(sent, there, staff):
    page = staff.get(reverse("allowed_hosts"), {"name": "hub.example", "next": sent})
    back = page.context["back"]

    answer = staff.post(reverse("allowed_hosts"), {"name": "hub.example", "next": back})

    assert answer["Location"] == there


def test_staff_find_the_hosts_in_the_menu_of_every_page(staff, as_user, alice):
    link = f'href="{reverse("allowed_hosts")}"'

    assert link in staff.get(reverse("home")).content.decode()
    assert link not in as_user(alice).get(reverse("home")).content.decode()


def test_staff_allow_a_host_and_take_it_back(staff):
    staff.post(reverse("allowed_hosts"), {"name": "https://huggingface.co/"})
    host = AllowedHost.objects.get(name="huggingface.co")
    assert host.added_by.username == "sam"

    staff.post(reverse("allowed_host_remove", args=[host.pk]))

    assert not AllowedHost.objects.exists()


def test_what_is_no_host_is_refused(staff):
    assert staff.post(reverse("allowed_hosts"), {"name": "no host"}).status_code == 400
    assert not AllowedHost.objects.exists()


def test_an_admin_of_a_dataset_allows_no_host(as_user, alice):
    assert as_user(alice).post(reverse("allowed_hosts"), {"name": "hub.example"}).status_code == 403
    assert not AllowedHost.objects.exists()
