"""The code of the help on the client and the API runs as it stands there, against a running workbench."""

import itertools
import json
import os
import re
import shutil
import subprocess

import pytest
from preference_workbench import Workbench

from tests import services
from tests.api.conftest import token_of
from tests.factories import (
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    UserFactory,
)
from tests.processes import ROOT
from tests.scoring.models import save_bert
from tests.webserver import free_port, web
from workbench.models import (
    Act,
    Dataset,
    Decision,
    Member,
    ModelVersion,
    Release,
    Role,
    Run,
    Score,
    TimeCorrection,
    User,
)
from workbench.models.dataset import group_digest
from workbench.pipeline import quality, releases
from workbench.pipeline.text.splits import split_of
from workbench.worker import tasks

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True), pytest.mark.portable]

ADDRESS = "https://workbench.example.org"
"""Of the docs. The tests put that of the running workbench in its place."""
RECEIVER = "https://hooks.example.org/votes"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections(path: str) -> list[tuple[str, str, str]]:
    """(heading, language, code) of each block of a page, in order."""
    found = []
    for part in re.split(r"^## ", (ROOT / path).read_text(), flags=re.MULTILINE):
        heading = part.partition("\n")[0]
        found += [(heading, language, code) for language, code in BLOCK.findall(part)]
    return found


@pytest.fixture
def url(worker, tmp_path):
    """A web process, with DEBUG for a webhook to this machine, and a worker."""
    environment = {"CELERY_BROKER_URL": "filesystem://", "API_REQUESTS_A_MINUTE": "0", "DEBUG": "1"}
    with web(tmp_path / "web.log", **environment) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def stella(tmp_path, monkeypatch) -> User:
    """Staff, and an admin of Chat v2. She works in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "arrow")
    stella = UserFactory.create(username="stella", is_staff=True)
    Member.objects.create(dataset=DatasetFactory.create(name="Chat v2"), user=stella, role=Role.ADMIN)
    return stella


def run(code: str, names: dict[str, object], url: str) -> None:
    code = code.replace(ADDRESS, url).replace(RECEIVER, f"http://localhost:{free_port()}/")
    exec(compile(code, "the docs", "exec"), names)


def others_vote(url: str) -> None:
    """Two more people vote on each pair: one for the other answer, one for a tie."""
    for name, answer in (("carla", "right"), ("dora", "tie")):
        user = UserFactory.create(username=name)
        Member.objects.create(dataset=Dataset.objects.get(name="Chat v3"), user=user, role=Role.ANNOTATOR)
        with Workbench(url, token_of(user)) as wb:
            for item in wb.datasets["Chat v3"].annotate():
                item.vote(answer)


def question(number: int) -> str:
    return f"What is {number} and {number}?"


def asks(split: str, count: int) -> list[int]:
    """The first numbers of which the question is in this split."""

    def is_there(number: int) -> bool:
        return split_of(group_digest([{"role": "user", "content": question(number)}])) == split

    return list(itertools.islice(filter(is_there, itertools.count()), count))


def computed(dataset: Dataset) -> None:
    """The figures of the dataset, as the clock of a workbench has them computed."""
    tasks.carry_out(quality.begin(dataset).pk)


def test_the_help_on_the_client_runs_from_its_first_line_to_its_last(url, stella, tmp_path):
    UserFactory.create(username="bob")
    save_bert(tmp_path / "checkpoint")
    (tmp_path / "benchmark.jsonl").write_text('{"question": "What is 1 and 1?"}\n')
    (tmp_path / "more.jsonl").write_text('{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n')
    # Half get a final label, drawn anew each time. Of each split there must be some among them.
    numbers = [
        n for split, count in (("train", 28), ("validation", 14), ("test", 18)) for n in asks(split, count)
    ]
    sampled = [(question(n), [f"It is {2 * n}.", f"{2 * n}, as all know."]) for n in numbers]
    names: dict[str, object] = {"token": token_of(stella), "sampled": sampled}

    for heading, language, code in sections("docs/how-to/client.md"):
        assert language == "python"
        if heading == "Review":
            others_vote(url)
        if heading == "Figures":
            computed(Dataset.objects.get(name="Chat v3"))
        run(code, names, url)
    names["wb"].close()

    dataset = Dataset.objects.get(name="Chat v3")
    assert (dataset.overlap, dataset.max_overlap) == (3, 5)
    assert dataset.comparisons.count() == len(sampled) + 1
    assert {alike.reference for alike in names["report"].references} >= {"benchmark.jsonl"}
    assert len(names["found"]) == len(sampled)
    assert Act.objects.get(dataset=dataset).undone_at
    assert dataset.webhooks.get().events == ["judgment.created", "release.ready"]
    assert Decision.objects.filter(comparison__prompt__dataset=dataset, method="reviewer").exists()
    assert ModelVersion.objects.active().name == "chat v3"
    assert Score.objects.filter(version__name="judge").count() == 2 * len(sampled) + 2
    assert {path.name for path in (tmp_path / "release").iterdir()} >= {"manifest.json", "README.md"}
    assert TimeCorrection.objects.get(dataset=dataset).seconds == 600
    assert not Run.objects.filter(state="failed").exists()


def release_of(dataset: Dataset) -> Release:
    for number in range(40):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt), mode="blind")
    return releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))


def test_the_readme_of_the_client_runs(url, stella):
    dataset = Dataset.objects.get(name="Chat v2")
    count = release_of(dataset).rows
    names: dict[str, object] = {"token": token_of(stella)}

    for _, language, code in sections("client/README.md"):
        assert language == "python"
        run(code, names, url)
    names["wb"].close()

    assert sum(len(split) for split in names["rows"].values()) == count
    assert dataset.releases.count() == 2


def shell(code: str, url: str, **variables: str) -> dict[str, object]:
    """What the lines print, as JSON."""
    services.require(None if shutil.which("curl") else "no curl on the PATH")
    command = ["bash", "-euc", code.replace(ADDRESS, url).replace("curl ", "curl -sf ")]
    printed = subprocess.run(command, env=os.environ | variables, capture_output=True, check=True).stdout
    return json.loads(printed)


def test_the_request_of_the_help_on_the_api_is_answered(url, stella):
    (code,) = [code for _, language, code in sections("docs/how-to/api.md") if language == "sh"]

    answer = shell(code, url, TOKEN=token_of(stella))

    assert [dataset["name"] for dataset in answer["items"]] == ["Chat v2"]


def test_a_release_is_streamed_as_the_help_on_the_api_shows(url, stella, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    release = release_of(Dataset.objects.get(name="Chat v2"))
    (code,) = [code for _, language, code in sections("docs/how-to/api.md") if language == "python"]
    names: dict[str, object] = {"token": token_of(stella, "read"), "release": release.pk}

    run(code, names, url)

    assert len(list(names["rows"])) == release.manifest["files"]["preference.train.jsonl"]["rows"]
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_checkpoint_is_sent_as_the_help_on_models_shows(url, stella, tmp_path):
    base = ModelVersionFactory.create(name="base")
    save_bert(tmp_path / "my-model")
    release = release_of(Dataset.objects.get(name="Chat v2"))
    ((_, language, code),) = sections("docs/how-to/versions.md")
    token = token_of(stella)

    answer = shell(code.replace("base=3", f"base={base.pk}"), url, TOKEN=token, RELEASE=str(release.pk))
    with Workbench(url, token) as wb:
        wb.run(answer["id"]).wait(timeout=300)

    version = ModelVersion.objects.get(name="my-model")
    assert (language, version.release, version.base) == ("sh", release, base)
