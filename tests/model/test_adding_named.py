"""A model of the hub, or of a folder that workers can read, is registered by a worker; the last step says
what is true now."""

import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from django.urls import reverse

from scoring import seed
from scoring.checkpoint import CheckpointError
from scoring.formats import Scored
from tests.api.conftest import program_with, token_of
from tests.factories import ModelVersionFactory
from tests.hub.conftest import hub
from tests.hub.standin import LARGE, Hub, Repository
from workbench.db.storage import names_in
from workbench.models import AllowedHost, AuditEvent, ModelVersion, Run
from workbench.pipeline.model import adding
from workbench.pipeline.model.adding import Order, Tools
from workbench.pipeline.model.training import Checkpoint
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Refused
from workbench.worker import tasks

__all__ = ["hub"]
pytestmark = pytest.mark.django_db

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"w" * (LARGE + 7),
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "pytorch_model.bin": b"a pickle",
    "consolidated.safetensors": b"the same in the form of another program",
    "modeling.py": b"import os",
    "onnx/model.safetensors": b"another",
}


def by_length(pairs):
    return [Scored(float(len(completion)), 1, 1, 0, 0, "fp32") for _, completion in pairs]


def unpack(file, folder: Path) -> None:
    raise AssertionError("Nothing was sent.")


def inspect(folder: Path, order: Order) -> Checkpoint:
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError("it has no model.safetensors")
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    facts = {"weights_sha256": weights, "tokenizer_sha256": "e" * 64, "max_length": order.max_length}
    names = sorted(file.name for file in folder.iterdir())
    return Checkpoint(names, facts | {"precision": order.precision})


def base_named(folder: Path) -> tuple[str, str] | None:
    file = folder / "adapter_config.json"
    return tuple(json.loads(file.read_text())) if file.is_file() else None


def merge(adapter: Path, base: Path, out: Path) -> None:
    out.mkdir()
    weights = [(folder / "model.safetensors").read_bytes() for folder in (base, adapter)]
    (out / "model.safetensors").write_bytes(b" with ".join(weights))


TOOLS = Tools(unpack, base_named, merge, inspect, lambda version: by_length)


@pytest.fixture
def model(hub: Hub) -> Repository:
    hub.repositories["owner/reward"] = Repository()
    hub.repositories["owner/reward"].commit(FILES)
    return hub.repositories["owner/reward"]


@pytest.fixture
def staff(alice):
    alice.is_staff = True
    alice.save()
    return alice


def of_hub(**more) -> Order:
    return Order(**{"name": "reward", "max_length": 256, "precision": "fp32"} | more | at_hub(more))


def at_hub(more) -> dict[str, str]:
    return {"repository": more.get("repository", "owner/reward"), "revision": more.get("revision", "main")}


def of_folder(folder: Path, **more) -> Order:
    return Order(**{"name": "mine", "max_length": 256, "precision": "fp32", "folder": str(folder)} | more)


def carried_out(order: Order, by, folder: Path) -> Run:
    run = adding.begin_named(order, by)
    assert run.start()
    lifecycle.carry_out(run, lambda run: adding.carry_out(run, TOOLS, folder))
    run.refresh_from_db()
    return run


