"""From a Release to a ModelVersion, with a trainer of ten lines."""

import errno
import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils import timezone

from scoring.config import PRESETS, Measured, Progress, Stopped, TrainingError
from scoring.formats import Scored
from tests.factories import (
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
)
from workbench.models import ModelVersion, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.model import plan, promotion, run_log, training
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.model.training import Checkpoint, Tools
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text import learnt
from workbench.pipeline.text.splits import split_of

pytestmark = pytest.mark.django_db

STEPS = 40


def by_length(pairs):
    return [Scored(float(len(completion)), 1, 1, 0, 0, "fp32") for _, completion in pairs]


@dataclass
class FakeTraining:
    """Counts steps in a file beside the checkpoint, as real training keeps its state."""

    fails: Exception | None = None
    came_to: dict = field(default_factory=dict)
    before_step: dict[int, object] = field(default_factory=dict)
    began_at: list[int] = field(default_factory=list)

    def __call__(self, model: Path, pairs: Path, out: Path, report) -> dict:
        state = out.with_name("state")
        step = int(state.read_text()) if state.exists() else 0
        self.began_at.append(step)
        assert list(pairs.glob("*.train.jsonl"))
        while step < STEPS and not out.is_dir():
            step += 1
            state.write_text(str(step))
            if do := self.before_step.pop(step, None):
                do()
            measured = Measured(step, 0.6, 0.7, True) if step % 10 == 0 else None
            if report(Progress(step, STEPS, 1 / step, 1e-5, 9.0, 1.0, measured)) is False:
                raise Stopped
        if self.fails:
            raise self.fails
        out.mkdir(exist_ok=True)
        (out / "model.safetensors").write_bytes(b"weights")
        return {"config": {"preset": "recommended"}} | self.came_to


def inspect(folder: Path, base: ModelVersion, max_length: int) -> Checkpoint:
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    weights = hashlib.sha256(str(folder).encode()).hexdigest()
    facts = {"weights_sha256": weights, "tokenizer_sha256": "e" * 64, "max_length": max_length}
    return Checkpoint(["model.safetensors"], facts)


def tools(train) -> Tools:
    finding = {"level": "warning", "text": "few pairs"}
    return Tools(lambda model, pairs: {"findings": [finding]}, train, inspect, lambda version: by_length)


@pytest.fixture
def base(tmp_path) -> ModelVersion:
    version = ModelVersionFactory.create(name="base", tokenizer_sha256="0" * 64)
    (Path(default_storage.path(version.checkpoint))).mkdir(parents=True, exist_ok=True)
    activate(version)
    return version


@pytest.fixture
def release(dataset) -> Release:
    """Eighty settled pairs whose longer text is preferred, in all three splits."""
    for number in range(80):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        comparison = ComparisonFactory.create(
            prompt=prompt, a__text=f"A long answer, {number}.", b__text=f"No {number}."
        )
        JudgmentFactory.create(comparison=comparison, outcome="a", mode="blind")
    return releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))


@pytest.fixture
def run(release, base) -> Run:
    return training.begin(release, base, "recommended")


def carry_out(run: Run, train, folder: Path, is_stopping=lambda: False) -> ModelVersion | None:
    assert run.start()
    act = partial(training.carry_out, tools=tools(train), folder=folder, is_stopping=is_stopping)
    version = lifecycle.carry_out(run, act, is_stopping)
    run.refresh_from_db()
    return version


def test_a_training_ends_as_a_version_that_knows_where_it_comes_from(run, release, base, tmp_path):
    version = carry_out(run, FakeTraining(), tmp_path)

    assert run.state == "done"
    assert (version.name, version.base, version.release) == ("kitchen-1", base, release)
    assert (version.trained_by, version.state) == (run, "registered")
    assert default_storage.exists(f"{version.checkpoint}/model.safetensors")
    assert ModelVersion.objects.active() == base
    assert list(tmp_path.glob("run-*")) == []


def test_the_new_version_is_evaluated_on_what_it_has_not_learnt_here_and_of_what_is_frozen(
    run, release, tmp_path
):
    held = DatasetFactory.create(name="Public", frozen=True)
    comparison = ComparisonFactory.create(
        prompt=PromptFactory.create(dataset=held), a__text="short", b__text="rather longer"
    )
    JudgmentFactory.create(comparison=comparison, outcome="a")

    version = carry_out(run, FakeTraining(), tmp_path)

    on_test, on_public = version.evaluations.order_by("pk")
    assert (on_test.split, on_test.model_figures["accuracy"]) == ("unseen", 1.0)
    assert (on_public.split, on_public.model_figures["accuracy"]) == ("unseen", 0.0)
    assert on_test.figures["beside"]["longest"]["accuracy"] == 1.0
    assert on_test.figures["differences"]["base"]["n"] == on_test.pairs


