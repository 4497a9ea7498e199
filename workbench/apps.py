from django.apps import AppConfig
from django.conf import settings
from django.core import checks


def others_can_read_the_data(**_: object) -> list[checks.CheckMessage]:
    """Warn of a data folder that other users of the machine can read."""
    mode = settings.DATA_DIR.stat().st_mode
    if not mode & 0o077:
        return []
    sentence = (
        f"Other users of this machine can read the sessions and password hashes in {settings.DATA_DIR}."
    )
    return [checks.Warning(sentence, hint=f"chmod 700 {settings.DATA_DIR}", id="workbench.W001")]


class WorkbenchConfig(AppConfig):
    name = "workbench"
    verbose_name = "Preference workbench"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        checks.register(others_can_read_the_data)
