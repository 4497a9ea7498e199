"""Rescore: the Scores of some Prompts, computed again by workers.

A version is pinned, so its Scores come out the same, but for rounding. What changes is what went wrong: an
answer that could not be scored, or a worker that computed wrongly. So the old Score stays until the new one
takes its place, and undo stops what still waits and leaves what was computed."""

from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass

from workbench.models import Act, Completion, Dataset, ModelVersion, Run, User
from workbench.pipeline.data.change import Before, Cannot, Change, Chunk, Found
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches


@dataclass
class Rescore(Change):
    """Have the version that serves the Dataset score every Completion of the Prompts again."""

    kind = Act.Kind.RESCORE
    button = "Score {} again"
    counts_pairs = False
    is_shown_first = True
    answers: int = 0
    version: str = ""
    run: int = 0

    @property
    def in_words(self) -> str:
        return f": {self.answers:,} answer{'s' * (self.answers != 1)} by {self.version}"

    @property
    def promise(self) -> str:
        return "Until a new score is there, the old one stays. Undo stops what still waits."

    def begin(self, dataset: Dataset, by: User, stack: ExitStack) -> None:
        run = batches.begin_anew(dataset, _serving(dataset), by)
        self.answers, self.version, self.run = 0, str(run.version), run.pk

    def examine(self, chunk: Chunk) -> Found:
        _serving(chunk.dataset)
        found = Found()
        answered = _answers(chunk)
        found.before = {prompt: {} for prompt in chunk.prompts if prompt in answered}
        found.answers = sum(map(len, answered.values()))
        found.cannot["prompt", "without an answer"] = len(chunk.prompts) - len(found.before)
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        rows = [(prompt, answer) for prompt, answers in _answers(chunk).items() for answer in answers]
        batches.add_anew(Run.objects.get(pk=self.run), rows)
        self.answers += len(rows)

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        run = Run.objects.filter(pk=self.run).first()
        if run is None or run.state == Run.State.DONE:
            raise Refused("All these answers are scored already, and a model gives the same score each time.")
        lifecycle.cancel(run)
        scored = batches.scored_anew(run, list(before))
        left = {prompt for prompt, answers in _answers(chunk).items() for answer in answers
                if (prompt, answer) not in scored}  # fmt: skip
        for prompt in set(before) - left:
            del before[prompt]
        return Counter({("answer", "scored again already"): len(scored)})


def _serving(dataset: Dataset) -> ModelVersion:
    version = ModelVersion.objects.serving(dataset)
    if version is None:
        raise Refused("No model serves this dataset, so nothing can be scored. Promote a model first.")
    if version.is_external:
        raise Refused(f"{version} is scored elsewhere, and a score that was sent never changes.")
    return version


def _answers(chunk: Chunk) -> dict[int, list[int]]:
    """Primary keys of the Completions of each Prompt."""
    answers: defaultdict[int, list[int]] = defaultdict(list)
    rows = Completion.objects.filter(prompt__in=chunk.prompts).order_by("prompt_id", "pk")
    for prompt, answer in rows.values_list("prompt_id", "pk"):
        answers[prompt].append(answer)
    return answers
