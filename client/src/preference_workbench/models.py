"""Models: calibrate, evaluate, compare, train, promote."""

import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypedDict, Unpack

from preference_workbench import answers, sent
from preference_workbench.pushing import chunks, send_lines
from preference_workbench.releases import Release
from preference_workbench.runs import Job, Run
from preference_workbench.session import Resource, Session

if TYPE_CHECKING:
    from preference_workbench.datasets import Dataset


SCORES = 50_000
"""In one request."""
PARTS = {
    "config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "bpe.codes",
    "chat_template.jinja",
    "chat_template.json",
}
"""Files of a model beside its safetensors. What else a trainer leaves in its folder is not sent."""


class Model(answers.ModelOut, Resource):
    """A model, pinned: the same one gives the same score for the same text."""

    def evaluate(self, dataset: "Dataset") -> Job[answers.EvaluationOut]:
        """Measure the model on the pairs of a dataset that it has not learnt."""
        path = f"/datasets/{dataset.id}/models/{self.id}"
        run = Run.model_validate(self._session.post(f"{path}/evaluate"), context=self._session)
        return Job(run, lambda done: self._evaluation(path, done))

    def calibrate(self, dataset: "Dataset | None" = None, *, labels: bool = False) -> float | None:
        """Fit the temperature on people's votes, of one dataset or of all; the temperature. labels: on
        imported labels too. Raises Refused where these are too few."""
        body: sent.CalibrateWanted = {"dataset": dataset.id if dataset else None, "labels": labels}
        document = self._session.post(f"/models/{self.id}/calibrate", body)
        self.temperature = answers.ModelInFull.model_validate(document).temperature
        return self.temperature

    def unscored(self, dataset: "Dataset") -> Iterator[answers.CompletionOut]:
        """The answers of a dataset that lack a score of this model."""
        rows = self._session.lines(f"/datasets/{dataset.id}/models/{self.id}/unscored")
        return map(answers.CompletionOut.model_validate, rows)

    def push_scores(self, scores: Iterable[tuple[int, float]]) -> answers.PushedScores:
        """Store what a model that is scored elsewhere gives answers: (id of the answer, score). They are sent
        in chunks, each all or nothing. A score is never overwritten; the same again is fine. Raises
        RowsRefused with the number of the score, from 1."""
        pushed = answers.PushedScores(stored=0, known=0)
        for first, lines in chunks(map(_line, scores), SCORES):
            path = f"/models/{self.id}/scores"
            found = answers.PushedScores.model_validate(send_lines(self._session, path, lines, first).json())
            pushed.stored += found.stored
            pushed.known += found.known
        return pushed

    def activate(self, reason: str = "") -> answers.PromotionOut:
        """Make the model the active one by hand, without the gate. The first model needs no reason."""
        document = self._session.post(f"/models/{self.id}/activate", {"reason": reason})
        return answers.PromotionOut.model_validate(document)

    def rename(self, name: str | None = None, *, notice: str | None = None) -> None:
        """Give the model another name, or another sentence beside its picks."""
        body: sent.ModelChange = {"name": name, "notice": notice}
        document = self._session.send("PATCH", f"/models/{self.id}", body=body).json()
        found = answers.ModelInFull.model_validate(document)
        self.name, self.notice = found.name, found.notice

    def retire(self) -> None:
        """Take the model out of use. Its scores stay."""
        self._session.post(f"/models/{self.id}/retire")

    def delete(self) -> None:
        """Delete a model that nothing rests on, with its files."""
        self._session.send("DELETE", f"/models/{self.id}")

    def in_full(self) -> answers.ModelInFull:
        """The model with its checksums, training and calibration."""
        return answers.ModelInFull.model_validate(self._session.get(f"/models/{self.id}"))

    def _evaluation(self, path: str, done: Run) -> answers.EvaluationOut:
        found = answers.DatasetModel.model_validate(self._session.get(path))
        return next(row for row in found.evaluations if row.id == done.result["evaluation"])


class Reading(TypedDict, total=False):
    """How a checkpoint is read. max_length: tokens that a text is cut to; precision: exact-order, fp32 or
    bf16; template: bert-pair, pair or chat, where the checkpoint does not tell; token_types: zero, the same
    as the template bert-pair; notice: to show beside its picks."""

    max_length: int
    precision: str
    template: str
    token_types: str
    notice: str


