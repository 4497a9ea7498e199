"""What can go wrong. The message of each error is the sentence that the workbench gives."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import httpx2
from pydantic import ValidationError

from preference_workbench.answers import Fault, Problem

if TYPE_CHECKING:
    from preference_workbench.runs import Run


class WorkbenchError(Exception):
    """Any error of this package."""


class Unreachable(WorkbenchError):
    """The workbench did not answer, however often it was asked."""


class Damaged(WorkbenchError):
    """A downloaded file is not the one that was released."""


class CannotVote(WorkbenchError):
    """The account gets no pairs now: it is paused, or must qualify first. The message says which."""


class ApiError(WorkbenchError):
    """A request was refused, and nothing was changed. status: of HTTP; code: a word that stays the same;
    detail: a sentence for people; errors: what is wrong with which field or line; request_id: finds the
    request in the log of the workbench."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[Fault] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors = list(errors)
        self.request_id = request_id


class Unauthorised(ApiError):
    """The token is missing, unknown, expired or revoked."""


class Forbidden(ApiError):
    """The account or its token may not do this."""


class NotFound(ApiError):
    """There is nothing here, or nothing that the token reaches."""


class Refused(ApiError):
    """The workbench cannot do this now."""


class Changed(ApiError):
    """Somebody changed this meanwhile."""


class Invalid(ApiError):
    """What was sent is not valid: `errors` names fields or lines."""


class RowsRefused(Invalid):
    """Rows were refused. `line` of each error is the number of the row as the caller gave them, from 1."""


class Archived(ApiError):
    """The dataset is archived."""


class TooMany(ApiError):
    """The token has sent more requests in a minute than it may, however long the client waited."""


class ServerFailed(ApiError):
    """The workbench failed. `request_id` finds the cause in its log."""


class RunFailed(WorkbenchError):
    """A run failed; the message is its error."""

    def __init__(self, run: "Run") -> None:
        super().__init__(run.error or f"Run {run.id} ({run.kind}) failed.")
        self.run = run


class RunCancelled(RunFailed):
    """Somebody cancelled the run."""


class StillRunning(WorkbenchError, TimeoutError):
    """The run has not ended within the time that its caller would wait. It goes on."""

    def __init__(self, run: "Run") -> None:
        super().__init__(f"Run {run.id} ({run.kind}) has not ended yet: {run.progress or run.state}.")
        self.run = run


_OF_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Refused,
    412: Changed,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    423: Archived,
    429: TooMany,
}


def error_of(response: httpx2.Response) -> ApiError:
    """The error that a response means. Its body has been read."""
    status = response.status_code
    kind = _OF_STATUS.get(status, ServerFailed if status >= 500 else ApiError)
    request_id = response.headers.get("X-Request-ID", "")
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:  # of a proxy in between, or of something that is no workbench
        detail = f"{response.request.url.copy_with(query=None)} answered {status} {response.reason_phrase}."
        return kind(status, "", detail, request_id=request_id)
    return kind(status, problem.code, problem.detail, problem.errors, request_id)
