"""Campaigns with a known truth: each interval holds the truth as often as its level says."""

from itertools import combinations

import numpy as np
import pytest
from django.utils import timezone

from tests.factories import AnnotatorFactory, ModelVersionFactory
from workbench.models import Comparison, Completion, Dataset, Judgment, Prompt, Suggestion
from workbench.models.dataset import answer_digest, group_digest, messages_digest
from workbench.pipeline import quality
from workbench.pipeline.quality import against, audit, planning, voting
from workbench.pipeline.quality.figures import Figure, median, unknown, wilson_share
from workbench.pipeline.quality.shares import Share
from workbench.pipeline.quality.skill import one_coin

PROMPTS, EACH, VOTES = 60, 8, 3
TEMPERATURE = 1.5
SKILL = np.linspace(0.55, 0.95, 12)
REPLICATIONS = 100
# Of 100 intervals that hold the truth 95 times in 100, fewer than 87 do so in 1 of 2,000 tries.
LEAST = 0.87


class Campaign:
    """Three random annotators of twelve vote on each pair; a model knows the truth with a probability that
    its margin tells, and is better on some prompts than on others."""

    def __init__(self, seed: int, prompts: int = PROMPTS) -> None:
        random = np.random.default_rng(seed)
        pairs = prompts * EACH
        self.prompt = np.repeat(np.arange(prompts), EACH)
        self.truth = random.integers(2, size=pairs)  # 0 = a, 1 = b
        self.item = np.repeat(np.arange(pairs), VOTES)
        self.who = random.random((pairs, len(SKILL))).argsort(axis=1)[:, :VOTES].ravel()
        right = random.random(pairs * VOTES) < SKILL[self.who]
        self.vote = np.where(right, self.truth[self.item], 1 - self.truth[self.item])
        size = np.abs(random.normal(0, 2, pairs) + np.repeat(random.normal(0, 0.5, prompts), EACH))
        knows = random.random(pairs) < 1 / (1 + np.exp(-size / TEMPERATURE))
        self.margin = np.where(knows == (self.truth == 0), size, -size)
        self.counts = np.zeros((pairs, 4))
        np.add.at(self.counts, (self.item, self.vote), 1)
        self.random = random

    def trial(self) -> against.Trial:
        margin = self.margin[self.item]
        nothing = np.full(len(margin), np.nan)
        target = 1.0 - self.vote
        return against.Trial(
            self.prompt[self.item], target, margin, self.random.normal(size=len(margin)), nothing
        )


@pytest.fixture(scope="module")
def campaigns() -> list[Campaign]:
    return [Campaign(seed) for seed in range(REPLICATIONS)]


@pytest.fixture(scope="module")
def large() -> Campaign:
    """One so large that its figures are the truth."""
    return Campaign(12345, prompts=20_000)


def holds(figure: Figure, truth: float) -> bool:
    return figure.low is not None and figure.low <= truth <= figure.high


def expected_agreement() -> float:
    """Of two different annotators drawn at random."""
    same = SKILL[:, None] * SKILL + (1 - SKILL[:, None]) * (1 - SKILL)
    return float(same[~np.eye(len(SKILL), dtype=bool)].mean())


def test_agreement_holds_the_truth(campaigns):
    agree = expected_agreement()
    agreements = [
        voting.agreement(campaign.counts, campaign.prompt, np.array([2, 0, 1, 1])) for campaign in campaigns
    ]

    # Two outcomes, equally frequent: agreement by chance is one half.
    assert np.mean([holds(agreement.raw, agree) for agreement in agreements]) >= LEAST
    assert np.mean([holds(agreement.alpha, 2 * agree - 1) for agreement in agreements]) >= LEAST
    assert np.mean([holds(agreement.ac1, 2 * agree - 1) for agreement in agreements]) >= LEAST


def test_skills_hold_the_truth_and_posteriors_are_as_sure_as_they_are_right(campaigns):
    held, right, sure, majority = [], [], [], []
    for campaign in campaigns:
        skills = one_coin(campaign.item, campaign.who, campaign.vote, (len(campaign.truth), len(SKILL), 4))
        held.append((skills.low <= SKILL) & (skills.high >= SKILL))
        right.append(skills.posterior.argmax(axis=1) == campaign.truth)
        sure.append(skills.posterior.max(axis=1))
        majority.append(campaign.counts.argmax(axis=1) == campaign.truth)

    assert np.mean(held) >= 0.93
    assert np.mean(right) > np.mean(majority) + 0.01
    assert np.mean(sure) == pytest.approx(np.mean(right), abs=0.01)


