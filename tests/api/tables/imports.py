from tests.api.tables import Row

OPERATIONS = {
    "upload_file": Row("dataset", "admin", 422),
    "push_rows": Row("dataset", "admin", 202),
    "list_uploads": Row("dataset", "admin"),
    "list_samples": Row("", ""),
    "upload_sample": Row("dataset", "admin", 201, {"name": "pairs.jsonl"}),
    "read_upload": Row("upload", "admin"),
    "delete_upload": Row("upload", "admin", 204),
    "preview_upload": Row("upload", "admin", 200, {}),
    "import_upload": Row("upload", "admin", 202, {}),
    "download_refused_rows": Row("run", "admin", 404),
    "fetch_from_hub": Row("dataset", "admin", 202, {"repository": "team/kitchen"}),
}
PAGES = {
    "import": ("list_uploads", "upload_file", "list_samples", "upload_sample"),
    "import_preview": ("read_upload", "preview_upload", "import_upload"),
    "import_rejects": "download_refused_rows",
    "import_remove": "delete_upload",
    "import_hub": "fetch_from_hub",
    "import_fetch": "read_run",
}
