import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command

from scoring.formats import Scored
from tests.factories import CompletionFactory, ModelVersionFactory, PromptFactory, ScoreFactory
from tests.faults.remote_storage import RemoteStorage
from tests.scoring.models import save_bert, spoilt_folder
from tests.scoring.test_adapter import save_adapter
from tests.scoring.test_chat import card_scores, save_chat
from workbench.models import ModelVersion, Run, ScoreBatch
from workbench.pipeline.model import registry
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches
from workbench.worker import scorers, tasks
from workbench.worker.heartbeat import Heartbeat

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_bert(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def fresh_worker():
    scorers.load_engine.cache_clear()


@pytest.fixture(autouse=True)
def silent_broker(monkeypatch):
    monkeypatch.setattr(tasks, "enqueue_batches", lambda: None)


def added(folder: Path, name: str = "tiny", **options) -> ModelVersion:
    call_command("model_add", str(folder), name=name, precision="fp32", **options)
    return ModelVersion.objects.get(name=name)


def test_a_folder_becomes_a_pinned_version_that_a_worker_can_load_when_the_folder_is_gone(tmp_path):
    folder = save_bert(tmp_path / "model", seed=3)
    version = added(folder, max_length=400)
    for file in folder.iterdir():
        file.unlink()

    score = scorers.load_scorer(version)

    assert score([("a", "b")])[0].value == pytest.approx(score([("a", "b")])[0].value)
    assert (version.parameters, version.max_length, version.state) == (42881, 400, "registered")
    assert len(version.weights_sha256) == len(version.tokenizer_sha256) == 64
    assert len(version.self_test) == len(registry.SELF_TEST)


def test_the_same_weights_with_the_same_encoding_are_registered_once(folder):
    first = added(folder)
    call_command("model_add", str(folder), name="again", precision="fp32")

    assert list(ModelVersion.objects.transformers()) == [first]


def test_the_same_weights_at_another_length_are_another_version(folder):
    added(folder)

    assert added(folder, name="tiny-400", max_length=400).weights_sha256 == added(folder).weights_sha256


def test_a_name_belongs_to_one_model(folder, tmp_path):
    added(folder)

    with pytest.raises(CommandError, match="Another model is named tiny"):
        call_command("model_add", str(save_bert(tmp_path / "other", seed=1)), name="tiny")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nowhere/at/all", "there is no such folder"),
        ("owner/name", "add --revision"),
    ],
)
def test_what_cannot_be_a_model_is_refused_and_leaves_no_version(model, reason):
    with pytest.raises(CommandError, match=reason):
        call_command("model_add", model)

    assert not ModelVersion.objects.transformers().exists()


def test_a_folder_with_a_pickle_for_weights_is_refused_and_leaves_no_version(tmp_path):
    model = spoilt_folder(tmp_path / "model", "pickle_only")

    with pytest.raises(CommandError, match=r"pytorch_model.bin is a pickle"):
        call_command("model_add", str(model))

    assert not ModelVersion.objects.transformers().exists()


def test_a_branch_instead_of_a_commit_is_refused():
    with pytest.raises(CommandError, match="40 hex digits"):
        call_command("model_add", "nicholasKluge/RewardModel", revision="main")


def test_an_adapter_that_was_fetched_reads_no_folder_of_this_machine(folder, tmp_path, monkeypatch):
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(folder)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("scoring.checkpoint.fetch", lambda model, revision: tmp_path)

    with pytest.raises(CommandError, match="names no commit of its base"):
        call_command("model_add", "owner/adapter", revision="0" * 40)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # in peft
def test_the_origin_of_an_adapter_names_its_base_too(folder, tmp_path):
    save_adapter(folder, tmp_path / "small", "bert")

    assert added(tmp_path / "small", name="small").origin == f"small, an adapter of {folder.name}"


def test_a_worker_refuses_a_model_that_answers_otherwise_than_when_it_was_registered(folder):
    version = added(folder)
    changed = [answer | {"value": answer["value"] + 0.5} for answer in version.self_test]
    ModelVersion.objects.update(self_test=changed)

    with pytest.raises(Refused, match="registered"):
        scorers.load_scorer(version)


def test_a_worker_refuses_weights_that_are_not_the_registered_ones(folder, settings):
    version = added(folder)
    ModelVersion.objects.filter(pk=version.pk).update(self_test=[])
    stored = Path(settings.STORAGES["default"]["OPTIONS"]["location"]) / version.checkpoint
    other_folder = save_bert(stored.parent / "other", seed=9)
    (other_folder / "model.safetensors").replace(stored / "model.safetensors")

    with pytest.raises(ValueError, match=r"the weights in .* are not what was registered"):
        scorers.load_scorer(version)
    (stored / "model.safetensors").unlink()


def batch_of(version: ModelVersion) -> ScoreBatch:
    completion = CompletionFactory.create()
    return batches.plan(completion.prompt.dataset, version).batches.get()


def test_a_storage_that_does_not_answer_holds_the_run_up_until_it_does(folder, monkeypatch):
    batch = batch_of(added(folder))

    def away(*_):
        raise ConnectionError("no route to the bucket")

    with monkeypatch.context() as storage:
        storage.setattr(registry, "local_checkpoint", away)
        tasks.score_batch(batch.pk)
    run = Run.objects.get(pk=batch.run_id)
    assert run.is_open
    assert "tries again: ConnectionError" in run.error

    tasks.score_batch(batch.pk)

    run.refresh_from_db()
    assert (run.state, run.error, run.done) == ("done", "", 1)


