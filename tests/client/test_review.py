"""Review by the client, on a running workbench."""

import pytest
from preference_workbench import Refused

from tests.factories import ComparisonFactory, JudgmentFactory
from workbench.models import Annotator, Example, Flag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


def test_a_reply_and_an_example_are_taken_back_and_their_annotator_sees_what_stands(
    enter, dataset, rita, bob
):
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    asker = Annotator.objects.for_user(bob)
    JudgmentFactory.create(comparison=pair, annotator=asker, outcome="a", mode="blind")
    Flag.objects.create(comparison=pair, annotator=asker, reason="unsafe", note="Look.")
    case, own = enter(rita).datasets["Kitchen"].review[pair.pk], enter(bob).datasets["Kitchen"]

    reply = case.reply(asker.pk, "Well seen.", closes_flag=True)
    case.undo_reply(reply.id)
    assert Flag.objects.open().exists()
    case.settle("a")
    example = case.make_example("It is right.")
    shown = own.read_examples().examples
    case.undo_example(example.id)

    assert [one.why for one in shown] == ["It is right."]
    assert Example.objects.get(is_current=True).text == ""
    with pytest.raises(Refused):
        case.undo_reply(reply.id)
    assert [(one.text, one.reply) for one in own.own_questions()] == [("Look.", "")]
    assert own.own_progress().today == 1
