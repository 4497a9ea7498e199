import os
import tempfile
from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, release_numbered
from workbench.pipeline import releases
from workbench.pipeline.hub import pushing
from workbench.pipeline.runs.progress import Refused


class Command(WorkbenchCommand):
    help = "Upload a release to a dataset repository on the hub, as one commit with a tag."
    examples = """
example:
  HF_TOKEN=hf_... manage.py release_push Kitchen 3 my-team/kitchen-preferences --private

The token is read from the environment variable HF_TOKEN and never stored. HF_ENDPOINT names a hub other than
huggingface.co.
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument("number", type=int, help="number of the release")
        parser.add_argument("repository", help="owner/name on the hub; created if missing")
        parser.add_argument("--private", action="store_true", help="create the repository as private")

    def handle(self, *, name: str, number: int, repository: str, private: bool, **options: object) -> None:
        release = release_numbered(dataset_named(name), number)
        token = os.environ.get("HF_TOKEN")
        if not token:
            raise CommandError("Set HF_TOKEN to a token of the hub with write access to the repository.")
        if repository.count("/") != 1:
            raise CommandError(f'"{repository}" is not a repository. Name it as owner/name.')
        with tempfile.TemporaryDirectory() as scratch:
            try:
                releases.copy_to(release, Path(scratch) / "release")
            except releases.ReleaseError as error:
                raise CommandError(str(error)) from None
            url = _push(Path(scratch) / "release", number, token, repository, private=private)
        self.answer(f"{release} is at {url}.", {"url": url})


def _push(folder: Path, number: int, token: str, repository: str, *, private: bool) -> str:
    """Upload the folder; the address of the commit. Raises CommandError when the hub refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        # Files of an earlier Release would be loaded with the files of this one.
        return pushing.push(hub, folder, number, repository, private, replaces=True).url
    except Refused as refused:
        raise CommandError(str(refused)) from None
    except (HfHubHTTPError, OSError) as error:
        raise CommandError(f"The hub refused the upload: {error}") from None
