"""A checkpoint of elsewhere -> a ModelVersion with its lineage: sent as a file, named on the hub, or in a
folder that workers can read; as a Run, or by a command.

It is checked as any model folder is. One that was trained on a Release is proven as a model that was trained
here: calibrated and evaluated on what it has not learnt. The first model may serve at once; any other becomes
active by a promotion alone."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO
from uuid import uuid4

from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from scoring.config import Stopped, template_named
from scoring.learnt import Record, of_training
from scoring.pairs import read_training_data
from scoring.rows.rows import escaped
from workbench.db.storage import stored
from workbench.models import ModelVersion, Release, Run, User
from workbench.models.runs import Found
from workbench.pipeline import releases
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.hub import hosts, models
from workbench.pipeline.model import plan, promotion, registry, training
from workbench.pipeline.model.margins import ScorerOf
from workbench.pipeline.model.run_log import RunLog
from workbench.pipeline.outbound.addresses import HostRefused
from workbench.pipeline.runs.lifecycle import heartbeats
from workbench.pipeline.runs.progress import Cancelled, Refused, is_for_people
from workbench.pipeline.text import learnt

KEPT = timedelta(days=1)
"""A file whose Run failed or was cancelled stays for so long, for a retry."""

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class Order:
    """What was sent or named. max_length, template: None and "" = as the checkpoint tells. token_types:
    "zero" = the template bert-pair. base: primary key of the model that the training started from; None = not
    known here. settings: of the training, to be shown. repository, revision: of a model on the hub; folder:
    of a model that workers can read; both "" for a sent file. activate: have it serve where none does."""

    name: str
    max_length: int | None
    precision: str
    token_types: str = ""
    template: str = ""
    notice: str = ""
    base: int | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    repository: str = ""
    revision: str = ""
    folder: str = ""
    activate: bool = False

    @property
    def named_template(self) -> str | None:
        """The template that was named; None = as the checkpoint tells."""
        return template_named(self.template, self.token_types)


@dataclass(frozen=True)
class Tools:
    """The parts that need torch. unpack: writes a sent file into an empty folder; base_named: the (folder or
    repository, revision) that an adapter names as its base, None for a folder that is no adapter; merge:
    (adapter, base, new folder); inspect: (folder, order) -> the checkpoint, loaded once and measured. They
    raise CheckpointError and BadSetting, with a sentence. fetch: models.fetch."""

    unpack: Callable[[IO[bytes], Path], None]
    base_named: Callable[[Path], tuple[str, str] | None]
    merge: Callable[[Path, Path, Path], None]
    inspect: Callable[[Path, Order], training.Checkpoint]
    scorer_of: ScorerOf
    fetch: Callable[[str, str, Path, models.Report], str] = models.fetch


@dataclass(frozen=True)
class Added:
    """is_new: False where a version with the same weights and settings was there. serves: it is active."""

    version: ModelVersion
    is_new: bool
    serves: bool


def begin_named(order: Order, by: User | None) -> Run:
    """A new Run, to be enqueued, that registers a model of the hub or of a folder; the last one, while it is
    open and has the same order. Raises Refused for a name that is taken, and a host that is not allowed."""
    if order.repository and not hosts.is_allowed(host := hosts.hub_host()):
        raise Refused(f"Requests to {host} are not allowed. Allow this host on “Allowed hosts” first.")
    params = {**asdict(order), "release": None, "path": ""}
    with transaction.atomic():
        for run in Run.objects.of_kind(Run.Kind.REGISTER).open():
            if run.params == params:
                return run
        plan.refuse_taken(order.name)
        return record_run(Run.objects.create(kind=Run.Kind.REGISTER, created_by=by, params=params))


def add(
    order: Order,
    folder: Path,
    checkpoint: training.Checkpoint,
    facts: Mapping[str, object],
    by: User | None = None,
) -> Added:
    """Register the inspected checkpoint of a folder, with the record of what it has learnt where one lies
    there, and have it serve where that was ordered and no model does. Raises Refused for a name that is
    taken, and BadRecord, a ValueError."""
    version, is_new = registry.register(
        name=order.name,
        folder=folder,
        files=checkpoint.files,
        facts={**checkpoint.facts, "notice": order.notice, **facts},
        by=by,
    )
    learnt.remember_folder(version, folder)
    serves = version.state == ModelVersion.State.ACTIVE
    if order.activate and ModelVersion.objects.active() is None:
        with suppress(Refused):  # another became active just now; a promotion decides between the two
            promotion.put_in_place(version, by=by)
            version.refresh_from_db()
            serves = True
    return Added(version, is_new, serves)


def next_step(added: Added) -> str:
    """What is true now, and what comes next, in sentences."""
    version = added.version
    if added.serves:
        where = promotion.served()
        return f"{version} is active{f' and serves {where}' if where else ''}. Workers score all answers now."
    active = ModelVersion.objects.active()
    if active is None:
        return f"{version} is registered. No model is active: activate it to have it serve."
    return f"{version} is registered. {active} stays active: compare the two on a dataset’s Model page."


def begin(file: IO[bytes], order: Order, release: Release | None, by: User) -> Run:
    """A new Run, to be enqueued, that registers the checkpoint in a file. release: what it was trained on;
    None = not known. Raises Refused for a name that is taken, a base that is none, and a release that cannot
    be read as training data."""
    plan.refuse_taken(order.name)
    if release:
        plan.outlook(release)
    if order.base and not ModelVersion.objects.transformers().filter(pk=order.base).exists():
        raise Refused("There is no such model to have started from.")
    with stored(f"checkpoints-sent/{uuid4()}", file) as path, transaction.atomic():
        run = Run.objects.create(
            kind=Run.Kind.REGISTER,
            dataset=release.dataset if release else None,
            created_by=by,
            params={**asdict(order), "release": str(release.pk) if release else None, "path": path},
        )
        return record_run(run)


def carry_out(
    run: Run, tools: Tools, folder: Path, is_stopping: Callable[[], bool] = lambda: False
) -> ModelVersion:
    """Register the checkpoint of a started Run, calibrate and evaluate it, and finish the Run. Raises Refused
    and Cancelled."""
    folder.mkdir(parents=True, exist_ok=True)
    with heartbeats(run) as alive, tempfile.TemporaryDirectory(dir=folder, prefix="sent-") as scratch:
        log = RunLog(run, is_stopping, alive)
        try:
            version = _registered(run, log, Path(scratch), tools)
            if version.trained_by_id == run.pk and version.release:
                training.prove(version, run, log, tools.scorer_of)
                run.result["finding"] = training.weighed(version)
                log.say(run.result["finding"]["said"])
        except Stopped:
            raise Cancelled from None
        except HostRefused as refused:
            run.result["missing_host"] = refused.host
            raise
        except Refused:
            raise  # a ValueError too, with a sentence of its own
        except FileNotFoundError:
            raise Refused("The checkpoint of this run is gone. Send it again.") from None
        except ValueError as error:
            if choices := getattr(error, "choices", ()):
                run.result["choices"] = list(choices)
                run.save(update_fields=["result"])
            if not is_for_people(error):
                raise
            raise Refused(f"{run.params['name']} was not registered: {error}.") from error
        run.result |= {"stage": "done", "version": version.pk, "model": version.name}
        run.finish(**run.result)
    delete_files(run)
    return version


def _registered(run: Run, log: RunLog, scratch: Path, tools: Tools) -> ModelVersion:
    """The version with the checkpoint; another than a new one where the weights are stored already."""
    params = {name: run.params[name] for name in Order.__dataclass_fields__ if name in run.params}
    order, release, base = Order(**params), _release(run), _base(run)
    if order.repository or order.folder:
        return _named(run, order, log, scratch, tools)
    model = scratch / "checkpoint"
    model.mkdir()
    log.stage("unpacking")
    if not run.params["path"]:
        raise FileNotFoundError  # swept
    with default_storage.open(run.params["path"]) as file:
        tools.unpack(file, model)
    if named := tools.base_named(model):
        if base is None:
            raise Refused("This is an adapter. Send the id of the model that it was trained on as its base.")
        _refuse_other_base(base, *named)
        log.stage("merging the adapter")
        log.say(f"The adapter names {escaped(named[0], 200)} as its base. It is merged into {base}.")
        adapter, model = model, scratch / "merged"
        tools.merge(adapter, registry.local_checkpoint(base, scratch / "base"), model)
    log.stage("checking")
    checkpoint = tools.inspect(model, order)
    _show(run, log, checkpoint)
    log.stage("registering")
    facts = {
        **checkpoint.facts,
        "origin": f"trained elsewhere on {release}"[:300] if release else "sent by a program",
        "notice": order.notice,
        "base": base,
        "release": release,
        "trained_by": run,
        "training": {"config": dict(order.settings)},
    }
    version, is_new = registry.register(
        name=order.name, folder=model, files=checkpoint.files, facts=facts, by=run.created_by
    )
    if not is_new:
        log.say(f"These weights are already stored as {version}.")
    if release and version.trained_by_id == run.pk:
        log.stage("recording the training data")
        learnt.remember(version, _record(release, base, scratch / "release"), log.write, base=base)
    return version


def _refuse_other_base(base: ModelVersion, name: str, revision: str) -> None:
    """Raise Refused if the adapter names another commit than the base is of: it would fit, and score wrongly.
    A name alone says nothing: it is often that of a folder in which the base was kept."""
    if base.revision and len(revision) == len(base.revision) and revision != base.revision:
        raise Refused(
            f"The adapter was trained on {escaped(name, 200)} at {revision[:12]}, but {base} is "
            f"{base.origin} at {base.revision[:12]}. Send the id of the model that it was trained on."
        )


def _show(run: Run, log: RunLog, checkpoint: training.Checkpoint) -> None:
    """Say what the self-test found, and keep it for the page of the Run."""
    if checkpoint.found:
        run.result["found"] = checkpoint.found
        log.say(in_words(checkpoint.found))


def in_words(found: Found) -> str:
    """What the self-test found, in sentences."""
    laid_out = {
        "chat": "by its own chat template",
        "pair": "as its tokenizer joins a pair",
        "bert-pair": "as the seed's, without token types",
    }[found["template"]]
    return (
        f"{found['compared']} sample texts have the scores of plain transformers. Texts are laid out "
        f"{laid_out} ({found['template']}), in at most {found['max_length']:,} tokens."
    )


def _named(run: Run, order: Order, log: RunLog, scratch: Path, tools: Tools) -> ModelVersion:
    """The version with a model of the hub or a folder; an adapter is merged into the base that it names."""

    def report(done: int, total: int) -> None:
        if log.is_stopping():
            raise Stopped
        log.write(done, total)

    if order.repository:
        folder, origin = scratch / "model", order.repository
        folder.mkdir()
        log.stage("downloading")
        revision = tools.fetch(order.repository, order.revision, folder, report)
    else:
        folder, revision, origin = Path(order.folder), "", Path(order.folder).name
        if not folder.is_dir():
            raise Refused(f"The worker has no folder {order.folder}. Name one that all workers can read.")
    if named := tools.base_named(folder):
        base, commit = _base_of_adapter(order, *named, log, scratch, tools, report)
        log.stage("merging the adapter")
        adapter, folder = folder, scratch / "merged"
        tools.merge(adapter, base, folder)
        origin = of_adapter(origin, named[0], commit)
    log.stage("checking")
    checkpoint = tools.inspect(folder, order)
    _show(run, log, checkpoint)
    log.stage("registering")
    facts = {"origin": origin[:300], "revision": revision}
    added = add(order, folder, checkpoint, facts, by=run.created_by)
    if not added.is_new:
        log.say(f"These weights are already stored as {added.version}.")
    run.result["said"] = next_step(added)
    run.result["serves"] = added.serves
    log.say(run.result["said"])
    return added.version


def _base_of_adapter(
    order: Order, name: str, revision: str, log: RunLog, scratch: Path, tools: Tools, report: models.Report
) -> tuple[Path, str]:
    """(folder, commit or "") of the base that an adapter names. An adapter from the hub may not name a folder
    of the worker."""
    # A name such as owner/model is one of the hub, whatever lies where the worker was started.
    if order.folder and Path(name).is_absolute() and Path(name).is_dir():
        return Path(name), ""
    if not models.is_repository(name):
        raise Refused(
            f"This is an adapter of {escaped(name, 200)}, and the worker has no such folder. Merge it into "
            "its base with “python -m scoring merge”, and register the result."
        )
    base = scratch / "base"
    base.mkdir()
    log.stage("downloading the base of the adapter")
    return base, tools.fetch(name, revision or "main", base, report)


def of_adapter(origin: str, base: str, commit: str) -> str:
    """The origin of an adapter that was merged into a base: a repository at a commit, or a folder."""
    return f"{origin}, an adapter of {f'{base} at {commit[:12]}' if commit else Path(base).name}"


def _record(release: Release, base: ModelVersion | None, folder: Path) -> Record:
    """The prompts of the release's training and validation pairs; of all that the weights have learnt only
    where the base is known."""
    releases.copy_to(release, folder)
    data = read_training_data(folder)
    return of_training(data, base=Record() if base else None, source=str(release))


def _release(run: Run) -> Release | None:
    if run.params["release"] is None:
        return None
    release = Release.objects.filter(pk=run.params["release"]).select_related("dataset").first()
    if release is None:
        raise Refused("The release of this run was deleted.")
    return release


def _base(run: Run) -> ModelVersion | None:
    if run.params["base"] is None:
        return None
    base = ModelVersion.objects.filter(pk=run.params["base"]).first()
    if base is None:
        raise Refused("The model that this one started from was deleted.")
    return base


def delete_files(run: Run) -> None:
    """Delete the file that was sent for a Run."""
    if run.kind == Run.Kind.REGISTER and run.params["path"]:
        with suppress(FileNotFoundError):
            default_storage.delete(run.params["path"])


def sweep() -> None:
    """Delete the files of Runs that ended without a model a day ago."""
    ended = Run.objects.of_kind(Run.Kind.REGISTER).filter(
        state__in=[Run.State.FAILED, Run.State.CANCELLED], finished_at__lt=timezone.now() - KEPT
    )
    for run in ended.exclude(params__path=""):
        delete_files(run)
        Run.objects.filter(pk=run.pk).update(params={**run.params, "path": ""})