def test_a_model_that_is_not_the_registered_one_ends_the_run_with_the_reason(folder):
    version = added(folder)
    batch = batch_of(version)
    ModelVersion.objects.filter(pk=version.pk).update(tokenizer_sha256="0" * 64)

    tasks.score_batch(batch.pk)

    run = Run.objects.get(pk=batch.run_id)
    assert run.state == "failed"
    assert "could not load tiny" in run.error


def test_a_baseline_scored_in_between_does_not_push_the_model_out_of_a_worker(folder):
    version, longest = added(folder), ModelVersion.objects.get(name="longest")

    first = scorers.load_scorer(version)
    scorers.load_scorer(longest)

    assert scorers.load_scorer(version) is first


def test_a_worker_says_where_and_in_which_precision_it_computes(folder, monkeypatch):
    monkeypatch.setattr(Heartbeat, "device", "")

    scorers.load_scorer(added(folder))

    assert Heartbeat("score").device == "cpu in fp32"


def test_a_checkpoint_in_a_bucket_is_copied_once_and_whole(folder, tmp_path):
    bucket = RemoteStorage(str(tmp_path / "bucket"))
    facts = {"weights_sha256": "a" * 64, "tokenizer_sha256": "b" * 64}
    version, _ = registry.register(
        name="far", folder=folder, files=["config.json", "model.safetensors"], facts=facts, storage=bucket
    )

    first = registry.local_checkpoint(version, tmp_path / "cache", bucket)
    written = (first / "model.safetensors").stat().st_mtime_ns
    second = registry.local_checkpoint(version, tmp_path / "cache", bucket)

    assert first == second
    assert (second / "model.safetensors").stat().st_mtime_ns == written
    assert (second / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [first.name]


def test_an_unused_version_is_deleted_with_its_files(folder, tmp_path):
    local = FileSystemStorage(tmp_path / "files")
    facts = {"weights_sha256": "c" * 64, "tokenizer_sha256": "d" * 64}
    version, _ = registry.register(
        name="mistake", folder=folder, files=["config.json"], facts=facts, storage=local
    )

    registry.delete_unused(version, local)

    assert not ModelVersion.objects.filter(name="mistake").exists()
    assert not local.exists(version.checkpoint)


@pytest.mark.parametrize("state", ["active", "registered"])
def test_a_version_that_is_active_or_has_scores_is_kept(state):
    version = ModelVersionFactory.create(state=state)
    ScoreFactory.create(version=version)

    with pytest.raises(Refused):
        registry.delete_unused(version)


def test_the_baselines_are_there_from_the_start_and_stay():
    assert {v.name for v in ModelVersion.objects.baselines()} == {"longest", "shortest", "random"}
    with pytest.raises(Refused):
        registry.delete_unused(ModelVersion.objects.get(name="longest"))


def test_the_self_test_keeps_the_order_of_the_texts():
    def by_length(pairs):
        return [Scored(float(len(text)), 1, 1, 0, 0, "fp32") for _, text in pairs]

    assert [answer["value"] for answer in registry.self_test(by_length)] == [
        float(len(text)) for _, text in registry.SELF_TEST
    ]


@pytest.mark.parametrize(("activate", "state"), [(True, "active"), (False, "registered")])
def test_the_last_word_of_model_add_is_what_is_so(folder, activate, state):
    text, facts = StringIO(), StringIO()
    call_command("model_add", str(folder), name="tiny", precision="fp32", activate=activate, stdout=text)
    words = {"precision": "fp32", "activate": activate, "json": True}
    call_command("model_add", str(folder), name="tiny", stdout=facts, **words)

    assert json.loads(facts.getvalue())["state"] == state
    last = text.getvalue().strip().split("\n")[-1]
    assert last.startswith("It is active" if activate else "It shows no picks until")


def test_a_model_that_would_be_scored_wrong_is_refused_unless_its_training_is_stated(tmp_path):
    folder = save_bert(tmp_path / "model", stated=False)

    with pytest.raises(CommandError, match=r"depend on token types.*template pair.*template bert-pair"):
        call_command("model_add", str(folder), name="tiny", precision="fp32")
    assert not ModelVersion.objects.transformers().exists()

    assert added(folder, token_types="zero").template == "bert-pair"
    with_types = added(folder, name="with types", template="pair")
    assert (with_types.template, with_types.found["template"]) == ("pair", "pair")
    assert {token["type"] for token in with_types.found["tokens"]} == {0, 1}


def test_a_worker_scores_a_conversation_by_the_chat_template_that_was_registered(tmp_path, dataset):
    folder = save_chat(tmp_path / "model")
    version = added(folder)
    asked = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "why does rain fall"},
    ]
    prompt = PromptFactory.create(dataset=dataset, messages=asked)
    completion = CompletionFactory.create(prompt=prompt, text="because air cools")
    expected = card_scores(folder, [[*asked, {"role": "assistant", "content": "because air cools"}]])
    shutil.rmtree(folder)

    batches.score_now(version, [completion.pk], scorers.load_scorer(version))

    assert (version.template, version.max_length) == ("chat", 130)
    assert completion.scores.get(version=version).value == pytest.approx(expected[0], abs=1e-4)
    shown = "".join(token["text"] for token in version.found["tokens"])
    assert shown.startswith("<s><|start_header_id|>user")
