"""A checkpoint that was trained elsewhere becomes a ModelVersion that is checked like any other."""

import hashlib
import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils import timezone

from scoring.checkpoint import CheckpointError
from scoring.formats import Scored
from tests.factories import ComparisonFactory, JudgmentFactory, ModelVersionFactory, PromptFactory
from workbench.db.storage import names_in
from workbench.models import AuditEvent, ModelVersion, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.datasets import deleting
from workbench.pipeline.model import adding, training
from workbench.pipeline.model.adding import Order, Tools
from workbench.pipeline.model.training import Checkpoint
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text import learnt
from workbench.pipeline.text.splits import split_of

pytestmark = pytest.mark.django_db


def by_length(pairs):
    return [Scored(float(len(completion)), 1, 1, 0, 0, "fp32") for _, completion in pairs]


def unpack(file, folder: Path) -> None:
    if (sent := file.read()) == b"rubbish":
        raise CheckpointError("this is no tar")
    (folder / "model.safetensors").write_bytes(sent)


def inspect(folder: Path, order: Order) -> Checkpoint:
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    facts = {"weights_sha256": weights, "tokenizer_sha256": "e" * 64, "max_length": order.max_length}
    return Checkpoint(["model.safetensors"], facts | {"precision": order.precision})


def base_named(folder: Path) -> tuple[str, str] | None:
    """Of the adapter that the word "adapter" stands for."""
    is_adapter = (folder / "model.safetensors").read_bytes() == b"adapter"
    return ("/where/it/was/trained", "") if is_adapter else None


def merge(adapter: Path, base: Path, out: Path) -> None:
    out.mkdir()
    weights = [(folder / "model.safetensors").read_bytes() for folder in (base, adapter)]
    (out / "model.safetensors").write_bytes(b" with ".join(weights))


TOOLS = Tools(unpack, base_named, merge, inspect, lambda version: by_length)


@pytest.fixture
def base() -> ModelVersion:
    return ModelVersionFactory.create(name="base", tokenizer_sha256="0" * 64)


@pytest.fixture
def release(dataset) -> Release:
    """Eighty settled pairs whose longer text is preferred, in all three splits."""
    for number in range(80):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        comparison = ComparisonFactory.create(
            prompt=prompt, a__text=f"A long answer, {number}.", b__text=f"No {number}."
        )
        JudgmentFactory.create(comparison=comparison, outcome="a", mode="blind")
    return releases.build(Release(dataset=dataset, profiles=["trl-chat"], formats=["jsonl"]))


def begun(release: Release | None, by, base: ModelVersion | None = None, sent: bytes = b"weights") -> Run:
    order = Order(
        "mine", 256, "fp32", base=base.pk if base else None, settings={"learning_rate": 1e-5, "epochs": 2}
    )
    return adding.begin(io.BytesIO(sent), order, release, by)


def carried_out(run: Run, folder: Path) -> ModelVersion | None:
    assert run.start()
    return lifecycle.carry_out(run, lambda run: adding.carry_out(run, TOOLS, folder))


def sent_files() -> list[str]:
    return names_in("checkpoints-sent")


@pytest.fixture(autouse=True)
def nothing_sent_before() -> None:
    for name in sent_files():
        default_storage.delete(f"checkpoints-sent/{name}")


def test_it_knows_where_it_comes_from_and_what_it_has_learnt(dataset, release, base, alice, tmp_path):
    learnt.remember(base, learnt.Record(whole=True))
    run = begun(release, alice, base)

    version = carried_out(run, tmp_path)

    run.refresh_from_db()
    assert (run.state, run.result["version"], run.result["model"]) == ("done", version.pk, "mine")
    assert (version.base, version.release, version.trained_by) == (base, release, run)
    assert (version.max_length, version.precision, version.state) == (256, "fp32", "registered")
    assert version.training == {"config": {"learning_rate": 1e-5, "epochs": 2}}
    assert version.learnt == "yes"
    seen = learnt.seen(version, dataset)
    groups = set(dataset.prompts.values_list("group", flat=True))
    assert {group for group in groups if seen.taught(group)} == {g for g in groups if split_of(g) == "train"}
    assert {group for group in groups if group in seen} == {g for g in groups if split_of(g) != "test"}
    assert AuditEvent.objects.filter(kind=AuditEvent.Kind.MODEL_ADDED, actor=alice).count() == 1


def test_it_is_evaluated_on_what_it_has_not_learnt_and_weighed_by_the_gate(
    dataset, release, base, alice, tmp_path
):
    run = begun(release, alice, base)

    version = carried_out(run, tmp_path)

    measured = version.evaluations.get()
    tested = sum(split_of(group) == "test" for group in dataset.prompts.values_list("group", flat=True))
    assert (measured.dataset, measured.pairs, measured.run) == (dataset, tested, run)
    run.refresh_from_db()
    assert run.result["finding"] == training.weighed(version)
    assert ModelVersion.objects.active() is None


def test_without_a_known_base_not_all_that_it_has_learnt_is_known(release, alice, tmp_path):
    assert carried_out(begun(release, alice), tmp_path).learnt == "partly"


def test_without_a_release_nothing_is_known_of_its_training_data(alice, tmp_path):
    run = begun(None, alice)

    version = carried_out(run, tmp_path)

    assert (version.learnt, version.release, run.dataset) == ("no", None, None)
    assert not version.evaluations.exists()