class Models:
    """The models of the installation. Most of what can be done needs an account of staff."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __iter__(self) -> Iterator[Model]:
        for row in self._session.pages("/models"):
            yield Model.model_validate(row, context=self._session)

    def __getitem__(self, name_or_id: str | int) -> Model:
        """A model by its name, the newest of this name, or by its number. Raises KeyError for a name,
        NotFound for a number."""
        if isinstance(name_or_id, int):
            row = self._session.get(f"/models/{name_or_id}")
            return Model.model_validate(row, context=self._session)
        found = [model for model in self if model.name == name_or_id]
        if not found:
            raise KeyError(name_or_id)
        return found[-1]

    def register(
        self,
        name: str,
        folder: str | os.PathLike[str],
        *,
        release: Release | None = None,
        base: Model | None = None,
        settings: Mapping[str, str | float | bool | None] | None = None,
        **reading: Unpack[Reading],
    ) -> Job[Model]:
        """Register a checkpoint: a folder with config.json, safetensors and tokenizer files.

        release: what it was trained on; the workbench then calibrates and evaluates it. base: the model that
        the training started from. settings: of the training, to be shown."""
        asked: dict[str, object] = {**reading, "name": name, "base": base.id if base else None}
        asked["settings"] = json.dumps(dict(settings or {}))
        path = f"/releases/{release.id}/models" if release else "/models"
        with TemporaryDirectory() as scratch:
            packed = _packed(Path(folder), Path(scratch) / "model.tar")
            headers = {"Content-Type": "application/x-tar"}
            document = self._session.send("POST", path, content=packed, params=asked, headers=headers).json()
        run = Run.model_validate(document, context=self._session)
        return Job(run, lambda done: self._registered(release, int(done.result["version"])))

    def _registered(self, release: Release | None, number: int) -> Model:
        if release is None:
            return self[number]
        row = self._session.get(f"/datasets/{release.dataset_id}/models/{number}")
        return Model.model_validate(row, context=self._session)

    def add(self, **named: Unpack[sent.NamedModel]) -> Job[Model]:
        """Register a model of the hub (repository), or of a folder that workers can read (folder). A worker
        downloads it and compares its scores with plain transformers."""
        run = Run.model_validate(self._session.post("/models/named", named), context=self._session)
        return Job(run, lambda done: self[int(done.result["version"])])

    def external(self, name: str, revision: str, *, notice: str = "") -> Model:
        """Register a model that is scored elsewhere. revision: the hash of its weights, in hexadecimal."""
        body: sent.ExternalModel = {"name": name, "revision": revision, "notice": notice}
        row = self._session.post("/models/external", body)
        return Model.model_validate(row, context=self._session)

    def roll_back(self, reason: str = "") -> answers.PromotionOut:
        """Make the model active again that the active one replaced."""
        document = self._session.post("/models/roll-back", {"reason": reason})
        return answers.PromotionOut.model_validate(document)

    def promotions(self) -> Iterator[answers.PromotionOut]:
        """Every change of the active model, the oldest first."""
        return map(answers.PromotionOut.model_validate, self._session.pages("/promotions"))


class DatasetModels:
    """The models as one dataset sees them."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._dataset = dataset
        self._path = f"/datasets/{dataset}"

    def __iter__(self) -> Iterator[Model]:
        """Those in use."""
        for row in self.measured().items:
            yield Model.model_validate(row.model.model_dump(), context=self._session)

    def __getitem__(self, name_or_id: str | int) -> Model:
        """A model by its name among those in use, or by its number. Raises KeyError for a name."""
        if isinstance(name_or_id, int):
            row = self._session.get(f"{self._path}/models/{name_or_id}")
            return Model.model_validate(row, context=self._session)
        for model in self:
            if model.name == name_or_id:
                return model
        raise KeyError(name_or_id)

    def measured(self) -> answers.MeasuredModels:
        """How often each agrees with people here and on the benchmarks."""
        return answers.MeasuredModels.model_validate(self._session.get(f"{self._path}/models"))

    def in_full(self, model: Model) -> answers.DatasetModel:
        """Where a model comes from, and what came of it here: its latest evaluations and promotions."""
        return answers.DatasetModel.model_validate(self._session.get(f"{self._path}/models/{model.id}"))

    def compare(self, new: Model, old: Model) -> answers.Comparing:
        """Two models on the same pairs, and what the gate says."""
        found = self._session.get(f"{self._path}/models/{new.id}/compared-with/{old.id}")
        return answers.Comparing.model_validate(found)

    def train(
        self, release: Release, base: Model, *, preset: str = "recommended", name: str = ""
    ) -> Job[Model | None]:
        """Train a model on a release, from a base model; None where the training made nothing of use, as the
        result of its run says. preset: quick, recommended or seed."""
        body: sent.TrainingWanted = {
            "release": str(release.id),
            "base": base.id,
            "preset": preset,
            "name": name,
        }
        run = Run.model_validate(self._session.post(f"{self._path}/trainings", body), context=self._session)
        return Job(run, self._trained)

    def promote(self, model: Model, *, override: bool = False, reason: str = "") -> answers.PromotionOut:
        """Make a model the active one where it passes the gate of the dataset; Refused says why it does not.
        override: against the gate, for a reason that is kept."""
        body: sent.Promote = {"dataset": self._dataset, "override": override, "reason": reason}
        return answers.PromotionOut.model_validate(self._session.post(f"/models/{model.id}/promote", body))

    def _trained(self, done: Run) -> Model | None:
        made = done.result.get("version")
        return None if made is None else self[int(made)]


def _packed(folder: Path, target: Path) -> Path:
    """A tar of the files of a model. Raises ValueError where there are no safetensors."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{folder} has no *.safetensors: save the model with save_pretrained.")
    with tarfile.open(target, "w") as tar:
        for path in (*weights, *(folder / name for name in sorted(PARTS))):
            if path.is_file():
                tar.add(path.resolve(), arcname=path.name)
    return target


def _line(scored: tuple[int, float]) -> bytes:
    completion, score = scored
    return json.dumps({"completion": completion, "score": float(score)}).encode()
