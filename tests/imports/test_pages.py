"""The import pages: a file is previewed first and stored once, and bad rows are handed back."""

import errno
import json
import re
from html import unescape
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.urls import reverse
from django.utils import timezone

from tests.corpora import FILES, STRANGE_NAMES, CorpusFile
from tests.corpora.nasty import NASTY
from workbench.models import Comparison, Judgment, Prompt, Run, Upload
from workbench.pipeline import imports
from workbench.worker import tasks

pytestmark = pytest.mark.django_db

ROW = '{"id": "r%d", "prompt": "Question %d?", "chosen": "Good %d.", "rejected": "Bad %d."}\n'
GOOD = "".join(ROW % (n, n, n, n) for n in range(3)).encode()
BAD = GOOD + b'{"id": "r9", "prompt": "p", "chosen": "<b>a</b>"}\n'


@pytest.fixture
def client(as_user, alice, unhurried):
    return as_user(alice)


def send(client, dataset, content: bytes = GOOD, name: str = "rows.jsonl"):
    file = SimpleUploadedFile("placeholder.jsonl", content)
    file._name = name  # as a client may send it: Django's own setter would clean it
    return client.post(reverse("import", args=[dataset.pk]), {"file": file})


def sent(client, dataset, content: bytes = GOOD, name: str = "rows.jsonl") -> Upload:
    assert send(client, dataset, content, name).status_code == 302
    return Upload.objects.latest("created_at")


def page_of(client, upload, **choices) -> str:
    answer = client.get(reverse("import_preview", args=[upload.pk]), choices)
    assert answer.status_code == 200
    return answer.content.decode()


def do_import(client, upload, **choices) -> Run:
    """Press the button, and let a worker carry out the Run."""
    answer = client.post(reverse("import_preview", args=[upload.pk]), choices)
    assert answer.status_code == 302
    run = upload.latest_run
    tasks.carry_out(run.pk)
    run.refresh_from_db()
    return run


def test_a_file_is_looked_at_before_anything_is_stored(client, dataset):
    page = page_of(client, sent(client, dataset))

    assert "prompt, chosen, rejected" in page
    assert "Question 0?" in page
    assert "left is better" in page
    assert not Prompt.objects.exists()
    assert not Run.objects.exists()


@pytest.mark.parametrize("name", imports.SAMPLES)
def test_a_sample_is_previewed_by_one_press_and_could_be_imported(name, client, dataset):
    page = client.get(reverse("import", args=[dataset.pk])).content.decode()
    assert f'<button name="sample" value="{name}">' in page

    answer = client.post(reverse("import", args=[dataset.pk]), {"sample": name}, follow=True)

    upload = dataset.uploads.get()
    assert upload.shown_name == name
    assert answer.context["preview"].title
    assert answer.context["result"].accepted
    assert answer.context["preview"].whole
    assert "What annotators will see" in answer.content.decode()


def test_a_sample_that_is_not_offered_is_told_as_no_file(client, dataset):
    answer = client.post(reverse("import", args=[dataset.pk]), {"sample": "../prompts.jsonl"})

    assert answer.status_code == 400
    assert not Upload.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_pressing_import_stores_the_rows_and_says_what_came_of_it(client, dataset):
    upload = sent(client, dataset)

    run = do_import(client, upload)

    assert (run.state, run.result["comparisons"]) == ("done", 3)
    assert Judgment.objects.count() == 3
    assert "Imported" in page_of(client, upload)


@pytest.mark.django_db(transaction=True)
def test_a_sent_file_is_removed_with_its_refused_rows_and_what_was_imported_stays(client, dataset):
    upload = sent(client, dataset, BAD)
    run = do_import(client, upload, lenient="on")
    paths = [upload.path, imports.rejects_path(run)]
    assert all(map(default_storage.exists, paths))

    page = client.post(reverse("import_remove", args=[upload.pk]), follow=True).content.decode()

    run.refresh_from_db()
    assert "rows.jsonl is removed. What was imported from it stays." in page
    assert reverse("import_preview", args=[upload.pk]) not in page
    assert not any(map(default_storage.exists, paths))
    assert (run.state, run.upload, Prompt.objects.count()) == ("done", None, 3)
    assert client.get(reverse("run", args=[run.pk])).status_code == 200


