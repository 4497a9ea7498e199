"""Settings of the tests: the product's own, on a database and data folder of the test run.

TEST_DATABASE picks the database: sqlite (default) or postgresql (at TEST_DATABASE_URL)."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_data = Path(tempfile.mkdtemp(prefix="workbench-test-"))
atexit.register(shutil.rmtree, _data, ignore_errors=True)
_default_urls = {
    "sqlite": f"sqlite:///{_data / 'workbench.sqlite3'}",
    "postgresql": os.environ.get("TEST_DATABASE_URL") or "postgresql://root@127.0.0.1:5432/postgres",
}
os.environ["DATABASE_URL"] = _default_urls[os.environ.get("TEST_DATABASE", "sqlite")]
os.environ["WORKBENCH_DATA"] = str(_data)
os.environ["WORKBENCH_ENV_FILE"] = str(_data / "no-env-file")
os.environ["SECRET_KEY"] = "tests-only-0123456789-abcdefghijklmnopqrstuvwxyz-tests-only"
os.environ["DEBUG"] = "0"
os.environ["ENCODER_FOLDER"] = str(_data / "no-encoder")  # a test that wants vectors names its own
os.environ["CELERY_BROKER_URL"] = "filesystem://"
(_data / "static").mkdir()  # whitenoise warns where there is none, and warnings are errors here

from workbench.settings import *  # noqa: E402, F403
from workbench.settings import DATABASES, STORAGES  # noqa: E402

if os.environ.get("TEST_DATABASE", "sqlite") == "sqlite":
    # A file, as worker processes and the live server have to see the same database as the test.
    DATABASES["default"]["TEST"] = {"NAME": str(_data / "test.sqlite3")}
elif stage := os.environ.get("TEST_STAGE"):
    # Stages run side by side, and the processes of each are called gw0, gw1, ...
    DATABASES["default"]["TEST"] = {"NAME": f"test_{stage}"}
DATABASES["default"]["CONN_MAX_AGE"] = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
ALLOWED_HOSTS = ["*"]