def test_a_model_of_the_hub_is_downloaded_at_its_commit_and_registered(hub, model, alice, tmp_path):
    run = carried_out(of_hub(notice="Of the hub."), alice, tmp_path)

    version = ModelVersion.objects.get(pk=run.result["version"])
    assert (run.state, run.error) == ("done", "")
    assert (version.name, version.origin, version.notice) == ("reward", "owner/reward", "Of the hub.")
    assert version.revision == model.branches["main"]
    assert version.weights_sha256 == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    stored = {"chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"}
    assert set(names_in(version.checkpoint)) == stored
    assert run.done == run.total == -(-sum(len(FILES[name]) for name in stored) // 1000)
    assert list(tmp_path.iterdir()) == []
    assert AuditEvent.objects.filter(kind=AuditEvent.Kind.MODEL_ADDED, actor=alice).count() == 1


def test_a_model_of_a_folder_is_registered(alice, tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")

    run = carried_out(of_folder(folder), alice, tmp_path / "work")

    version = ModelVersion.objects.get(pk=run.result["version"])
    assert (version.name, version.origin, version.revision) == ("mine", "my-model", "")
    assert (folder / "model.safetensors").read_bytes() == b"weights"


def test_the_first_model_serves_and_the_run_says_whom(hub, model, dataset, alice, tmp_path):
    run = carried_out(of_hub(activate=True), alice, tmp_path)

    assert run.result["said"] == "reward is active and serves Kitchen. Workers score all answers now."
    assert run.result["serves"] is True
    assert ModelVersion.objects.active().name == "reward"


def test_where_a_model_is_active_it_stays_so_and_the_run_says_what_comes_next(hub, model, alice, tmp_path):
    active = ModelVersionFactory.create(name="old", state="active")

    run = carried_out(of_hub(activate=True), alice, tmp_path)

    assert run.result["said"] == (
        "reward is registered. old stays active: compare the two on a dataset’s Model page."
    )
    assert ModelVersion.objects.active() == active


def adapter_in(folder: Path, base: str, revision: str = "") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps([base, revision]))
    (folder / "model.safetensors").write_bytes(b"adapter")
    return folder


def test_an_adapter_is_merged_into_the_base_that_it_names(hub, model, alice, tmp_path):
    base = tmp_path / "base-model"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"base")

    run = carried_out(of_folder(adapter_in(tmp_path / "small", str(base))), alice, tmp_path / "work")
    from_hub = carried_out(
        of_folder(adapter_in(tmp_path / "other", "owner/reward"), name="other"), alice, tmp_path / "work"
    )

    version, other = (ModelVersion.objects.get(pk=one.result["version"]) for one in (run, from_hub))
    assert version.origin == "small, an adapter of base-model"
    assert version.weights_sha256 == hashlib.sha256(b"base with adapter").hexdigest()
    assert other.origin == f"other, an adapter of owner/reward at {model.branches['main'][:12]}"
    assert other.weights_sha256 == hashlib.sha256(FILES["model.safetensors"] + b" with adapter").hexdigest()
    assert [line for _, line in run.result["log"]][:3] == ["merging the adapter", "checking", "registering"]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_base_without_a_whole_path_is_one_of_the_hub(hub, model, alice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "owner" / "reward"
    base.mkdir(parents=True)
    (base / "model.safetensors").write_bytes(b"another with the same name")

    run = carried_out(of_folder(adapter_in(tmp_path / "small", "owner/reward")), alice, tmp_path / "work")

    version = ModelVersion.objects.get(pk=run.result["version"])
    assert version.weights_sha256 == hashlib.sha256(FILES["model.safetensors"] + b" with adapter").hexdigest()


def test_an_adapter_of_the_hub_reads_no_folder_of_the_worker(hub, model, alice, tmp_path):
    base = tmp_path / "base-model"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"base")
    model.commit({"adapter_config.json": json.dumps([str(base), ""]).encode(), "model.safetensors": b"a"})

    run = carried_out(of_hub(), alice, tmp_path / "work")

    assert run.error == (
        f"This is an adapter of {base}, and the worker has no such folder. Merge it into its base with "
        "“python -m scoring merge”, and register the result."
    )
    assert not ModelVersion.objects.transformers().exists()


def spoil(hub: Hub) -> None:
    hub.spoils = lambda content: content[:-1] + b"x"


def without_weights(hub: Hub) -> None:
    hub.repositories["owner/reward"].commit({"config.json": b"{}", "pytorch_model.bin": b"a pickle"})


