"""What a thread works for: a request, by its id, or a command. Set at the edges, and read where a row or a
line of a log says where it comes from."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
command: ContextVar[str] = ContextVar("command", default="")
