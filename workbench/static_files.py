"""Static files under names that say their content, and pages that survive their absence."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class ManifestStorage(CompressedManifestStaticFilesStorage):
    """A file that collectstatic has not brought keeps its own name: a page without its style can be read,
    and /readyz says which command is missing. Django would answer every page with a bare 500."""

    def stored_name(self, name: str) -> str:
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name