def test_the_new_version_knows_what_its_release_taught_it(run, release, base, dataset, tmp_path):
    version = carry_out(run, FakeTraining(), tmp_path)

    seen = learnt.seen(version, dataset)
    taught = {group for group in dataset.prompts.values_list("group", flat=True) if seen.taught(group)}
    assert taught == {
        group for group in dataset.prompts.values_list("group", flat=True) if split_of(group) == "train"
    }
    chose = [group for group in dataset.prompts.values_list("group", flat=True) if group in seen]
    assert {split_of(group) for group in chose} == {"train", "validation"}
    assert version.learnt == "partly"  # nothing says what its base had learnt
    on_test = version.evaluations.order_by("pk").first()
    assert on_test.pairs == 80 - len(chose)


def test_the_run_keeps_a_curve_of_bounded_size_and_a_log(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "POINTS", 16)

    carry_out(run, FakeTraining(), tmp_path)

    steps = [step for step, _ in run.result["loss"]]
    assert len(steps) <= 16
    assert (steps[0], steps[-1]) == (1, STEPS)
    assert [step for step, _ in run.result["validation"]] == [10, 20, 30, 40]
    log = [line for _, line in run.result["log"]]
    assert "warning: few pairs" in log
    assert any(line.startswith("Kitchen: 100 %") for line in log)


def test_a_cancelled_training_stops_and_goes_on_where_it_was_when_it_is_tried_again(run, tmp_path):
    train = FakeTraining(before_step={10: lambda: Run.objects.get(pk=run.pk).cancel()})

    assert carry_out(run, train, tmp_path) is None
    assert run.state == "cancelled"

    run.retry()
    assert carry_out(run, train, tmp_path) is not None

    assert train.began_at == [0, 10]
    assert [step for step, _ in run.result["validation"]] == [20, 30, 40]


def test_a_worker_that_is_told_to_end_hands_the_run_back_with_its_attempts(run, tmp_path):
    train = FakeTraining()

    assert carry_out(run, train, tmp_path, is_stopping=lambda: bool(train.began_at)) is None

    assert (run.state, run.attempts) == ("waiting", 0)
    assert lifecycle.due() == [run]


def test_a_worker_that_died_after_training_is_followed_by_one_that_only_registers(run, tmp_path):
    train = FakeTraining()
    assert run.start()
    place = tmp_path / f"run-{run.pk}"
    releases.copy_to(run.dataset.releases.get(), place / "release")
    train(place, place / "release", place / "checkpoint", lambda _: True)
    Run.objects.update(state="waiting")

    assert carry_out(run, train, tmp_path) is not None
    assert train.began_at == [0, STEPS]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("the loss is nan at step 7"), "the loss is nan at step 7"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
    ],
)
def test_a_training_that_fails_says_why_and_leaves_the_old_model_in_place(error, reason, run, base, tmp_path):
    assert carry_out(run, FakeTraining(fails=error), tmp_path) is None

    assert run.state == "failed"
    assert reason in run.error
    assert ModelVersion.objects.active() == base
    assert ModelVersion.objects.transformers().get() == base