def test_a_models_accuracy_and_surety_hold_the_truth(campaigns, large):
    everything = [against.Slice("all", "all", np.ones(PROMPTS * EACH * VOTES, dtype=bool), unknown(0))]
    right = np.mean((large.margin > 0) == (large.truth == 0))
    accuracy = right * SKILL.mean() + (1 - right) * (1 - SKILL.mean())
    confidence_auc = against.confidence_auc(large.trial()).value
    trials = [campaign.trial() for campaign in campaigns]

    figures = [Figure(**against.accuracies(trial, everything)[0]["accuracy"]) for trial in trials]

    assert np.mean([holds(figure, accuracy) for figure in figures]) >= LEAST
    assert np.mean([holds(against.confidence_auc(trial), confidence_auc) for trial in trials[:40]]) >= LEAST


def test_the_calibration_error_of_a_large_campaign_is_the_true_one(large):
    trial = large.trial()
    confidence = 1 / (1 + np.exp(-np.abs(trial.margin) / TEMPERATURE))
    # Votes are right less often than the truth is: a model that knows the truth so well is too sure of votes.
    expected = confidence * SKILL.mean() + (1 - confidence) * (1 - SKILL.mean())

    calibration = against.calibration(trial, TEMPERATURE)

    assert calibration["ece"]["value"] == pytest.approx(np.mean(confidence - expected), abs=0.003)


def test_the_ceiling_is_what_a_perfect_model_reaches():
    alike = Campaign(1, prompts=2_000)
    skill = 0.8
    right = alike.random.random(len(alike.item)) < skill
    counts = np.zeros((len(alike.truth), 2))
    np.add.at(counts, (alike.item, np.where(right, alike.truth[alike.item], 1 - alike.truth[alike.item])), 1)

    ceiling = voting.ceiling(counts, np.zeros(len(counts), dtype=bool), alike.prompt).share

    assert holds(ceiling, skill)
    assert ceiling.value == pytest.approx(skill, abs=0.01)