def test_the_file_goes_when_the_model_is_stored(release, alice, tmp_path):
    run = begun(release, alice)
    before = len(sent_files())

    carried_out(run, tmp_path)

    assert (before, sent_files()) == (1, [])
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_checkpoint_fails_the_run_with_a_sentence_and_stores_nothing(release, alice, tmp_path):
    run = begun(release, alice, sent=b"rubbish")

    carried_out(run, tmp_path)

    run.refresh_from_db()
    assert (run.state, run.error) == ("failed", "mine was not registered: this is no tar.")
    assert not ModelVersion.objects.filter(name="mine").exists()


def test_weights_that_are_stored_already_stay_the_model_that_they_are(release, base, alice, tmp_path):
    first = carried_out(begun(release, alice, base), tmp_path)
    order = Order("again", 256, "fp32")

    second = carried_out(adding.begin(io.BytesIO(b"weights"), order, None, alice), tmp_path)

    assert second == first
    first.refresh_from_db()
    assert (first.name, first.release) == ("mine", release)


def test_a_name_that_is_taken_is_refused_before_anything_is_stored(base, release, alice):
    begun(release, alice)

    for name in ("base", "mine"):
        with pytest.raises(Refused, match=f"Another model is named {name}"):
            adding.begin(io.BytesIO(b"other"), Order(name, 256, "fp32"), None, alice)

    assert len(sent_files()) == Run.objects.count() == 1


def test_a_release_that_cannot_be_read_as_training_data_is_refused(dataset, alice):
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome="a")
    openrlhf = releases.build(Release(dataset=dataset, profiles=["openrlhf"], formats=["jsonl"]))

    with pytest.raises(Refused, match="no pairs to train on"):
        begun(openrlhf, alice)


def test_a_file_without_a_model_is_kept_for_a_day_for_a_retry(release, alice, tmp_path):
    run = begun(release, alice, sent=b"rubbish")
    carried_out(run, tmp_path)
    adding.sweep()
    kept = len(sent_files())

    Run.objects.update(finished_at=timezone.now() - timedelta(days=2))
    adding.sweep()
    adding.sweep()

    assert (kept, sent_files()) == (1, [])
    run.refresh_from_db()
    run.retry()
    carried_out(run, tmp_path)
    run.refresh_from_db()
    assert run.error == "The checkpoint of this run is gone. Send it again."


def test_it_goes_with_its_dataset(dataset, release, alice):
    begun(release, alice)

    deletion = deleting.begin(dataset, alice)
    deletion.start()
    deleting.carry_out(deletion)

    assert sent_files() == []


def test_the_pages_of_its_run_and_of_the_model_show_the_log_and_the_settings(
    dataset, release, base, alice, as_user, tmp_path
):
    run = begun(release, alice, base)
    version = carried_out(run, tmp_path)
    client = as_user(alice)

    of_run = client.get(reverse("run", args=[run.pk])).content.decode()
    of_model = client.get(reverse("model_version", args=[dataset.pk, version.pk])).content.decode()

    assert "recording the training data" in of_run
    assert "learning_rate" in of_model


def test_a_sent_adapter_is_merged_into_the_model_that_it_started_from(release, base, alice, tmp_path):
    default_storage.save(f"{base.checkpoint}/model.safetensors", ContentFile(b"base"))

    version = carried_out(begun(release, alice, base, sent=b"adapter"), tmp_path)

    with default_storage.open(f"{version.checkpoint}/model.safetensors") as file:
        assert file.read() == b"base with adapter"
    assert version.base == base
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_a_sent_adapter_says_what_it_names_as_its_base(release, base, alice, tmp_path):
    """It is often a folder of another machine: only a person can see that it is the wrong one."""
    default_storage.save(f"{base.checkpoint}/model.safetensors", ContentFile(b"base"))
    run = begun(release, alice, base, sent=b"adapter")

    carried_out(run, tmp_path)

    run.refresh_from_db()
    said = "The adapter names /where/it/was/trained as its base. It is merged into base."
    assert said in [text for _, text in run.result["log"]]


@pytest.mark.parametrize(("revision", "is_refused"), [("a" * 40, False), ("b" * 40, True), ("main", False)])
def test_a_sent_adapter_of_another_commit_than_its_base_is_refused(
    revision, is_refused, release, base, alice, tmp_path
):
    """It would fit, and give wrong scores."""
    default_storage.save(f"{base.checkpoint}/model.safetensors", ContentFile(b"base"))
    ModelVersion.objects.filter(pk=base.pk).update(origin="owner/reward", revision="a" * 40)
    run = begun(release, alice, base, sent=b"adapter")
    tools = replace(TOOLS, base_named=lambda folder: ("owner/reward", revision))
    assert run.start()

    lifecycle.carry_out(run, lambda run: adding.carry_out(run, tools, tmp_path))

    run.refresh_from_db()
    assert (run.state == "failed") == is_refused
    assert run.error == (
        "The adapter was trained on owner/reward at bbbbbbbbbbbb, but base is owner/reward at aaaaaaaaaaaa. "
        "Send the id of the model that it was trained on."
        if is_refused
        else ""
    )


def test_a_sent_adapter_without_its_base_is_refused(release, alice, tmp_path):
    run = begun(release, alice, sent=b"adapter")
    carried_out(run, tmp_path)

    run.refresh_from_db()
    assert run.error == "This is an adapter. Send the id of the model that it was trained on as its base."
    assert not ModelVersion.objects.transformers().exists()