def test_a_disk_that_fills_up_while_the_checkpoint_is_stored_registers_nothing(
    run, base, tmp_path, monkeypatch
):
    def full(name, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(default_storage, "save", full)

    assert carry_out(run, FakeTraining(), tmp_path) is None

    assert "The disk is full" in run.error
    assert ModelVersion.objects.transformers().get() == base


def test_two_trainings_at_once_make_two_versions_of_different_names(release, base, tmp_path):
    first, second = (training.begin(release, base, "recommended") for _ in range(2))

    assert [first.params["name"], second.params["name"]] == ["kitchen-1", "kitchen-1.2"]


def test_a_name_that_is_taken_is_refused_before_any_time_is_spent(release, base):
    with pytest.raises(Refused, match="Another model is named base"):
        training.begin(release, base, "recommended", "base")


def test_a_small_release_is_trained_on_with_the_limit_of_time_and_a_large_one_without(release):
    assert plan.usual_preset(release) == "quick"

    for file in release.manifest["files"].values():
        if file.get("split") == "train":
            file["rows"] = 499
    assert plan.usual_preset(release) == "quick"
    for file in release.manifest["files"].values():
        if file.get("split") == "train":
            file["rows"] = 500
    assert plan.usual_preset(release) == "recommended"


@pytest.mark.parametrize("named", [None, "bert-pair"])
def test_texts_are_read_by_the_template_of_the_base_unless_a_setting_names_another(run, base, named):
    ModelVersion.objects.filter(pk=base.pk).update(template="pair")
    run.params["settings"] = {} if named is None else {"template": named}

    assert plan.config_of_run(run).template == (named or "pair")


def test_every_preset_is_put_into_words():
    assert set(plan.PRESETS_IN_WORDS) == set(PRESETS)


def test_a_training_that_the_clock_ended_says_so(run, tmp_path):
    came_to = {"config": {"max_seconds": 90.0}, "ended_by": "time", "steps": 5, "planned_steps": 1300}

    carry_out(run, FakeTraining(came_to=came_to), tmp_path)

    reason = "Training stopped at its limit of 90 seconds, after 5 of 1,300 steps."
    assert run.result["ended"] == reason
    assert reason in [line for _, line in run.result["log"]]


def test_a_training_that_reached_its_end_says_nothing_of_a_clock(run, tmp_path):
    carry_out(run, FakeTraining(came_to={"ended_by": "steps", "steps": 5, "planned_steps": 5}), tmp_path)

    assert "ended" not in run.result


def test_a_frozen_dataset_is_not_trained_on(release, base):
    release.dataset.frozen = True

    with pytest.raises(Refused, match="is a benchmark"):
        training.begin(release, base, "recommended")


def test_a_release_whose_files_are_damaged_is_not_trained_on(run, release, tmp_path):
    path = Path(default_storage.path(f"{release.folder}/preference.train.jsonl"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-30])

    assert carry_out(run, FakeTraining(), tmp_path) is None
    assert "preference.train.jsonl of Release 1 of Kitchen" in run.error


def test_a_training_that_gets_further_each_time_is_not_given_up_after_three_workers(run, tmp_path):
    for step in (5, 9, 14, 19):

        def die(at=step):
            Run.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=5))
            raise SystemExit

        run.refresh_from_db()
        run.start()
        with pytest.raises(SystemExit):
            training.carry_out(run, tools(FakeTraining(before_step={step: die})), tmp_path)
        lifecycle.due()
        run.refresh_from_db()
        assert run.state == "waiting", step


def test_a_worker_that_was_given_up_does_not_end_the_run_of_the_next(run):
    run.start()
    hung = Run.objects.get(pk=run.pk)
    Run.objects.update(state="waiting")
    run.start()

    assert not hung.update_progress(5)
    assert not hung.fail("it took too long")
    run.refresh_from_db()
    assert run.state == "running"


@pytest.mark.django_db(transaction=True)
def test_a_long_step_is_not_taken_for_a_dead_worker(run):
    run.start()
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))

    with lifecycle.heartbeats(run, every=0.02):
        wait_for_a_pulse(run)
    assert lifecycle.due() == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_hangs_stops_saying_that_it_is_alive(run):
    run.start()
    past = timezone.now() - timedelta(minutes=5)
    Run.objects.update(heartbeat_at=past)

    with lifecycle.heartbeats(run, every=0.02, patience=0.0):
        pass
    run.refresh_from_db()
    assert run.heartbeat_at == past


def wait_for_a_pulse(run: Run) -> None:
    from tests.processes import wait_until

    old = timezone.now() - timedelta(minutes=1)
    wait_until(lambda: Run.objects.filter(pk=run.pk, heartbeat_at__gt=old).exists(), 20)


