"""Static files under names that say their content, and pages that survive their absence."""

import re
from functools import cache
from pathlib import Path

from whitenoise.storage import CompressedManifestStaticFilesStorage

STATIC = Path(__file__).parent / "static"
_IMPORT = r"""from "(?P<url>\.[^"]+)";"""


class ManifestStorage(CompressedManifestStaticFilesStorage):
    """A file that collectstatic has not collected keeps its own name: people can read a page without its
    style, and /readyz names the missing command. Django would answer every page with a bare 500."""

    # Our modules import each other by these names too: new modules never run with old ones from a cache.
    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("workbench/*.js", ((f"(?P<matched>{_IMPORT})", 'from "%(url)s";'),)),
    )
    max_post_process_passes = 12  # at least one for each module of the longest chain of imports

    def stored_name(self, name: str) -> str:
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name


@cache
def imported_by(module: str) -> tuple[str, ...]:
    """Names of all modules that this one needs, as in "workbench/annotate.js"."""
    names: list[str] = []
    to_read = [module]
    while to_read:
        path = STATIC / to_read.pop(0)
        urls = re.findall(_IMPORT, path.read_text())
        imports = [str((path.parent / url).resolve().relative_to(STATIC)) for url in urls]
        to_read += [name for name in imports if name not in names]
        names += [name for name in imports if name not in names]
    return tuple(names)
