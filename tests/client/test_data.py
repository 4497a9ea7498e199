"""The Data page by the client, on a running workbench."""

import pytest
from preference_workbench import Invalid, Refused
from preference_workbench.data import ActOptions
from preference_workbench.sent import ActWanted

from tests.factories import ComparisonFactory, CompletionFactory
from workbench.models import Act, Comparison, Prompt, SavedView

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


@pytest.fixture
def pairs(dataset) -> list[Comparison]:
    return [
        ComparisonFactory.create(
            prompt__dataset=dataset, prompt__messages=[{"role": "user", "content": f"Question {number}?"}]
        )
        for number in range(5)
    ]


def test_prompts_are_found_acted_on_and_given_back(enter, dataset, alice, pairs, monkeypatch):
    monkeypatch.setattr("preference_workbench.data.PROMPTS", 2)
    data = enter(alice).datasets["Kitchen"].data
    chosen = [pair.prompt_id for pair in pairs[:3]]

    tagged = data.act("tag", prompts=chosen, tag="odd")
    page = data.prompt(chosen[0])
    found = data.find("tag=odd")
    extent = data.preview("exclude", query="tag=odd", where="both", excluded_reason="spam")
    excluded = data.act("exclude", query="tag=odd", where="both", excluded_reason="spam")

    assert (page.prompt.id, page.tags, page.pairs[0].id) == (chosen[0], ["odd"], pairs[0].pk)
    assert (len(found), found.pairs, [prompt.id for prompt in found]) == (3, 3, chosen)
    assert [prompt.excerpt for prompt in data.find()] == [f"Question {number}?" for number in range(5)]
    assert (data.tags(), data.facets("tag=odd").prompts) == (["odd"], 3)
    assert (extent.prompts, excluded.prompt_count, excluded.query) == (3, 3, "tag=odd")
    assert set(Prompt.objects.exclude(excluded_from="").values_list("pk", flat=True)) == set(chosen)
    assert [act.id for act in data.acts()] == [tagged.id, excluded.id]
    assert excluded.undo().prompts == 3
    assert not Prompt.objects.exclude(excluded_from="").exists()
    with pytest.raises(Refused, match="undone"):
        excluded.undo()
    with pytest.raises(Invalid, match="no filter called taste"):
        data.find("taste=salt")


def test_a_view_is_saved_used_and_deleted(enter, dataset, rita, pairs):
    views = enter(rita).datasets["Kitchen"].data.views

    saved = views.save("Third", "q=3", shared=True)

    assert [(view.name, view.query, view.shared) for view in views] == [("Third", "q=3", True)]
    assert views["Third"].id == saved.id
    with pytest.raises(KeyError):
        _ = views["Fourth"]
    saved.delete()
    assert not SavedView.objects.exists()


def test_more_pairs_are_counted_made_and_removed(enter, dataset, alice, pairs):
    CompletionFactory.create(prompt=pairs[0].prompt, text="A third answer.")
    data = enter(alice).datasets["Kitchen"].data

    preview = data.preview_pairs(number=1)
    made = data.make_pairs(number=1)

    assert (preview.pairs, preview.possible) == (1, 2)
    assert (made.kind, made.pair_count, Comparison.objects.count()) == ("pairs", 1, len(pairs) + 1)
    made.undo()
    assert Comparison.objects.count() == len(pairs)
    assert Act.objects.get().undone_at
    assert [group.prompts for group in data.groups()] == []
    assert data.topics() == []
    with pytest.raises(Refused, match="no vector"):
        data.similar(prompt=pairs[0].prompt_id)
    assert data.renew_topics().kind == "topics"


def test_the_options_of_an_act_are_those_of_the_api():
    assert set(ActOptions.__annotations__) == set(ActWanted.__annotations__) - {"kind"}
