"""The loop once, as a team goes through it: import, score by a worker process, judge, settle, release."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from tests.conftest import client_of
from tests.factories import UserFactory
from tests.processes import Processes, wait_until
from tests.scoring.models import save_bert
from workbench.models import Comparison, Dataset, Judgment, Member, ModelVersion, Release, Role, Run, Score

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

ROWS = [
    {
        "id": "r1",
        "prompt": "Why does rain fall?",
        "chosen": "Warm air rises and cools.",
        "rejected": "why not",
    },
    {"id": "r2", "prompt": "Say hello\tin  Arabic.", "chosen": "مرحبا", "rejected": "hello\r\nhello"},
    {"id": "r3", "prompt": "Print one.", "chosen": "```python\n    print(1)\n```", "rejected": " print 1 "},
    {"id": "r4", "prompt": "Is a\u2028line a line?", "chosen": "It is.\n", "rejected": "It is."},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), "utf-8")
    return path


@pytest.fixture
def product_processes(processes: Processes, monkeypatch) -> Processes:
    """Processes of the product itself, its model loaded from a real checkpoint."""
    monkeypatch.setattr(processes, "app", "workbench")
    return processes


def person(dataset: Dataset, name: str, role: Role) -> Client:
    user = UserFactory.create(username=name)
    Member.objects.create(dataset=dataset, user=user, role=role)
    return client_of(user)


def judge_everything(client: Client, dataset: Dataset, preferred: str) -> None:
    """Choose the side that shows a text that some row prefers, or the other one."""
    chosen = {row["chosen"] for row in ROWS}
    page = reverse("annotate", args=[dataset.pk])
    while item := client.get(page).context["item"]:
        shown = {side: answer.text for side, answer in item.sides}
        side = next(side for side, text in shown.items() if (text in chosen) == (preferred == "chosen"))
        fields = {"comparison": item.comparison.pk, "key": str(uuid4()), "answer": side}
        fields["user"] = int(client.session["_auth_user_id"])
        response = client.post(
            reverse("judge", args=[dataset.pk]), fields, headers={"accept": "application/json"}
        )
        assert response.status_code == 200, response.content


def test_from_a_labelled_file_to_a_release_of_the_same_text(product_processes, file, tmp_path):
    # The labels come along, so that "does the model agree?" can be asked from the first minute.
    call_command("import_dataset", "Kitchen", str(file))
    dataset = Dataset.objects.get(name="Kitchen")
    assert dataset.comparisons.count() == Judgment.objects.of(dataset).count() == len(ROWS)

    # A real transformer. Nobody asks for Scores: the import wants them, and a worker process sees to it.
    call_command("model_add", str(save_bert(tmp_path / "model")), name="tiny", activate=True)
    product_processes.worker()
    product_processes.clock()
    version = ModelVersion.objects.active()
    everything = 2 * len(ROWS) * ModelVersion.objects.scoring_all().count()
    wait_until(lambda: Score.objects.count() == everything, 180)
    wait_until(lambda: not Run.objects.open().exists())
    assert not Run.objects.filter(state=Run.State.FAILED).exists()
    # The line end of r4 is no word to the model, so both its answers read the same: no Suggestion there.
    assert dataset.comparisons.filter(suggestions__version=version).count() == len(ROWS) - 1

    # Two people judge everything: one as the labels say, one the other way round.
    Dataset.objects.update(overlap=2)
    dataset.refresh_from_db()
    judge_everything(person(dataset, "bob", Role.ANNOTATOR), dataset, "chosen")
    judge_everything(person(dataset, "carla", Role.ANNOTATOR), dataset, "rejected")
    assert Comparison.objects.people_disagree().count() == len(ROWS)

    # A reviewer settles all but one, and drops that.
    rita = person(dataset, "rita", Role.REVIEWER)
    for comparison in Comparison.objects.in_disagreement(version).select_related("a"):
        prefers_a = comparison.a.text in {row["chosen"] for row in ROWS}
        outcome = (
            "drop" if comparison.prompt.messages[0]["content"] == ROWS[0]["prompt"] else "ab"[not prefers_a]
        )
        token = rita.get(reverse("review_case", args=[comparison.pk])).context["token"]
        fields = {"outcome": outcome, "reason": "slip", "seen": token}
        settled = rita.post(reverse("settle", args=[comparison.pk]), fields)
        assert settled.status_code == 302, settled.content
    assert not Comparison.objects.in_disagreement(version).exists()

    # The Release gives the texts back byte for byte, and says what it left out.
    call_command("release", "Kitchen", out=tmp_path / "release", profile=["preference", "aira"])
    manifest = json.loads((tmp_path / "release" / "manifest.json").read_text())
    rows = read_split_files(tmp_path / "release", "preference")
    expected = [{k: row[k] for k in ("prompt", "chosen", "rejected")} for row in ROWS[1:]]
    assert sorted(rows, key=str) == sorted(expected, key=str)
    assert Release.objects.ready().get(dataset=dataset).rows == len(expected)
    assert "drop" in json.dumps(manifest)
    seed_rows = read_split_files(tmp_path / "release", "aira")
    assert {frozenset(row) for row in seed_rows} == {
        frozenset({"prompt", "prefered_completions", "rejected_completions"})
    }


def read_split_files(folder: Path, profile: str) -> list[dict[str, str]]:
    from datasets import load_dataset

    files = [str(path) for path in sorted(folder.glob(f"{profile}.*.jsonl")) if path.stat().st_size]
    loaded = load_dataset("json", data_files=files, cache_dir=str(folder / "cache"), split="train")
    return [dict(row) for row in loaded]