def test_what_pulls_choices_is_found_in_people_and_in_the_model():
    people, model = np.array([0.5, 0.0, 0.4, 0.0, 0.0]), np.array([1.2, 0.0, 0.4, 0.6, 0.0])
    side, held = 0.3, {"people": [], "model": [], "excess": [], "side": []}
    for seed in range(25):
        random = np.random.default_rng(seed)
        n = 600
        style = np.concatenate([random.normal(size=(n, 4)), np.zeros((n, 1))], axis=1)
        shown = random.choice([-1.0, 1.0], n)
        margin = style @ model + random.logistic(size=n)
        chose = random.random(n) < 1 / (1 + np.exp(-(style @ people + side * shown)))
        choices = audit.Choices(np.arange(n) // 10, chose.astype(float), margin, style, shown)
        audited = audit.audit(choices)
        for name, truth in (("people", people), ("model", model), ("excess", model - people)):
            figures = [Figure(**audited[name][feature]) for feature in audit.STYLE]
            held[name] += [holds(f, t) for f, t in zip(figures[:4], truth, strict=False)]
            assert figures[4].why == "not enough data"  # no code in any text
        held["side"].append(holds(Figure(**audited["people"]["side"]), side))

    assert {name: np.mean(inside) >= 0.88 for name, inside in held.items()} == dict.fromkeys(held, True)


def test_a_feature_that_decides_alone_leaves_the_others_what_they_are_without_it():
    random = np.random.default_rng(3)
    n, rare = 400, np.arange(400) < 40
    style = np.concatenate([random.normal(size=(n, 1)), np.zeros((n, 4))], axis=1)
    style[rare, 1] = 1.0
    chose = (random.random(n) < 1 / (1 + np.exp(-style[:, 0]))) | rare
    margin = style[:, 0] + random.logistic(size=n)

    def audited(use) -> dict:
        many = audit.Choices(
            np.arange(n)[use] // 4, chose[use].astype(float), margin[use], style[use], np.zeros(use.sum())
        )
        return audit.audit(many)["people"]

    of_all, without = audited(np.ones(n, dtype=bool)), audited(~rare)

    first, second = audit.STYLE[:2]
    assert of_all[second]["why"] == "not defined: the choice follows from these features alone"
    assert [of_all[first][end] for end in ("value", "low", "high")] == pytest.approx(
        [without[first][end] for end in ("value", "low", "high")], abs=1e-4
    )


@pytest.mark.parametrize("variance", [-1e-9, np.nan, np.inf])
def test_where_rounding_leaves_no_variance_there_is_no_figure(variance):
    nothing = np.zeros(1, dtype=bool)
    fitted = audit.Fit(np.ones(1), np.array([[variance]]), nothing, nothing)

    figure = fitted.figures(["length"], np.eye(1), 200, 50)["length"]

    assert (figure["value"], figure["low"], figure["high"]) == (None, None, None)
    assert "told apart" in figure["why"]


def test_medians_and_single_annotators_shares_hold_the_truth():
    random = np.random.default_rng(7)
    medians = [median(random.lognormal(3, 1, 60)) for _ in range(300)]
    shares = [wilson_share(Share(random.binomial(40, 0.6), 40)) for _ in range(300)]

    assert np.mean([holds(figure, np.exp(3)) for figure in medians]) >= 0.92
    assert np.mean([holds(figure, 0.6) for figure in shares]) >= 0.92


def test_what_the_plan_asks_for_is_enough(campaigns):
    now = [
        voting.agreement(campaign.counts, campaign.prompt, np.array([2, 0, 1, 1]))
        for campaign in campaigns[:10]
    ]
    plans = [planning.for_alpha(agreement.alpha, agreement.opinions, 30.0) for agreement in now]
    more = int(np.mean([plan["judgments"] for plan in plans]))
    then = Campaign(99, prompts=PROMPTS + round(more / EACH / VOTES))

    alpha = voting.agreement(then.counts, then.prompt, np.array([2, 0, 1, 1])).alpha

    assert (alpha.high - alpha.low) / 2 == pytest.approx(planning.ALPHA_WITHIN, rel=0.15)
    assert plans[0]["hours"] == pytest.approx(plans[0]["judgments"] * 30 / 3600, abs=0.06)


@pytest.mark.django_db
def test_the_report_of_a_stored_campaign_holds_the_truth(dataset: Dataset):
    campaign = Campaign(5, prompts=40)
    version = ModelVersionFactory.create(name="Judge", state="active", temperature=TEMPERATURE)
    people = AnnotatorFactory.create_batch(len(SKILL))
    questions = [[{"role": "user", "content": f"Question {n}?"}] for n in range(40)]
    prompts = [
        Prompt(
            dataset=dataset, messages=messages, sha256=messages_digest(messages), group=group_digest(messages)
        )
        for messages in questions
    ]
    Prompt.objects.bulk_create(prompts)
    completions = [
        Completion(prompt=prompts[place], text=text, sha256=answer_digest(text))
        for n, place in enumerate(campaign.prompt)
        for text in (f"{n} {'x' * (n % 50)}", f"{n} other")
    ]
    Completion.objects.bulk_create(completions)
    comparisons = [
        Comparison(dataset=dataset, prompt=prompts[place], a=completions[2 * n], b=completions[2 * n + 1])
        for n, place in enumerate(campaign.prompt)
    ]
    Comparison.objects.bulk_create(comparisons)
    Suggestion.objects.bulk_create(
        Suggestion(comparison=comparison, version=version, margin=float(margin))
        for comparison, margin in zip(comparisons, campaign.margin, strict=True)
    )
    votes = zip(campaign.item, campaign.who, campaign.vote, strict=True)
    Judgment.objects.bulk_create(
        Judgment(
            comparison=comparisons[item],
            annotator=people[who],
            outcome="ab"[vote],
            stage="first",
            mode="blind",
            left="a",
            created_at=timezone.now(),
        )
        for item, who, vote in votes
    )

    report = quality.compute(dataset)

    every = report["agreement"]["people"]["all"]
    assert holds(Figure(**every["alpha"]), 2 * expected_agreement() - 1)
    skills = {row["annotator"]: Figure(**row["skill"]) for row in report["annotators"]}
    are_held = [holds(skills[person.pk], skill) for person, skill in zip(people, SKILL, strict=True)]
    assert sum(are_held) >= 11
    right = np.mean((campaign.margin > 0) == (campaign.truth == 0))
    accuracy = Figure(**report["against"]["people"][0]["slices"][0]["accuracy"])
    # A pair counts once, by the majority of three of the twelve.
    a, b, c = np.array(list(combinations(SKILL, 3))).T
    majority = np.mean(a * b * c + a * b * (1 - c) + a * (1 - b) * c + (1 - a) * b * c)
    assert holds(accuracy, right * majority + (1 - right) * (1 - majority))
    assert report["aggregation"]["enough"]
    assert report["aggregation"]["mean_skill"] == pytest.approx(SKILL.mean(), abs=0.04)


def test_skills_hold_the_truth_where_ties_are_a_third_outcome_too():
    held, sure, right = [], [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        pairs, chance = 400, np.array([0.4, 0.4, 0.2])
        truth = random.choice(3, pairs, p=chance)
        item = np.repeat(np.arange(pairs), VOTES)
        who = random.random((pairs, len(SKILL))).argsort(axis=1)[:, :VOTES].ravel()
        wrong_outcomes = np.stack([np.delete(np.arange(3), k) for k in range(3)])
        second = chance[wrong_outcomes[:, 1]] / chance[wrong_outcomes].sum(axis=1)
        wrong = wrong_outcomes[truth[item], (random.random(len(item)) < second[truth[item]]).astype(int)]
        vote = np.where(random.random(len(item)) < SKILL[who], truth[item], wrong)
        skills = one_coin(item, who, vote, (pairs, len(SKILL), 4))
        held.append((skills.low <= SKILL) & (skills.high >= SKILL))
        sure.append(skills.posterior.max(axis=1))
        right.append(skills.posterior.argmax(axis=1) == truth)

    assert np.mean(held) >= 0.92
    assert np.mean(sure) == pytest.approx(np.mean(right), abs=0.015)
