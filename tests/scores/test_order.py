"""Completions of a Prompt stand in the order of fp32, in any batch and at any time."""

import threading
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.formats import BadText, Pair, Scored, Scorer
from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
)
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    ModelVersion,
    Prompt,
    Score,
    ScoreBatch,
    Suggestion,
)
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.scoring import batches, suggestions
from workbench.worker import scorers

pytestmark = pytest.mark.django_db

STEP = 1 / 64  # exact in every float
GUARD = 8 * STEP


class Rough:
    """A model with given errors in bf16, which rescores close siblings of a call."""

    def __init__(self) -> None:
        self.exact: dict[str, float] = {}
        self.error: dict[str, float] = {}
        self.scored_alone: list[str] = []

    def __call__(self, pairs: Sequence[Pair]) -> list[Scored]:
        bf16 = [self.exact[text] + self.error[text] for _, text in pairs]
        near = {
            index
            for pair in combinations(range(len(pairs)), 2)
            if pairs[pair[0]][0] == pairs[pair[1]][0] and abs(bf16[pair[0]] - bf16[pair[1]]) <= GUARD
            for index in pair
        }
        return [
            Scored(self.exact[text], 1, 1, 0, 0, "fp32") if i in near else Scored(bf16[i], 1, 1, 0, 0, "bf16")
            for i, (_, text) in enumerate(pairs)
        ]

    def alone(self, pairs: Sequence[Pair]) -> list[Scored]:
        self.scored_alone += [text for _, text in pairs]
        return [Scored(self.exact[text], 1, 1, 0, 0, "fp32") for _, text in pairs]

    def add(self, prompt: Prompt, exact: float, error: float = 0.0) -> Completion:
        """A completion whose Score will be `exact`, in bf16 off by `error`; both in steps."""
        completion = CompletionFactory.create(prompt=prompt)
        self.exact[completion.text], self.error[completion.text] = exact * STEP, error * STEP
        return completion


@pytest.fixture
def model() -> Rough:
    return Rough()


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersionFactory.create(precision="exact-order", guard=GUARD)


@pytest.fixture
def prompt() -> Prompt:
    return PromptFactory.create()


def score_all(dataset: Dataset, version: ModelVersion, model: Rough, together: Scorer | None = None) -> None:
    run = batches.plan(dataset, version)
    for _ in batches.score_here(run, together or model, "worker-1", 60, model.alone):
        pass


def scores_of(version: ModelVersion) -> dict[int, tuple[float, str]]:
    """(value in steps, precision) by completion."""
    rows = Score.objects.filter(version=version).values_list("completion", "value", "precision")
    return {pk: (value / STEP, precision) for pk, value, precision in rows}


def assert_in_order(version: ModelVersion, model: Rough) -> None:
    scores = list(Score.objects.filter(version=version).select_related("completion"))
    for first, second in combinations(scores, 2):
        exact = model.exact[first.completion.text], model.exact[second.completion.text]
        if first.completion.prompt_id == second.completion.prompt_id and exact[0] != exact[1]:
            assert (first.value < second.value) == (exact[0] < exact[1])


def assert_suggestions_are_of_the_scores(version: ModelVersion) -> None:
    values = dict(Score.objects.filter(version=version).values_list("completion", "value"))
    suggestions = Suggestion.objects.filter(version=version).select_related("comparison")
    assert suggestions.count() == Comparison.objects.count()
    for suggestion in suggestions:
        pair = suggestion.comparison
        assert suggestion.margin == values[pair.a_id] - values[pair.b_id]


# prompt, value and error in steps, with which import it comes
coming = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-20, 20), st.integers(-4, 4), st.integers(0, 3)),
    min_size=2,
    max_size=14,
)


