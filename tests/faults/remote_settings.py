"""The product's settings with files in a remote storage."""

import os

from workbench.settings import *  # noqa: F403
from workbench.settings import STORAGES

STORAGES["default"] = {
    "BACKEND": "tests.faults.remote_storage.RemoteStorage",
    "OPTIONS": {"location": os.environ["REMOTE_FOLDER"]},
}
