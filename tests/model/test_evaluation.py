import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from scoring.baselines import BASELINES
from scoring.formats import BadText, Pair, Scored
from tests.factories import (
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from tests.planted import has_learnt, measured, memorised
from workbench.models import Decision, Evaluation, Run, Score
from workbench.pipeline.model.compare import compare
from workbench.pipeline.model.evaluation import begin, carry_out, evaluate, summary
from workbench.pipeline.model.pairs import NothingToEvaluate, of_dataset, of_file
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Cancelled
from workbench.pipeline.text.splits import split_of

pytestmark = pytest.mark.django_db


def prefers_good(pairs: Sequence[Pair]) -> list[Scored]:
    for index, (_, completion) in enumerate(pairs):
        if "unscorable" in completion:
            raise BadText(index, "it is")
    return [Scored(float("good" in completion), 1, 1, 0, 0, "fp32") for _, completion in pairs]


def scorer_of(version):
    return BASELINES.get(version.name, prefers_good)


@pytest.fixture
def version():
    return ModelVersionFactory.create(name="good", temperature=1.0)


@pytest.fixture
def frozen(dataset):
    dataset.frozen = True
    dataset.save()
    return dataset


def judged(dataset, a: str, b: str, outcome: str = "a", **prompt):
    comparison = ComparisonFactory.create(
        prompt=PromptFactory.create(dataset=dataset, **prompt), a__text=a, b__text=b
    )
    JudgmentFactory.create(comparison=comparison, outcome=outcome)
    return comparison


def written(tmp_path: Path, rows: list[dict]) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_version_stands_beside_what_it_must_beat_and_lacking_scores_are_stored(frozen, version):
    judged(frozen, "good", "longer but worse")
    judged(frozen, "also good", "bad")
    judged(frozen, "one", "other", "tie")

    evaluation = evaluate(version, of_dataset(frozen), scorer_of)

    figures = evaluation.model_figures
    assert (evaluation.pairs, figures["accuracy"], figures["ties"]) == (3, 1.0, 1)
    assert sum(evaluation.figures["counted"].values()) == figures["decided"] == 2
    assert evaluation.figures["beside"]["longest"]["accuracy"] == 0.5
    assert evaluation.figures["differences"]["longest"]["n01"] == 1
    assert Score.objects.filter(version=version).count() == 6
    assert json.dumps(evaluation.figures)


def test_a_figure_is_of_what_the_version_has_not_learnt_and_says_how_many_that_leaves_out(dataset):
    planted = memorised(dataset)

    evaluation = evaluate(planted.version, of_dataset(dataset), scorer_of)

    assert (evaluation.model_figures["accuracy"], evaluation.model_figures["decided"]) == (planted.share, 40)
    assert evaluation.figures["learnt"] == {"pairs": 60, "known": "yes"}
    assert evaluation.figures["counted"] == {"people": 0, "imported": 40}
    live = measured(planted.version, dataset)
    assert tuple(evaluation.model_figures["clustered"]) == (live.share.low, live.share.high)
    assert summary(evaluation) == (
        f"Kitchen: 62 % of 40 pairs right (95 % interval {live.share.low * 100:.0f} to "
        f"{live.share.high * 100:.0f} %). 40 pairs have imported labels. Left out: 60 pairs of prompts that "
        "the model was trained on."
    )


def test_the_active_model_beside_it_shows_nothing_that_it_has_learnt_itself(dataset):
    planted = memorised(dataset, state="active")
    untrained = ModelVersionFactory.create(name="other")
    for comparison in (*planted.learnt, *planted.unseen):
        SuggestionFactory.create(comparison=comparison, version=untrained, margin=1.0)

    evaluation = evaluate(untrained, of_dataset(dataset), scorer_of)

    assert (evaluation.model_figures["accuracy"], evaluation.model_figures["decided"]) == (1.0, 100)
    assert evaluation.figures["beside"]["memory"]["accuracy"] == planted.share
    assert evaluation.figures["differences"]["memory"]["n"] == 40
    assert "Its training data is not known" in summary(evaluation)


def test_pairs_of_a_file_that_were_learnt_are_left_out_too(tmp_path, version):
    rows = [{"prompt": f"What is {n}?", "chosen": "good", "rejected": f"bad {n}"} for n in range(10)]
    rows += [{"prompt": f"And what is {n}?", "chosen": "bad", "rejected": f"good {n}"} for n in range(5)]
    has_learnt(version, [row["prompt"].upper() for row in rows[:10]])

    evaluation = evaluate(version, of_file(written(tmp_path, rows)), scorer_of)

    figures = evaluation.model_figures
    assert (figures["accuracy"], figures["decided"]) == (0.0, 5)
    assert evaluation.figures["learnt"]["pairs"] == 10


def test_a_version_that_has_learnt_every_pair_has_no_figure(dataset):
    planted = memorised(dataset, untaught=0, right=0)

    with pytest.raises(NothingToEvaluate, match="memory has learnt the prompts of all 60 pairs of Kitchen"):
        evaluate(planted.version, of_dataset(dataset), scorer_of)


def test_two_versions_are_compared_on_what_neither_has_learnt(dataset):
    planted = memorised(dataset)
    second = ModelVersionFactory.create(name="other")
    for comparison in (*planted.learnt, *planted.unseen):
        SuggestionFactory.create(comparison=comparison, version=second, margin=1.0)
    has_learnt(second, [pair.prompt.messages[0]["content"] for pair in planted.unseen[:10]])

    difference = compare(second, planted.version, of_dataset(dataset))

    assert (difference.paired.n, difference.learnt, difference.lacking) == (30, 70, 0)
    assert difference.paired.old_accuracy == 15 / 30
    assert (
        difference.remarks == "30 pairs have imported labels. "
        "Left out: 70 pairs of prompts that one of the two was trained on."
    )


def test_figures_at_a_temperature_are_of_prompts_that_no_temperature_is_fitted_on(dataset):
    planted = memorised(dataset, temperature=2.0)

    figures = evaluate(planted.version, of_dataset(dataset), scorer_of).model_figures

    held_out = [pair for pair in planted.unseen if split_of(pair.prompt.group) != "train"]
    assert 0 < figures["calibrated_n"] == len(held_out) < 40


def test_a_reviewers_label_that_no_blind_vote_stands_behind_is_not_counted(frozen):
    comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=frozen))
    Decision.objects.create(comparison=comparison, outcome="a", method="reviewer")

    assert of_dataset(frozen).pairs == []


