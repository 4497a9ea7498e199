"""The installation and one's own account by the client, on a running workbench."""

import pytest
from preference_workbench import Forbidden, Invalid, NotFound

from tests.factories import ComparisonFactory, JudgmentFactory, UserFactory
from workbench.models import AllowedHost, Annotator, User

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


def test_a_host_is_allowed_listed_and_removed_by_staff(enter, alice):
    workbench = enter(UserFactory.create(username="stella", is_staff=True))

    allowed = workbench.hosts.allow("https://Hub.Example:8443/page")

    assert [(host.id, host.name, host.added_by) for host in workbench.hosts] == [
        (allowed.id, "hub.example:8443", "stella")
    ]
    workbench.hosts.remove(allowed.id)
    assert not AllowedHost.objects.exists()
    with pytest.raises(NotFound):
        workbench.hosts.remove(allowed.id)
    with pytest.raises(Invalid) as refused:
        workbench.hosts.allow("not a host")
    assert [fault.field for fault in refused.value.errors] == ["name"]
    with pytest.raises(Forbidden):
        enter(alice).hosts.allow("hub.example")


def test_the_system_says_what_needs_attention(enter, alice):
    system = enter(UserFactory.create(is_staff=True)).system()

    assert "No worker is alive: imports, scores and releases wait." in system.faults
    assert {queue.name for queue in system.queues} >= {"score", "work", "train"}
    assert 0 < system.disk_free <= system.disk_total
    with pytest.raises(Forbidden):
        enter(alice).system()


def test_somebody_changes_their_languages_and_reads_their_hours_and_data(enter, dataset, bob):
    annotator = Annotator.objects.for_user(bob)
    JudgmentFactory.create(
        comparison=ComparisonFactory.create(prompt__dataset=dataset), annotator=annotator, seconds=10
    )
    me = enter(bob).me

    me.update(languages=["Polish"])

    assert (me.name, me.languages, me.goes_straight_on) == ("bob", ["pl"], True)
    assert User.objects.get(pk=bob.pk).languages == ["pl"]
    assert (me.hours().total.votes, me.hours().total.seconds) == (1, "10")
    assert me.data()["account"]["username"] == "bob"