REFUSED = {
    "another revision": ({"revision": "v2"}, lambda hub: None, "owner/reward has no revision v2."),
    "no such model": ({"repository": "owner/gone"}, lambda hub: None, "has no repository owner/gone"),
    "no safetensors": ({}, without_weights, "owner/reward has no .safetensors file at main."),
    "other bytes": (
        {},
        spoil,
        "arrived with another checksum than the hub says. Nothing was stored; try again.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_downloaded_is_said_and_nothing_stays(hub, model, alice, tmp_path, case):
    wanted, prepare, sentence = REFUSED[case]
    prepare(hub)

    run = carried_out(of_hub(**wanted), alice, tmp_path)

    assert run.state == "failed"
    assert sentence in run.error
    assert not run.error.endswith("..")
    assert not ModelVersion.objects.transformers().exists()
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_the_hub_redirects_to_must_be_allowed(hub, model, staff, tmp_path, as_user):
    AllowedHost.objects.filter(name=hub.cdn.name).delete()

    run = carried_out(of_hub(), staff, tmp_path)
    page = as_user(staff).get(reverse("run", args=[run.pk])).content.decode()

    assert run.result["missing_host"] == hub.cdn.name
    assert f"Requests to {hub.cdn.name} are not allowed" in run.error
    assert f"Allow {hub.cdn.name}</a>" in page


def test_a_folder_that_the_worker_lacks_and_one_without_a_model_are_said(alice, tmp_path):
    missing = carried_out(of_folder(tmp_path / "gone"), alice, tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    bare = carried_out(of_folder(empty), alice, tmp_path)

    assert missing.error == f"The worker has no folder {tmp_path}/gone. Name one that all workers can read."
    assert bare.error == "mine was not registered: it has no model.safetensors."


def test_a_name_that_is_taken_and_a_hub_that_is_not_allowed_begin_no_run(hub, model, alice):
    ModelVersionFactory.create(name="taken")
    with pytest.raises(Refused, match="taken"):
        adding.begin_named(of_hub(name="taken"), alice)
    AllowedHost.objects.all().delete()
    with pytest.raises(Refused, match="are not allowed"):
        adding.begin_named(of_hub(), alice)

    assert not Run.objects.exists()


def test_a_button_pressed_twice_registers_once(hub, model, alice):
    assert adding.begin_named(of_hub(), alice) == adding.begin_named(of_hub(), alice)


# The page


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    runs: list[int] = []
    monkeypatch.setattr(tasks, "enqueue_run", lambda run: runs.append(run.pk))
    return runs


def test_the_page_has_the_seed_filled_in_and_begins_a_run(hub, staff, as_user, sent):
    client, url = as_user(staff), reverse("version_add")
    page = client.get(url).content.decode()
    fields = {"source": "hub", "repository": "https://huggingface.co/owner/reward/tree/v1", "activate": "on"}
    begun = client.post(url, fields)

    assert f'value="{seed.REPOSITORY}"' in page
    run = Run.objects.get()
    assert (begun.status_code, begun["Location"], sent) == (302, reverse("run", args=[run.pk]), [run.pk])
    named = {name: run.params[name] for name in ("name", "repository", "revision", "folder", "max_length")}
    assert named == {
        "name": "reward", "repository": "owner/reward", "revision": "v1", "folder": "", "max_length": None,
    }  # fmt: skip
    assert (run.params["precision"], run.params["activate"]) == ("exact-order", True)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"source": "hub", "repository": "no name"}, "This is no name of a repository. Write owner/name."),
        ({"source": "folder", "folder": "models/mine"}, "Write the whole path of the folder, from / on."),
        ({"source": "hub", "repository": "owner/reward", "name": "taken"}, "taken"),
    ],
)
def test_what_cannot_be_asked_for_is_said_beside_its_field(hub, staff, as_user, sent, fields, sentence):
    ModelVersionFactory.create(name="taken")

    answer = as_user(staff).post(reverse("version_add"), fields)

    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert (Run.objects.count(), sent) == (0, [])


def test_the_page_of_the_run_says_what_is_true_now_and_what_comes_next(
    hub, model, dataset, staff, as_user, tmp_path
):
    run = carried_out(of_hub(activate=True), staff, tmp_path)

    page = as_user(staff).get(reverse("run", args=[run.pk])).content.decode()

    assert "reward is active and serves Kitchen." in page
    assert f'href="{reverse("version", args=[run.result["version"]])}"' in page


def test_a_refused_run_leads_back_to_the_form_with_the_same_answers(staff, as_user, tmp_path):
    run = carried_out(of_folder(tmp_path / "gone", notice="Of ours."), staff, tmp_path)

    page = as_user(staff).get(reverse("run", args=[run.pk])).content.decode()
    again = as_user(staff).get(f"{reverse('version_add')}?run={run.pk}").content.decode()

    assert f"{reverse('version_add')}?run={run.pk}" in page
    assert f'value="{tmp_path}/gone"' in again
    assert 'value="Of ours."' in again
    assert as_user(staff).get(f"{reverse('version_add')}?run=999999").status_code == 404


def test_a_model_whose_template_is_unclear_has_a_button_for_each(staff, as_user, tmp_path, monkeypatch):
    from scoring.proof import TemplateUnclear  # slow: torch

    def unclear(folder: Path, order: Order) -> Checkpoint:
        if not order.template:
            raise TemplateUnclear("its scores depend on token types", ("pair", "bert-pair"))
        return inspect(folder, order)

    monkeypatch.setattr("tests.model.test_adding_named.TOOLS", replace(TOOLS, inspect=unclear))
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    run = carried_out(of_folder(folder), staff, tmp_path / "work")

    page = as_user(staff).get(reverse("run", args=[run.pk])).content.decode()
    links = dict(re.findall(r'href="([^"]+)">Use the template ([^<]+)</a>', page))

    assert run.result["choices"] == ["pair", "bert-pair"]
    assert list(links.values()) == ["pair", "bert-pair"]
    (address,) = (html.unescape(link) for link, template in links.items() if template == "bert-pair")
    form = as_user(staff).get(address).content.decode()
    assert '<option value="bert-pair" selected>' in form
    assert f'value="{folder}"' in form
    again = carried_out(of_folder(folder, template="bert-pair"), staff, tmp_path / "again")
    assert again.state == "done"


def test_a_program_names_a_model_as_the_page_does(hub, staff, sent):
    client = program_with(token_of(staff))
    url = "/api/v1/models/named"
    answer = client.post(url, {"repository": "owner/reward"}, content_type="application/json")
    bad = client.post(url, {"folder": "models/mine"}, content_type="application/json")

    assert (answer.status_code, sent) == (202, [Run.objects.get().pk])
    assert bad.status_code == 422
    assert "from / on" in bad.content.decode()
