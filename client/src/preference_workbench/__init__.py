"""The preference workbench from Python.

wb = Workbench("https://workbench.example.org", token)
ds = wb.datasets["Chat v2"]
"""

from preference_workbench.annotating import Annotating, Item, KnownPair
from preference_workbench.data import Act, View
from preference_workbench.datasets import Dataset, Datasets
from preference_workbench.errors import (
    ApiError,
    Archived,
    CannotVote,
    Changed,
    Damaged,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    RowsRefused,
    RunCancelled,
    RunFailed,
    ServerFailed,
    StillRunning,
    TooMany,
    Unauthorised,
    Unreachable,
    WorkbenchError,
)
from preference_workbench.models import Model, Models
from preference_workbench.own import Me
from preference_workbench.pushing import Pushed
from preference_workbench.releases import Release
from preference_workbench.review import Case
from preference_workbench.runs import Job, RefusedRow, Run
from preference_workbench.uploads import Upload
from preference_workbench.webhooks import Webhook
from preference_workbench.workbench import Workbench

__all__ = [
    "Act",
    "Annotating",
    "ApiError",
    "Archived",
    "CannotVote",
    "Case",
    "Changed",
    "Damaged",
    "Dataset",
    "Datasets",
    "Forbidden",
    "Invalid",
    "Item",
    "Job",
    "KnownPair",
    "Me",
    "Model",
    "Models",
    "NotFound",
    "Pushed",
    "Refused",
    "RefusedRow",
    "Release",
    "RowsRefused",
    "Run",
    "RunCancelled",
    "RunFailed",
    "ServerFailed",
    "StillRunning",
    "TooMany",
    "Unauthorised",
    "Unreachable",
    "Upload",
    "View",
    "Webhook",
    "Workbench",
    "WorkbenchError",
]