def test_folders_of_runs_that_are_over_are_swept(run, tmp_path):
    run.start()
    run.finish()
    for name in (f"run-{run.pk}", "run-999999"):
        (tmp_path / name).mkdir()

    training.sweep(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_manifest_says_what_to_expect_before_time_is_spent(release):
    outlook = plan.outlook(release)

    assert outlook.profile == "preference"
    assert outlook.rows["train"] > 40
    assert any("don’t expect much" in warning for warning in outlook.warnings)
    assert any("The longer answer is preferred in 100 %" in warning for warning in outlook.warnings)
    assert json.dumps(outlook.rows)


def test_the_release_that_the_page_builds_unless_told_otherwise_can_be_trained_on(
    release, base, alice, as_user, tmp_path
):
    """It could not: its columns are preferred and rejected, which no training read."""
    offered = as_user(alice).get(reverse("releases", args=[release.dataset_id])).context["form"]
    purpose = releases.PURPOSES[offered["purpose"].value()]

    built = releases.build(
        Release(dataset=release.dataset, profiles=[purpose.profile], formats=[purpose.format])
    )

    assert plan.outlook(built).rows == plan.outlook(release).rows
    version = carry_out(training.begin(built, base, "recommended"), FakeTraining(), tmp_path)
    assert version.release == built


def test_a_release_that_cannot_be_trained_on_says_which_can(release):
    table = releases.build(Release(dataset=release.dataset, profiles=["pairs"], formats=["csv"]))

    with pytest.raises(Refused, match="Build a release for “Any program”"):
        plan.outlook(table)


def test_pairs_with_an_empty_answer_are_left_out_and_counted_before_and_in_the_log(
    dataset, release, base, tmp_path
):
    assert not any("empty" in warning for warning in plan.outlook(release).warnings)
    for number in range(2):
        prompt = PromptFactory.create(
            dataset=dataset, messages=[{"role": "user", "content": f"Blank {number}?"}]
        )
        comparison = ComparisonFactory.create(prompt=prompt, a__text=f"Said {number}.", b__text=" \n")
        JudgmentFactory.create(comparison=comparison, outcome="a", mode="blind")
    release = releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))

    assert plan.outlook(release).warnings[0] == "Left out: 2 pairs with an empty answer."

    run = training.begin(release, base, "recommended")
    carry_out(run, FakeTraining(), tmp_path)
    run.refresh_from_db()
    assert "Left out: 2 pairs with an empty answer." in [text for _, text in run.result["log"]]


def same_as(base: ModelVersion):
    """Registering finds the base's own weights: the training ended with the weights that it began with."""

    def look(folder: Path, version: ModelVersion, max_length: int) -> Checkpoint:
        facts = {name: getattr(base, name) for name in ("weights_sha256", "tokenizer_sha256", "max_length")}
        return Checkpoint(["model.safetensors"], facts)

    return look


def test_a_training_that_finds_nothing_better_is_done_and_registers_nothing(run, base, tmp_path):
    assert run.start()
    tools = Tools(lambda *_: {"findings": []}, FakeTraining(), same_as(base), lambda version: by_length)

    assert training.carry_out(run, tools, tmp_path) is None

    run.refresh_from_db()
    assert (run.state, run.error, run.found_nothing_better) == ("done", "", True)
    assert run.result["finding"]["said"].startswith("No step beat base on the validation pairs")
    assert run.result["loss"]
    assert run.result["validation"]
    assert ModelVersion.objects.transformers().get() == base
    assert not run.retry()


def test_a_training_that_ran_out_of_time_advises_more_time(run, base, tmp_path):
    came_to = {"config": {"max_seconds": 90.0}, "ended_by": "time", "steps": 1, "planned_steps": 69}
    fake = FakeTraining(came_to=came_to)
    assert run.start()

    training.carry_out(
        run, Tools(lambda *_: {"findings": []}, fake, same_as(base), lambda version: by_length), tmp_path
    )

    run.refresh_from_db()
    assert run.result["finding"]["said"].endswith(
        "Training stopped at its limit of 90 seconds, after 1 of 69 steps. Choose a preset with more time."
    )


@pytest.mark.parametrize("better", [True, False])
def test_a_training_says_what_the_gate_says_of_its_model(better, run, base, tmp_path, monkeypatch):
    weighed = promotion.Gate(
        base, base, [promotion.Condition("superior", better or None, "As the gate says.")]
    )
    monkeypatch.setattr(promotion, "weigh", lambda version, dataset: weighed)

    version = carry_out(run, FakeTraining(), tmp_path)

    assert version.state == "registered"
    assert run.result["finding"]["better"] is better
    assert run.found_undecided is not better
    assert not run.found_nothing_better


@pytest.mark.parametrize(
    ("calibrated", "superior", "undecided"),
    [
        (True, None, True),
        (False, None, True),
        (False, False, False),
        (True, False, False),
        (False, True, False),
    ],
)
def test_a_model_that_too_few_votes_judge_is_not_called_no_better(calibrated, superior, undecided, base):
    gate = promotion.Gate(
        base,
        base,
        [promotion.Condition("superior", superior, ""), promotion.Condition("calibrated", calibrated, "")],
    )

    assert gate.is_undecided is undecided