def test_the_hash_of_the_pairs_does_not_depend_on_the_order_they_came_in(tmp_path):
    rows = [{"prompt": f"{n}?", "chosen": "good", "rejected": f"bad {n}"} for n in range(3)]

    in_order = of_file(written(tmp_path, rows))
    shuffled = of_file(written(tmp_path, [*reversed(rows), rows[0]]))
    rows[0]["chosen"], rows[0]["rejected"] = rows[0]["rejected"], rows[0]["chosen"]

    assert in_order.sha256 == shuffled.sha256
    assert in_order.sha256 != of_file(written(tmp_path, rows)).sha256


def test_a_file_is_evaluated_on_and_nothing_of_it_is_stored(tmp_path, version):
    rows = [
        {"prompt": f"{n}?", "chosen": "good", "rejected": f"bad {n}", "subset": "ab"[n % 2]} for n in range(4)
    ]

    evaluation = evaluate(version, of_file(written(tmp_path, rows)), scorer_of)

    assert (evaluation.pairs, evaluation.model_figures["accuracy"], evaluation.dataset) == (4, 1.0, None)
    slices = evaluation.model_figures["slices"]
    assert {part["label"] for part in slices if part["name"] == "subset"} == {"a", "b"}
    assert not Score.objects.exists()


def test_the_webgpt_protocol_takes_pairs_with_a_preferred_option_and_may_strip_citations(tmp_path, version):
    def row(number: int, score: float) -> dict:
        question = {"full_text": f"{number}?", "dataset": "eli5", "id": str(number)}
        answers = {"answer_0": "A good one [1][2].", "answer_1": f"No. {number}"}
        return {"question": question, **answers, "score_0": score, "score_1": -score}

    path = written(tmp_path, [row(1, 0.5), row(2, 0.0), row(3, 1.0)])

    kept, stripped = (of_file(path, protocol) for protocol in ("webgpt", "webgpt-stripped"))

    assert (len(kept), kept.left_out) == (2, {"no preferred option": 1})
    texts = {text for pair in stripped for _, text in pair.texts}
    assert "A good one ." in texts
    assert "A good one [1][2]." in {text for pair in kept for _, text in pair.texts}


def test_a_file_with_a_bad_row_is_refused_with_its_line(tmp_path):
    path = written(tmp_path, [{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": 3}])

    with pytest.raises(NothingToEvaluate, match=r"pairs.jsonl, line 2: "):
        of_file(path)


def test_a_pair_that_cannot_be_scored_is_left_out_and_counted(frozen, version):
    judged(frozen, "good", "bad")
    judged(frozen, "unscorable", "bad")

    evaluation = evaluate(version, of_dataset(frozen), scorer_of)

    assert evaluation.pairs == 1
    assert evaluation.figures["left_out"] == {"a text that cannot be scored": 1}


def test_nothing_settled_says_what_was_left_out(frozen, version):
    judged(frozen, "one", "other", "both_bad")

    with pytest.raises(NothingToEvaluate, match="1 both bad"):
        evaluate(version, of_dataset(frozen), scorer_of)


def test_people_who_disagree_set_a_ceiling(frozen, version):
    for number, second in enumerate("aaab" * 3):
        comparison = judged(frozen, "good", f"bad {number}")
        JudgmentFactory.create(comparison=comparison, outcome=second)
        JudgmentFactory.create(comparison=comparison, outcome="a")

    people = evaluate(version, of_dataset(frozen), scorer_of).figures["people"]

    assert (people["agreement"], people["twos"], people["votes"]) == (pytest.approx(10 / 12), 12, 3)
    assert 0.9 < people["ceiling"] < 1


def test_a_run_that_evaluates_ends_with_its_figures_or_the_reason(frozen, version):
    run, act = begin(version, frozen), partial(carry_out, scorer_of=scorer_of)
    run.start()
    assert lifecycle.carry_out(run, act) is None
    assert run.state == "failed"
    assert "Kitchen has no pair with a vote or label that counts" in run.error

    judged(frozen, "good", "bad")
    run.retry()
    run.start()
    evaluation = lifecycle.carry_out(run, act)

    assert (evaluation, run.state) == (Evaluation.objects.get(run=run), "done")


def test_a_cancelled_evaluation_stores_no_figures(frozen, version):
    judged(frozen, "good", "bad")
    run = Run.objects.create(kind="evaluate", dataset=frozen, version=version)
    run.start()
    Run.objects.get(pk=run.pk).cancel()

    with pytest.raises(Cancelled):
        carry_out(run, scorer_of)
    assert not Evaluation.objects.exists()
