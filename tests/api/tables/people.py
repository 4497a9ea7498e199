from tests.api.tables import Row

OPERATIONS = {
    "list_people": Row("dataset", "admin"),
    "add_person": Row("dataset", "admin", 422, {"username": "nobody"}),
    "read_person": Row("member", "admin"),
    "read_former_person": Row("former member", "admin"),
    "change_person_role": Row("member", "admin", 200, {"role": "reviewer"}),
    "change_person_facts": Row("member", "admin", 200, {"skills": ["law"]}),
    "pause_person": Row("member", "admin", 200, {"reason": "Talk to me."}),
    "resume_person": Row("member", "admin", 409, {"reason": "We talked."}),
    "grant_qualification": Row("member", "admin", 409, {"kind": "try", "reason": "A bad day."}),
    "remove_person": Row("member", "admin", 204),
    "read_time_sheet": Row("dataset", "admin"),
    "read_time_sheet_as_csv": Row("dataset", "admin"),
    "correct_time": Row(
        "dataset", "admin", 422, {"user": 1, "day": "2026-01-01", "seconds": 0, "reason": "Nothing."}
    ),
}
PAGES = {
    "people": ("list_people", "add_person"),
    "person": "read_person",
    "former": "read_former_person",
    "member_change": "change_person_role",
    "member_facts": "change_person_facts",
    "member_pause": "pause_person",
    "member_resume": "resume_person",
    "member_qualify": "grant_qualification",
    "member_remove": "remove_person",
    "time_sheet": ("read_time_sheet", "correct_time"),
    "time_sheet_csv": "read_time_sheet_as_csv",
}
