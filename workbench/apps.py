from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks


def others_can_read_the_data(**_: Any) -> list[checks.CheckMessage]:
    """Warns of a data folder, chosen by the operator, that other users of the machine can read."""
    mode = settings.DATA_DIR.stat().st_mode
    if not mode & 0o077:
        return []
    hint = f"chmod 700 {settings.DATA_DIR}"
    told = (
        f"Other users of this machine can read {settings.DATA_DIR}: sessions and password hashes lie there."
    )
    return [checks.Warning(told, hint=hint, id="workbench.W001")]


class WorkbenchConfig(AppConfig):
    name = "workbench"
    verbose_name = "Preference workbench"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        checks.register(others_can_read_the_data)
