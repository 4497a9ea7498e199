"""Download a model of the hub, pinned to a commit, into a folder. Requests go to allowed hosts alone."""

import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from scoring.rows.rows import escaped
from workbench.pipeline.hub import hosts
from workbench.pipeline.hub.fetching import MOST_READ, Progress, download
from workbench.pipeline.runs.progress import Refused

WANTED = re.compile(r"(?!consolidated)[\w.-]+\.(?:safetensors|json|txt|model|jinja|spm)")
"""Files at the top of a repository that a model may need. No pickles, no code, and not the same weights once
more in the form of their maker's own code."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
Report = Callable[[int, int], None]
"""(kB so far, kB in all), as of a Progress."""


def is_repository(name: str) -> bool:
    """Whether the hub could have a repository of this name: owner/name, or a name alone."""
    return bool(_REPOSITORY.fullmatch(name)) and ".." not in name and "--" not in name


def fetch(repository: str, revision: str, folder: Path, report: Report) -> str:
    """Download a model's files into the empty folder, and return the commit that the revision stands for.

    Raises Refused with a sentence, HostRefused for a host that nobody allowed, and what `report` raises."""
    from huggingface_hub.hf_api import RepoFile

    from workbench.pipeline.hub.client import hub_client, in_words

    with hub_client() as hub, in_words(repository, revision):
        commit = hub.model_info(repository, revision=revision).sha
        if not commit:
            raise Refused(f"{hosts.hub_host()} names no commit of {repository}.")
        entries = islice(hub.list_repo_tree(repository, revision=commit, repo_type="model"), MOST_READ)
        files = [one for one in entries if isinstance(one, RepoFile) and WANTED.fullmatch(one.path)]
        if not any(file.path.endswith(".safetensors") for file in files):
            raise Refused(f"{escaped(repository, 100)} has no .safetensors file at {escaped(revision, 100)}.")
        progress = Progress(sum(file.size for file in files), report)
        for file in files:
            with (folder / file.path).open("xb") as target:
                download(hub, repository, commit, file, target, progress.add, repo_type="model")
    return commit