def test_a_file_that_a_run_reads_is_not_removed(client, dataset):
    upload = sent(client, dataset)
    client.post(reverse("import_preview", args=[upload.pk]), {})

    page = client.post(reverse("import_remove", args=[upload.pk]), follow=True).content.decode()

    assert "rows.jsonl is being read by Run" in page
    assert default_storage.exists(upload.path)
    assert Upload.objects.filter(pk=upload.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_the_same_file_again_adds_nothing_and_the_page_says_so(client, dataset):
    do_import(client, sent(client, dataset))
    again = sent(client, dataset)
    assert "Rows already imported" in page_of(client, again)

    run = do_import(client, again)

    assert run.result["already_there"] == run.result["rows"] == 3
    assert Prompt.objects.count() == 3
    assert "all rows were imported before" in page_of(client, again)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("full", ["storage", "database"])
def test_an_upload_on_a_full_disk_leaves_no_stray_file_behind(full, client, dataset, monkeypatch):
    """The part that was written stayed in uploads/, with no row that led to it."""

    def half_written(path, file, max_length=None):
        Path(default_storage.path(path)).parent.mkdir(exist_ok=True)
        Path(default_storage.path(path)).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    def stored_files() -> set[str]:
        return set(default_storage.listdir("uploads")[1]) if default_storage.exists("uploads") else set()

    before = stored_files()
    if full == "storage":
        monkeypatch.setattr(default_storage, "save", half_written)
    else:
        monkeypatch.setattr(Upload.objects, "create", Mock(side_effect=OperationalError("disk full")))

    with pytest.raises((OSError, OperationalError)):
        send(client, dataset)

    assert stored_files() == before
    assert not Upload.objects.exists()


def test_a_strict_import_of_a_bad_file_stores_nothing_and_shows_the_line(client, dataset):
    upload = sent(client, dataset, BAD)

    run = do_import(client, upload)

    page = page_of(client, upload)
    assert run.state == "failed"
    assert not Prompt.objects.exists()
    assert 'the column "rejected" is missing' in unescape(page)
    assert "<b>a</b>" not in page


@pytest.mark.django_db(transaction=True)
def test_a_lenient_import_hands_the_bad_rows_back_as_a_file(client, dataset):
    upload = sent(client, dataset, BAD)

    run = do_import(client, upload, lenient="on")

    answer = client.get(reverse("import_rejects", args=[upload.pk, run.pk]))
    refused = json.loads(b"".join(answer.streaming_content))
    assert (run.state, Prompt.objects.count()) == ("done", 3)
    assert (refused["line"], refused["code"]) == (4, "missing")
    assert json.loads(refused["row"])["chosen"] == "<b>a</b>"
    assert answer["Content-Disposition"].startswith("attachment")


@pytest.mark.django_db(transaction=True)
def test_checking_the_whole_file_stores_nothing_of_it(client, dataset):
    run = do_import(client, sent(client, dataset), check="1")

    assert (run.state, run.result["prompts"], run.result["dry_run"]) == ("done", 3, True)
    assert not Prompt.objects.exists()


def test_a_button_that_is_pressed_twice_imports_once(client, dataset):
    upload = sent(client, dataset)

    for _ in range(2):
        client.post(reverse("import_preview", args=[upload.pk]))

    assert Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_cancelled_stores_nothing(client, dataset):
    upload = sent(client, dataset)
    client.post(reverse("import_preview", args=[upload.pk]))
    client.post(reverse("run_cancel", args=[upload.latest_run.pk]))

    tasks.carry_out(upload.latest_run.pk)

    assert not Prompt.objects.exists()
    assert "Nothing was imported" in page_of(client, upload)


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_cancelled_while_its_rows_are_stored_stores_nothing(client, dataset, monkeypatch):
    upload = sent(client, dataset)
    client.post(reverse("import_preview", args=[upload.pk]))
    run = upload.latest_run
    finish = Run.finish

    def cancelled_just_before(run: Run, **result):
        Run.objects.filter(pk=run.pk).update(state="cancelled")
        return finish(run, **result)

    monkeypatch.setattr(Run, "finish", cancelled_just_before)
    tasks.carry_out(run.pk)

    assert not Prompt.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("taken", [True, False], ids=["by another worker", "back"])
def test_an_import_that_is_cancelled_at_its_end_leaves_no_file_of_refused_rows(
    taken, dry_run, client, dataset, monkeypatch
):
    """Unless another worker has the Run by now: then the file may be that worker's."""
    upload = sent(client, dataset, BAD)
    choices = {"lenient": "on"} | ({"check": "on"} if dry_run else {})
    client.post(reverse("import_preview", args=[upload.pk]), choices)
    run = upload.latest_run
    finish = Run.finish

    def too_late(run: Run, **result):
        changes = {"started_at": timezone.now()} if taken else {"state": "cancelled"}
        Run.objects.filter(pk=run.pk).update(**changes)
        return finish(run, **result)

    monkeypatch.setattr(Run, "finish", too_late)
    # As on PostgreSQL, where the other's change is not undone with the import's.
    monkeypatch.setattr("workbench.pipeline.imports.run.is_called_off", lambda run: not taken)
    tasks.carry_out(run.pk)

    assert default_storage.exists(imports.rejects_path(run)) == taken
    assert default_storage.exists(upload.path)  # it can be imported all the same


@pytest.mark.django_db(transaction=True)
def test_a_message_that_comes_twice_or_late_does_nothing(client, dataset):
    run = do_import(client, sent(client, dataset))

    tasks.carry_out(run.pk)
    tasks.carry_out(run.pk + 1000)

    assert Prompt.objects.count() == 3


def test_the_choices_of_the_form_change_what_the_preview_counts(client, dataset):
    row = {"prompt": "p", "completions": [{"text": t, "rank": i} for i, t in enumerate("abc")]}
    upload = sent(client, dataset, json.dumps(row).encode())

    every, outer = page_of(client, upload), page_of(client, upload, pairs="best-worst")

    assert "2 more pairs" in every
    assert "2 more pair" not in outer


def mapped(**uses: str) -> dict[str, str]:
    """What the drop-downs of the page send, column by column."""
    return {"mapped": "1", **{f"use:{column}": use for column, use in uses.items()}}


def choices_of(page: str) -> dict[str, str]:
    """The chosen use of each column, by the text of its label."""
    labels = dict(re.findall(r'<label for="(id_use_\d+)">(.*?)</label>', page))
    selects = re.findall(r'<select name="use:.*?" id="(id_use_\d+)".*?>(.*?)</select>', page, re.DOTALL)
    chosen = {pk: re.findall(r'<option value="(\w*)" selected', options) for pk, options in selects}
    return {unescape(labels[pk]): uses[0] for pk, uses in chosen.items()}


@pytest.mark.django_db(transaction=True)
def test_a_table_of_no_known_shape_goes_in_by_its_columns_and_the_next_by_itself(client, dataset):
    table = b"Frage,gut,schlecht\nNenne einen Vogel.,Zaunk\xc3\xb6nig,Fledermaus\n"
    uses = mapped(Frage="prompt", gut="chosen", schlecht="rejected")
    upload = sent(client, dataset, table, "umfrage.csv")
    first = page_of(client, upload)
    assert "Format not recognised" in first
    assert choices_of(first) == {"Frage": "", "gut": "", "schlecht": ""}
    assert '<td dir="auto">Fledermaus</td>' in first
    shown = client.post(reverse("import_preview", args=[upload.pk]), uses | {"preview": "1"}).content.decode()
    assert "left is better" in shown
    assert choices_of(shown) == {"Frage": "prompt", "gut": "chosen", "schlecht": "rejected"}
    assert not Run.objects.exists()

    run = do_import(client, upload, **uses)
    more = page_of(client, sent(client, dataset, table.replace(b"Vogel", b"Baum"), "mehr.csv"))

    assert (run.state, run.result["comparisons"]) == ("done", 1)
    assert "named columns: prompt = Frage" in more
    assert "remembers these choices from an earlier table" in more
    assert choices_of(more) == {"Frage": "prompt", "gut": "chosen", "schlecht": "rejected"}


GUESSED = b"Query;chosen_response;Rejected Response;topic\nWhy?;Rain.;Sun.;weather\n"


@pytest.mark.django_db(transaction=True)
def test_names_that_say_what_a_column_is_fill_the_drop_downs_and_the_preview(client, dataset):
    upload = sent(client, dataset, GUESSED, "survey.csv")

    page = page_of(client, upload)
    guess = choices_of(page)
    run = do_import(client, upload, **mapped(**guess))

    assert guess == {
        "Query": "prompt",
        "chosen_response": "chosen",
        "Rejected Response": "rejected",
        "topic": "",
    }
    assert "Read as columns separated by semicolons." in page
    assert "guessed by the names" in page
    assert "Label: left is better" in page
    assert "Did you mean" not in page
    assert run.result["comparisons"] == 1


def test_a_name_that_is_only_similar_asks_did_you_mean(client, dataset):
    page = page_of(client, sent(client, dataset, GUESSED.replace(b"Query", b"Qestion"), "survey.csv"))

    assert choices_of(page)["Qestion"] == "prompt"
    assert page.count("Did you mean") == 1
    assert 'aria-describedby="doubt_0"' in page
    assert 'id="doubt_0">Did you mean “Prompt”?' in page


def test_two_columns_of_one_use_are_refused_by_their_names(client, dataset):
    upload = sent(client, dataset, GUESSED, "survey.csv")
    uses = mapped(Query="prompt", topic="prompt", chosen_response="chosen")

    answer = client.post(reverse("import_preview", args=[upload.pk]), uses)

    assert answer.status_code == 400
    assert "The columns “Query” and “topic” have the same use: Prompt." in answer.content.decode()
    assert not Run.objects.exists()


def test_a_column_that_the_file_does_not_have_is_named(client, dataset):
    upload = sent(client, dataset, GUESSED, "survey.csv")

    page = page_of(client, upload, **mapped(Querys="prompt", topic="completion"))

    assert "no column &quot;Querys&quot; for prompt" in page
    assert "did you mean &quot;Query&quot;?" in page


def test_a_known_format_shows_drop_downs_only_to_those_who_ask(client, dataset):
    upload = sent(client, dataset)
    url = reverse("import_preview", args=[upload.pk])

    asked = page_of(client, upload, format="columns")
    pressed = client.post(url, {"format": "columns"})
    emptied = client.post(url, {"format": "columns", "mapped": "1", "use:prompt": ""})

    assert choices_of(page_of(client, upload)) == {}
    guess = {"id": "id", "prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    assert choices_of(asked) == choices_of(pressed.content.decode()) == guess
    assert "Choose the column of the prompt" in emptied.content.decode()
    assert emptied.status_code == 400
    assert not Run.objects.exists()


def test_a_known_format_that_is_chosen_wins_over_the_drop_downs(client, dataset):
    upload = sent(client, dataset)

    page = page_of(client, upload, format="preference", **mapped(prompt="prompt", chosen="completion"))

    assert choices_of(page) == {}
    assert "named columns" not in page


@pytest.mark.django_db(transaction=True)
def test_what_a_label_column_says_is_mapped_beside_it_and_remembered(client, dataset):
    table = b"prompt|Answer A|Answer B|winner\nWhy?|Rain.|Sun.|links\nWho?|Me.|You.|rechts\n"
    upload = sent(client, dataset, table, "votes.csv")
    page = page_of(client, upload)
    uses = mapped(**choices_of(page)) | {"says_a": "links", "says_b": "rechts"}

    run = do_import(client, upload, **uses)
    more = page_of(client, sent(client, dataset, table.replace(b"Why", b"When"), "more.csv"))

    assert "The first rows say: <code>links</code>, <code>rechts</code>" in page
    assert "winner should be one of a, b, tie, both_bad" in page
    assert (run.state, run.result["judgments"]) == ("done", 2)
    assert 'name="says_b" value="rechts"' in more


def test_a_path_into_an_object_and_a_column_of_two_uses_keep_their_drop_downs(client, dataset):
    row = {"q": {"text": "Why?", "n": 1}, "answers": ["Rain.", "Sun."], "key": "k1"}
    upload = sent(client, dataset, json.dumps(row).encode())
    uses = {"mapped": "1", "use:q.text": "prompt", "use:answers.0": "a", "use:answers.1": "b"}

    page = page_of(client, upload, **uses | {"use:key": ["id", "prompt_id"]})

    assert choices_of(page) | {"q": "", "q.n": ""} == choices_of(page)
    assert [page.count(f'name="use:{path}"') for path in ("q.text", "answers.1", "key")] == [1, 1, 2]
    assert "Label: " not in page
    assert "No label." in page


def test_a_wide_table_is_mapped_with_a_bounded_number_of_drop_downs(client, dataset):
    row = {"prompt": "p", **{f"column {n}": n for n in range(900)}}

    page = page_of(client, sent(client, dataset, json.dumps(row).encode()))

    assert len(choices_of(page)) == 200


def test_a_choice_that_is_not_offered_is_refused(client, dataset):
    answer = client.post(reverse("import_preview", args=[sent(client, dataset).pk]), {"pairs": "none"})

    assert answer.status_code == 400
    assert not Run.objects.exists()


def test_no_file_is_told_as_such(client, dataset):
    answer = client.post(reverse("import", args=[dataset.pk]))

    assert answer.status_code == 400
    assert "Choose a file first" in answer.content.decode()


def test_a_file_over_the_limit_is_refused_before_it_is_kept(client, dataset, settings):
    settings.UPLOAD_MAX_BYTES = 100

    answer = send(client, dataset)

    assert answer.status_code in {400, 413}
    assert not Upload.objects.exists()


@pytest.mark.portable
@pytest.mark.parametrize("name", STRANGE_NAMES, ids=range(len(STRANGE_NAMES)))
def test_a_strange_name_is_only_ever_shown(name, client, dataset):
    answer = send(client, dataset, name=name)

    assert answer.status_code in {302, 400}
    page = client.get(answer["Location"]).content.decode() if answer.status_code == 302 else ""
    for upload in Upload.objects.all():
        assert upload.path == f"uploads/{upload.pk}"
        assert default_storage.exists(upload.path)
        assert upload.shown_name.isprintable()
        assert len(upload.shown_name) <= 100
        assert upload.shown_name.lower().strip().endswith(".jsonl")
    assert "<img" not in page.replace('<img src="/static', "")
    assert not {"\0", "\u202e"} & set(page + answer.content.decode())


@pytest.mark.portable
@pytest.mark.parametrize(
    "files", [FILES, pytest.param(NASTY, marks=pytest.mark.real_data("nasty"))], ids=["corpora", "nasty"]
)
@pytest.mark.django_db(transaction=True)
def test_every_broken_file_does_by_page_what_its_table_says(files, client, dataset):
    """One test for all, as a test that commits takes a second to clean up after."""
    wrong = [file.name for file in files if not as_the_table_says(client, dataset, file)]

    assert wrong == []


def as_the_table_says(client, dataset, file: CorpusFile) -> bool:
    Comparison.objects.all().delete()
    Prompt.objects.all().delete()
    upload = sent(client, dataset, file.content(), file.name)
    page = page_of(client, upload)
    run = do_import(client, upload)
    if run.state == "done":
        return run.result["rows"] == file.rows
    words = f"{unescape(page)}{run.result['problems']}"
    lenient = do_import(client, upload, lenient="on")
    good, bad = file.lenient or (0, None)
    return (
        file.rows is None
        and file.says.lower() in words.lower()
        and (lenient.state == "failed") == (file.lenient is None)
        and lenient.result["rows"] == good
        and (bad is None or tuple(p["line"] for p in lenient.result["problems"]) == bad)
        and page_of(client, upload) != ""
    )


def test_the_preview_lists_what_each_column_becomes_and_in_how_many_rows_it_held_something(client, dataset):
    rows = [{"prompt": f"p{n}", "chosen": "good", "rejected": "bad", "topic": "x" * n} for n in range(3)]

    upload = sent(client, dataset, "\n".join(map(json.dumps, rows)).encode())
    page = client.get(reverse("import_preview", args=[upload.pk])).content.decode()

    assert "How columns are used" in page
    assert '<th scope="row">chosen</th><td>better answer</td><td>3</td>' in page
    assert '<th scope="row">topic</th><td>metadata</td><td>2</td>' in page


@pytest.mark.django_db(transaction=True)
def test_empty_completions_are_counted_before_and_after_the_import(client, dataset):
    upload = sent(client, dataset, b'{"prompt": "p", "chosen": "c", "rejected": " "}\n')

    assert "Empty answers" in page_of(client, upload)
    assert do_import(client, upload).result["empty_completions"] == 1

    assert "Empty answers" in client.get(reverse("import_preview", args=[upload.pk])).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_finished_import_leads_to_the_prompts_with_an_empty_answer(client, dataset):
    rows = [("empty", "\u2003\n"), ("full", "r"), ("zero-width", "\u200b")]
    lines = (json.dumps({"prompt": f"asked-{name}", "chosen": "c", "rejected": text}) for name, text in rows)
    upload = sent(client, dataset, "\n".join(lines).encode())
    shown = reverse("data", args=[dataset.pk]) + "?empty=1"

    assert shown not in page_of(client, upload)
    do_import(client, upload)

    assert shown in client.get(reverse("import_preview", args=[upload.pk])).content.decode()
    html = client.get(shown).content.decode()
    assert "asked-empty" in html
    assert "asked-full" not in html
    assert "asked-zero-width" not in html


@pytest.mark.django_db(transaction=True)
def test_a_finished_import_shows_what_it_added_and_no_preview_of_what_is_not_stored(client, dataset):
    upload = sent(client, dataset)
    page = reverse("import_preview", args=[upload.pk])
    assert "Nothing is imported yet" in client.get(page).content.decode()

    assert do_import(client, upload).state == "done"

    html = client.get(page).content.decode()
    assert "Nothing is imported yet" not in html
    assert "Import another file" in html


# An export of another tool


def of_label_studio(number: int = 1) -> bytes:
    """A task with two questions of choices: the second is the vote."""
    results = [
        {"from_name": name, "to_name": "prompt", "type": "choices", "value": {"choices": [word]}}
        for name, word in (("style", "left"), ("manner", "right"))
    ]
    task = {
        "id": number,
        "data": {"question": f"Name prime {number}.", "answer1": "Nine.", "answer2": "Seven."},
        "annotations": [{"id": number, "completed_by": 7, "was_cancelled": False, "result": results}],
    }
    return json.dumps([task]).encode()


def test_the_questions_of_an_export_have_drop_downs_with_the_uses_that_the_format_takes(client, dataset):
    upload = sent(client, dataset, of_label_studio(), "export.json")

    page = page_of(client, upload, format="columns")

    assert choices_of(page) == {
        "data.question": "prompt", "data.answer1": "a", "data.answer2": "b",
        "annotations.style": "", "annotations.manner": "",
    }  # fmt: skip
    assert "Which of A and B is better" in page
    assert "Rank of the answer" not in page


@pytest.mark.django_db(transaction=True)
def test_a_question_that_a_drop_down_names_decides_the_votes_of_this_export_and_the_next(client, dataset):
    upload = sent(client, dataset, of_label_studio(), "export.json")
    assert "Label: left is better" in page_of(client, upload)
    uses = {
        "data.question": "prompt", "data.answer1": "a", "data.answer2": "b",
        "annotations.manner": "outcome",
    }  # fmt: skip

    run = do_import(client, upload, **mapped(**uses))

    judgment = Judgment.objects.get()
    assert (run.state, run.result["format"]) == ("done", "label-studio")
    assert {judgment.comparison.a.text: "a", judgment.comparison.b.text: "b"}["Seven."] == judgment.outcome
    assert "Label: right is better" in page_of(client, sent(client, dataset, of_label_studio(2), "next.json"))


def test_a_column_is_shown_as_the_file_writes_it(client, dataset):
    upload = sent(client, dataset, b"Question,Response A,Response B\nName a prime.,Seven.,Nine.\n", "t.csv")

    page = page_of(client, upload)

    assert choices_of(page) == {"Question": "prompt", "Response A": "a", "Response B": "b"}
    assert '<th scope="row">Question</th>' in page
