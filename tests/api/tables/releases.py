from tests.api.tables import Row

OPERATIONS = {
    "list_release_kinds": Row("", ""),
    "count_release": Row("dataset", "admin", 200, {"purpose": "pairs"}),
    "build_release": Row("dataset", "admin", 202, {"purpose": "pairs"}),
    "list_releases": Row("dataset", "admin"),
    "read_release": Row("release", "admin"),
    "download_release_file": Row("file of a release", "admin"),
    "download_release": Row("release", "admin"),
    "list_downloads": Row("release", "admin"),
    "diff_releases": Row("two releases", "admin"),
    "verify_release": Row("release", "admin"),
    "push_release": Row("release", "admin", 202, {"repository": "team/kitchen"}),
    "list_pushes": Row("release", "admin"),
    "begin_leakage_report": Row("dataset", "admin", 202, {}),
    "begin_leakage_report_against": Row("dataset", "admin", 422),
    "read_leakage_report": Row("dataset with a leakage report", "admin"),
}
PAGES = {
    "releases": ("list_releases", "list_release_kinds", "build_release"),
    "release_count": "count_release",
    "release_leakage": (
        "read_leakage_report",
        "begin_leakage_report",
        "begin_leakage_report_against",
    ),
    "release": ("read_release", "list_downloads"),
    "release_download": "download_release_file",
    "release_zip": "download_release",
    "release_pushes": "list_pushes",
    "release_push": "push_release",
}
