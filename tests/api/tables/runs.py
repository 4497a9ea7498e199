from tests.api.tables import Row

OPERATIONS = {
    "list_runs": Row("dataset", "admin"),
    "read_run": Row("run", "admin"),
    "cancel_run": Row("run", "admin"),
    "retry_run": Row("failed run", "admin", 202),
}
PAGES = {
    "runs": "list_runs",
    "running": "list_runs",
    "run": "read_run",
    "run_cancel": "cancel_run",
    "run_retry": "retry_run",
}