@pytest.mark.long
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(coming=coming, batch=st.integers(1, 8), is_known=st.booleans())
def test_whatever_the_order_in_which_completions_come_the_order_is_that_of_fp32(coming, batch, is_known, db):
    dataset, model = DatasetFactory.create(), Rough()
    version = ModelVersionFactory.create(precision="exact-order", guard=GUARD if is_known else None)
    prompts = PromptFactory.create_batch(2, dataset=dataset)
    Comparison.objects.all().delete()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScoreBatch, "MAX_SIZE", batch)
        patch.setattr(batches, "SLICE", max(1, batch // 2))
        for turn in sorted({number for *_, number in coming}):
            for number, value, error, _ in [row for row in coming if row[-1] == turn]:
                new = model.add(prompts[number], value, error)
                for old in prompts[number].completions.exclude(pk=new.pk):
                    ComparisonFactory.create(prompt=prompts[number], a=old, b=new)
            score_all(dataset, version, model)
            assert_in_order(version, model)
            assert_suggestions_are_of_the_scores(version)

    assert Score.objects.filter(version=version).count() == len(coming)


def test_what_a_real_model_turns_round_in_bf16_stands_in_the_order_of_fp32_all_the_same(tmp_path):
    import torch

    from scoring.build import build_network
    from scoring.engine import Engine, load, measure_guard
    from scoring.model import load_classifier
    from tests.scoring.models import save_bert, sentence

    plain = load(save_bert(tmp_path / "model"), precision="fp32")
    # The bf16 of a processor that may have no units for it: slow, and the same numbers.
    rounded = build_network(load_classifier(plain.checkpoint), torch.bfloat16)
    networks = {"bf16": rounded, **plain.networks}
    engine = Engine(plain.checkpoint, plain.encoder, networks, precision="exact-order")
    texts = [sentence(1 + n % 12, n) for n in range(200)]
    bf16, fp32 = (engine.values([("Why?", text) for text in texts], name) for name in networks)
    turned = [(i, j) for i in range(200) for j in range(200) if bf16[i] < fp32[j] < fp32[i] - 1e-4][:10]
    assert turned
    guard = engine.guard = measure_guard(engine, [("Why?", text) for text in texts])
    version = ModelVersionFactory.create(precision="exact-order", guard=guard)

    for pair in turned:
        prompt = PromptFactory.create(messages=[{"role": "user", "content": "Why?"}])  # of its own Dataset
        for place in pair:
            CompletionFactory.create(prompt=prompt, text=texts[place])
            run = batches.plan(prompt.dataset, version)
            for _ in batches.score_here(run, engine, "worker-1", 60, engine.alone):
                pass

        early, late = Score.objects.filter(completion__prompt=prompt).order_by("completion")
        assert early.value > late.value
        assert (early.precision, late.precision) == ("fp32", "fp32")


def test_a_late_completion_has_those_close_to_it_scored_again_and_no_others(model, version, prompt):
    near, far = model.add(prompt, 0, 4), model.add(prompt, 40, 4)
    score_all(prompt.dataset, version, model)
    assert scores_of(version) == {near.pk: (4, "bf16"), far.pk: (44, "bf16")}

    late = model.add(prompt, 2)
    score_all(prompt.dataset, version, model)

    assert scores_of(version) == {near.pk: (0, "fp32"), far.pk: (44, "bf16"), late.pk: (2, "fp32")}


def test_where_no_guard_is_known_all_siblings_of_a_late_completion_are_scored_again(model, version, prompt):
    ModelVersion.objects.filter(pk=version.pk).update(guard=None)
    early = model.add(prompt, 0, 4), model.add(prompt, 40, 4)
    of_another_prompt = model.add(PromptFactory.create(dataset=prompt.dataset), 0, 4)
    score_all(prompt.dataset, version, model)

    late = model.add(prompt, 80)
    score_all(prompt.dataset, version, model)

    assert [scores_of(version)[completion.pk] for completion in (*early, late)] == [
        (0, "fp32"),
        (40, "fp32"),
        (80, "fp32"),
    ]
    assert scores_of(version)[of_another_prompt.pk] == (4, "bf16")


def test_an_error_larger_than_the_guard_allows_has_more_siblings_scored_again(model, version, prompt):
    model.add(prompt, 0, 8), model.add(prompt, 30, -11)
    score_all(prompt.dataset, version, model)

    model.add(prompt, 7)  # 1 from the first, 12 from the second, which is more than the guard
    score_all(prompt.dataset, version, model)

    assert {precision for _, precision in scores_of(version).values()} == {"fp32"}


def test_a_suggestion_that_rests_on_the_score_is_renewed_and_the_queue_with_it(model, version, prompt):
    activate(version)
    a, b = model.add(prompt, 0, 4), model.add(prompt, 40)
    pair = ComparisonFactory.create(prompt=prompt, a=a, b=b)
    score_all(prompt.dataset, version, model)
    pair.refresh_from_db()
    assert (pair.suggestions.get().margin, pair.uncertainty_rank) == (-36 * STEP, 36 / 100)

    late = model.add(prompt, 2)
    new = ComparisonFactory.create(prompt=prompt, a=a, b=late)
    score_all(prompt.dataset, version, model)

    pair.refresh_from_db()
    assert (pair.suggestions.get().margin, new.suggestions.get().margin) == (-40 * STEP, -2 * STEP)
    assert pair.uncertainty_rank == 1 + 40 / 104  # the second of its group now


def test_other_versions_and_rules_keep_their_scores(model, version, prompt):
    second_version = ModelVersionFactory.create(precision="bf16")
    early = model.add(prompt, 0, 4)
    score_all(prompt.dataset, second_version, model)
    late = model.add(prompt, 2)

    score_all(prompt.dataset, second_version, model)
    score_all(prompt.dataset, version, model)

    assert scores_of(second_version) == {early.pk: (4, "bf16"), late.pk: (2, "fp32")}


def during(first: Callable[[], object], score: Scorer) -> Scorer:
    """A scorer in whose first call something else happens."""
    happened: list[object] = []

    def call(pairs: Sequence[Pair]) -> list[Scored]:
        scored = score(pairs)
        if not happened:
            happened.append(None)
            first()
        return scored

    return call


def test_a_completion_that_comes_and_is_scored_while_its_siblings_are_is_compared_with_them(
    model, version, prompt
):
    early = model.add(prompt, 0, 4)

    def comes() -> None:
        model.add(prompt, 2)
        score_all(prompt.dataset, version, model)

    score_all(prompt.dataset, version, model, during(comes, model))

    assert scores_of(version)[early.pk] == (0, "fp32")
    assert_in_order(version, model)


def test_siblings_that_are_scored_while_a_late_completion_is_are_compared_with_it(model, version, prompt):
    early = model.add(prompt, 0, 4)
    first = batches.plan(prompt.dataset, version).batches.get()
    whole = model([batches.pair_of(early)])  # by a worker that saw no sibling yet
    late = model.add(prompt, 2)
    run = batches.plan(prompt.dataset, version)

    def siblings_are_stored() -> None:
        batches.work(first, lambda pairs: whole, "worker-1", 60, lambda pairs: whole)

    alone = during(siblings_are_stored, model.alone)
    batches.work(run.batches.get(), alone, "worker-2", 60, alone)

    assert scores_of(version) == {early.pk: (0, "fp32"), late.pk: (2, "fp32")}


def test_a_worker_that_dies_while_it_stores_has_changed_nothing_and_the_next_does_all(
    model, version, prompt, monkeypatch
):
    early = model.add(prompt, 0, 4)
    score_all(prompt.dataset, version, model)
    late = model.add(prompt, 2)
    batch = batches.plan(prompt.dataset, version).batches.get()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(suggestions, "suggest", dies)
        with pytest.raises(KeyboardInterrupt):
            batches.work(batch, model, "worker-1", -1, model.alone)
    assert scores_of(version) == {early.pk: (4, "bf16")}

    assert batches.work(batch, model, "worker-2", 60, model.alone)

    assert scores_of(version) == {early.pk: (0, "fp32"), late.pk: (2, "fp32")}


def test_a_worker_that_lost_its_lease_over_the_siblings_stores_nothing(model, version, prompt):
    early = model.add(prompt, 0, 4)
    score_all(prompt.dataset, version, model)
    model.add(prompt, 2)
    batch = batches.plan(prompt.dataset, version).batches.get()

    def overtaken() -> None:
        ScoreBatch.objects.filter(pk=batch.pk).update(worker="worker-2")

    alone = during(overtaken, model.alone)

    assert batches.work(batch, alone, "worker-1", 60, alone) is False
    assert scores_of(version) == {early.pk: (4, "bf16")}


def test_a_score_in_fp32_is_never_changed_even_where_another_worker_would(model, version, prompt):
    early, late = model.add(prompt, 0, 4), model.add(prompt, 2)
    score_all(prompt.dataset, version, model)
    newest = model.add(prompt, 3)
    assert scores_of(version)[early.pk] == (0, "fp32")
    model.exact[early.text] = model.exact[late.text] = 1000 * STEP  # as if by other hardware

    score_all(prompt.dataset, version, model)

    assert scores_of(version) == {early.pk: (0, "fp32"), late.pk: (2, "fp32"), newest.pk: (3, "fp32")}
    assert model.scored_alone == [newest.text]


def test_nothing_but_bf16_is_ever_written_over(version):
    held = ScoreFactory.create(version=version, value=1.0, precision="fp32")

    batches._write(version, [], [Score(pk=held.pk, value=2.0, precision="fp32")])

    held.refresh_from_db()
    assert held.value == 1.0


def test_a_sibling_that_fp32_cannot_score_keeps_its_score_and_holds_nobody_up(model, version, prompt):
    early = model.add(prompt, 0, 4)
    score_all(prompt.dataset, version, model)
    late = model.add(prompt, 2)

    def alone(pairs: Sequence[Pair]) -> list[Scored]:
        for index, (_, text) in enumerate(pairs):
            if text == early.text:
                raise BadText(index, "fp32 overflows")
        return Rough.alone(model, pairs)

    run = batches.plan(prompt.dataset, version)
    for _ in batches.score_here(run, model, "worker-1", 60, alone):
        pass

    assert scores_of(version) == {early.pk: (4, "bf16"), late.pk: (2, "fp32")}
    run.refresh_from_db()
    assert run.result == {"scored": 1, "failed": 0}


def test_what_an_evaluation_scores_is_compared_with_its_siblings_too(model, version, prompt):
    early = model.add(prompt, 0, 4)
    score_all(prompt.dataset, version, model)
    late = model.add(prompt, 2)

    assert batches.score_now(version, [late.pk], model.alone) == 1

    assert scores_of(version) == {early.pk: (0, "fp32"), late.pk: (2, "fp32")}


def test_a_guard_that_one_worker_widened_is_known_to_the_others(version):
    class Engine:
        exact_order = True
        guard = GUARD

        def __call__(self, pairs: Sequence[Pair]) -> list[Scored]:
            self.guard = 3 * GUARD
            return []

    scorers.sharing_guard(version, Engine())([])

    assert ModelVersion.objects.get(pk=version.pk).guard == 3 * GUARD
    version.widen_guard(GUARD)
    assert ModelVersion.objects.get(pk=version.pk).guard == 3 * GUARD
    other_engine = Engine()
    scorers.sharing_guard(ModelVersion.objects.get(pk=version.pk), other_engine)
    assert other_engine.guard == 3 * GUARD


def meanwhile(job: Callable[[], object], patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has the job done in a thread of its own, begun before the next Suggestions are committed, and given
    time to end if nothing makes it wait. Returns what waits for its end."""
    plain = suggestions.suggest
    threads: list[threading.Thread] = []

    def close_after() -> None:
        try:
            job()
        finally:
            connection.close()

    def suggest(*arguments: object) -> int:
        written = plain(*arguments)
        if not threads:
            threads.append(threading.Thread(target=close_after))
            threads[0].start()
            threads[0].join(2)
        return written

    patch.setattr(suggestions, "suggest", suggest)
    return lambda: threads[0].join()


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_store_at_the_same_moment_see_each_other(model, version, prompt, monkeypatch):
    early = model.add(prompt, 0, 4)
    first = batches.plan(prompt.dataset, version).batches.get()

    def late_one() -> None:
        model.add(prompt, 2)
        score_all(prompt.dataset, version, model)

    wait = meanwhile(late_one, monkeypatch)
    batches.work(first, model, "worker-1", 60, model.alone)
    wait()

    assert scores_of(version)[early.pk] == (0, "fp32")
    assert_in_order(version, model)


@pytest.mark.django_db(transaction=True)
def test_a_suggestion_made_while_its_score_changes_is_of_the_new_score(model, version, prompt, monkeypatch):
    early, far = model.add(prompt, 0, 4), model.add(prompt, 40)
    score_all(prompt.dataset, version, model)
    model.add(prompt, 2)
    late = batches.plan(prompt.dataset, version).batches.get()

    def new_comparison() -> None:
        ComparisonFactory.create(prompt=prompt, a=early, b=far)
        batches.plan(prompt.dataset, version)

    wait = meanwhile(new_comparison, monkeypatch)
    batches.work(late, model, "worker-1", 60, model.alone)
    wait()

    assert_suggestions_are_of_the_scores(version)
