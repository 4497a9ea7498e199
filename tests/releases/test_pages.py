import base64
import hashlib
import json
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.urls import reverse
from django.utils import timezone

from tests.factories import ComparisonFactory, JudgmentFactory, PromptFactory
from workbench.models import Annotator, Dataset, Decision, Download, Judgment, Release, Run, SavedView, User
from workbench.pipeline import releases as pipeline
from workbench.pipeline.decisions import aggregation
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


def judge(dataset: Dataset, outcome: str = "a") -> None:
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome=outcome)


def begun(dataset: Dataset, by: User) -> Run:
    return pipeline.begin(Release(dataset=dataset, profiles=["preference"]), by)


@pytest.fixture
def ready(dataset):
    judge(dataset)
    judge(dataset, "tie")
    return pipeline.build(Release(dataset=dataset, profiles=["preference"]))


def file_of(release: Release) -> tuple[str, bytes]:
    """(name, content) of the one file of rows."""
    (name,) = (name for name, file in release.manifest["files"].items() if file["rows"])
    return name, Path(default_storage.path(f"{release.folder}/{name}")).read_bytes()


def download(client, release, name, **headers):
    return client.get(reverse("release_download", args=[release.pk, name]), headers=headers)


def test_building_from_the_page_makes_a_run_that_a_worker_turns_into_a_release(
    dataset, alice, as_user, django_capture_on_commit_callbacks, messages
):
    judge(dataset)
    client = as_user(alice)

    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(
            reverse("releases", args=[dataset.pk]), {"profiles": ["aira"], "formats": ["jsonl"]}
        )

    run = Run.objects.get(kind="release", dataset=dataset, created_by=alice)
    assert answer.headers["Location"] == reverse("releases", args=[dataset.pk])
    assert messages == [(tasks.carry_out, run.pk)]
    assert (run.release.state, run.release.number, run.release.profiles) == ("building", 1, ["aira"])
    tasks.carry_out(run.pk)
    run.refresh_from_db()
    assert (run.state, run.result) == ("done", {"number": 1, "rows": 1})
    assert run.release.state == "ready"


def test_the_build_task_run_twice_or_for_a_run_that_is_gone_changes_nothing(dataset, alice):
    judge(dataset)
    run = begun(dataset, alice)
    tasks.carry_out(run.pk)
    judge(dataset)

    tasks.carry_out(run.pk)
    tasks.carry_out(run.pk + 1)

    assert Release.objects.get().rows == 1


def test_a_build_that_cannot_succeed_fails_its_run_with_the_reason_and_the_page_shows_it(
    dataset, alice, as_user
):
    run = begun(dataset, alice)

    tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert run.state == "failed"
    page = as_user(alice).get(reverse("releases", args=[dataset.pk])).content.decode()
    assert "Kitchen has nothing to release yet" in page
    assert reverse("run", args=[run.pk]) in page


def test_a_failed_build_that_is_tried_again_keeps_its_number(dataset, alice):
    run = begun(dataset, alice)
    tasks.carry_out(run.pk)
    judge(dataset)
    run.refresh_from_db()

    assert run.retry()
    tasks.carry_out(run.pk)

    release = Release.objects.get()
    assert (release.number, release.state, release.rows) == (1, "ready", 1)


def order(client, dataset, **form):
    """The number beside the filters."""
    form = {"profiles": ["preference"], "formats": ["jsonl"], **form}
    return client.post(reverse("release_count", args=[dataset.pk]), form).content.decode()


def count(client, dataset, **form):
    """The number once a worker has carried out the Run."""
    order(client, dataset, **form)
    for run in Run.objects.filter(kind="decide", state="waiting"):
        tasks.carry_out(run.pk)
    return order(client, dataset, **form)


TESTED = "how many grams of salt belong into three litres of water for boiling fresh noodles at home"


@pytest.fixture
def reported(dataset, alice, as_user, messages):
    """Sends files of prompts to the leakage page as Alice; their Run when a worker is through with it."""

    def send(*files: tuple[str, str]) -> Run:
        sent = [SimpleUploadedFile(name, content.encode()) for name, content in files]
        as_user(alice).post(reverse("release_leakage", args=[dataset.pk]), {"benchmarks": sent})
        run = Run.objects.filter(kind="leakage", dataset=dataset, created_by=alice).latest("pk")
        tasks.carry_out(run.pk)
        run.refresh_from_db()
        return run

    return send


def test_a_benchmark_sent_to_the_leakage_page_names_prompts_that_the_next_release_can_do_without(
    dataset, alice, as_user, reported
):
    judge(dataset)
    leaked = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"Say, {TESTED}?"}])
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=leaked), outcome="a")
    client = as_user(alice)

    run = reported(("noodles.txt", f"{TESTED}\nanother\n"), ("none.jsonl", '{"prompt": "Why?"}\n'))
    page = client.get(reverse("release_leakage", args=[dataset.pk])).content.decode()
    order = {"profiles": ["preference"], "formats": ["jsonl"], "without_leaked": "on"}
    counted = count(client, dataset, without_leaked="on")
    client.post(reverse("releases", args=[dataset.pk]), order)

    assert run.state == "done"
    assert run.result["groups"] == 1
    assert "noodles.txt" in page
    assert "Say, how many grams" in page
    assert "<b>1</b> of 2" in counted
    assert Release.objects.get().filters == {"without_groups": [leaked.group]}
    assert not [name for name in default_storage.listdir("leakage")[1] if name.startswith("benchmark")]


def test_a_benchmark_that_cannot_be_read_fails_its_run_with_the_line(dataset, reported):
    judge(dataset)

    run = reported(("bad.jsonl", '{"prompt": "x"}\n{"question": "y"}\n'))

    assert run.state == "failed"
    assert run.error.startswith('bad.jsonl, line 2: no column "prompt"')


def test_a_report_that_cannot_be_ordered_leaves_no_file_behind(dataset, reported, monkeypatch):
    """Files of a Run that could not be stored were never deleted."""

    def stored_files() -> list[str]:
        return default_storage.listdir("leakage")[1] if default_storage.exists("leakage") else []

    before = stored_files()
    monkeypatch.setattr(Run, "save", Mock(side_effect=OperationalError("disk full")))

    with pytest.raises(OperationalError):
        reported(("bench.txt", TESTED), ("other.txt", TESTED))

    assert stored_files() == before


def test_a_cancelled_leakage_report_stops(dataset, alice):
    run = Run.objects.create(kind="leakage", dataset=dataset, params={"column": "prompt", "files": []})
    judge(dataset)
    run.cancel()

    tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert (run.state, run.result) == ("cancelled", {})


def test_a_leakage_report_that_is_cancelled_at_its_end_leaves_nothing_but_what_it_was_sent(
    dataset, monkeypatch
):
    judge(dataset)
    run = Run.objects.create(kind="leakage", dataset=dataset, params={"column": "prompt", "files": []})
    finish = Run.finish

    def cancelled_just_before(run: Run, **result):
        Run.objects.filter(pk=run.pk).update(state="cancelled")
        return finish(run, **result)

    monkeypatch.setattr(Run, "finish", cancelled_just_before)
    tasks.carry_out(run.pk)

    assert not default_storage.exists(f"leakage/groups-{run.pk}")


def test_a_long_list_of_files_is_one_click_away_from_the_list(dataset, alice, as_user):
    for _ in range(5):
        judge(dataset)
    client = as_user(alice)
    order = Release(dataset=dataset, profiles=list(pipeline.PROFILES), formats=["jsonl", "parquet"])
    release = pipeline.build(order)

    page = client.get(reverse("releases", args=[dataset.pk])).content.decode()

    assert f"{len(release.manifest['files'])} files" in page
    assert "preference.train.parquet" not in page


def test_the_count_follows_the_filters_as_things_are_decided_now(dataset, alice, as_user):
    judge(dataset)
    judge(dataset, "tie")
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    JudgmentFactory.create_batch(2, comparison=comparison, outcome="b")
    client = as_user(alice)

    assert "<b>2</b> of 2" in count(client, dataset)
    assert "<b>1</b> of 2" in count(client, dataset, min_votes=2)
    assert "calibrated" in count(client, dataset, min_confidence=90)
    assert "Enter a whole number" in count(client, dataset, min_votes="two")


def test_no_request_settles_decisions_and_the_number_says_as_of_when(
    dataset, alice, as_user, messages, django_capture_on_commit_callbacks
):
    client = as_user(alice)
    for _ in range(3):
        judge(dataset)

    with django_capture_on_commit_callbacks(execute=True):
        first, again = order(client, dataset), order(client, dataset)
    untouched = Decision.objects.count()
    ((task, pk),) = messages
    task(pk)
    judge(dataset)
    after = order(client, dataset)

    assert untouched == 0
    assert "<b>" not in first
    assert "hx-trigger" in first
    assert again == first
    assert "<b>3</b> of 3" in after
    assert ", as of " in after
    assert "There are newer votes or labels" in after
    assert "hx-trigger" not in after


def test_what_came_since_is_settled_by_another_run_a_minute_later(dataset, alice, as_user):
    client = as_user(alice)
    judge(dataset)
    assert "<b>1</b> of 1" in count(client, dataset)
    Run.objects.update(created_at=timezone.now() - timedelta(seconds=61))

    order(client, dataset)
    assert Run.objects.filter(kind="decide").count() == 1
    judge(dataset)

    assert "<b>2</b> of 2" in count(client, dataset)
    assert Run.objects.filter(kind="decide").count() == 2


def test_a_settling_that_failed_is_named_and_not_tried_with_each_look(dataset, alice, as_user, monkeypatch):
    client = as_user(alice)
    judge(dataset)
    order(client, dataset)
    monkeypatch.setattr(aggregation, "derive", lambda _: 1 / 0)
    run = Run.objects.get(kind="decide")
    with pytest.raises(ZeroDivisionError):
        tasks.carry_out(run.pk)
    Run.objects.update(created_at=timezone.now() - timedelta(seconds=61))

    page = order(client, dataset)

    assert "could not be counted" in page
    assert reverse("run", args=[run.pk]) in page
    assert Run.objects.filter(kind="decide").count() == 1


def test_days_are_days_in_utc_where_pages_show_another_zone_and_the_form_says_so(
    dataset, alice, as_user, settings
):
    settings.TIME_ZONE = "Pacific/Auckland"
    judge(dataset)
    Judgment.objects.update(created_at=datetime(2026, 7, 1, 11, 30, tzinfo=UTC))  # 23:30 there
    client = as_user(alice)

    page = client.get(reverse("releases", args=[dataset.pk])).content.decode()

    assert "Day of the last vote or label (UTC)" in page
    assert "<b>1</b> of 1" in count(client, dataset, judged_from="2026-07-01", judged_until="2026-07-01")
    assert "<b>0</b> of 1" in count(client, dataset, judged_from="2026-07-02")


def test_formats_and_filters_of_the_form_are_those_of_the_release(dataset, alice, as_user):
    form = {
        "profiles": ["preference"],
        "formats": ["parquet", "csv"],
        "min_votes": 2,
        "judged_from": "2026-05-01",
    }

    client = as_user(alice)
    client.post(reverse("releases", args=[dataset.pk]), form)

    release = Release.objects.get()
    assert (release.profiles, release.formats) == (["preference"], ["parquet", "csv"])
    assert release.filters == {"min_votes": 2, "judged_from": "2026-05-01"}
    page = client.get(reverse("release", args=[release.pk])).content.decode()
    assert "Filters: minimum votes and labels per pair 2; last vote or label from (UTC) 2026-05-01" in page


def test_shares_are_asked_in_per_cent_and_stored_as_commands_take_them(dataset, alice, as_user):
    form = {"purpose": "pairs", "min_agreement": "66.7", "min_confidence": "50", "max_confidence": "90"}

    client = as_user(alice)
    client.post(reverse("releases", args=[dataset.pk]), form)

    release = Release.objects.get()
    assert release.filters == {"min_agreement": 0.667, "min_confidence": 0.5, "max_confidence": 0.9}
    page = client.get(reverse("release", args=[release.pk])).content.decode()
    assert "minimum agreement 66.7 %; minimum model confidence 50 %" in page
    assert "less than or equal to 100" in count(client, dataset, min_agreement="101")


def test_own_and_shared_views_are_offered_and_the_release_keeps_the_selection(dataset, alice, rita, as_user):
    judge(dataset)
    views = [
        SavedView.objects.create(dataset=dataset, name=name, owner=owner, shared=shared, query="votes=1-")
        for name, owner, shared in (("Mine", alice, False), ("Shared", rita, True), ("Hers", rita, False))
    ]
    client = as_user(alice)

    page = client.get(reverse("releases", args=[dataset.pk])).content.decode()
    assert [view.name for view in views if f">{view.name}</option>" in page] == ["Mine", "Shared"]
    assert "Select a valid choice" in count(client, dataset, view=views[2].pk)
    assert "<b>1</b> of 1" in count(client, dataset, view=views[1].pk)
    client.post(reverse("releases", args=[dataset.pk]), {"purpose": "pairs", "view": views[1].pk})

    release = Release.objects.get()
    assert release.filters == {"view": {"name": "Shared", "query": "votes=1-"}}
    page = client.get(reverse("release", args=[release.pk])).content.decode()
    assert "in the saved view Shared (Votes and labels on a pair: 1-)" in page


def test_conversations_as_csv_are_refused_by_the_form(dataset, alice, as_user):
    form = {"profiles": ["preference", "trl-chat"], "formats": ["csv"]}

    page = as_user(alice).post(reverse("releases", args=[dataset.pk]), form).content.decode()

    assert "CSV cannot hold conversations. Choose another format for TRL, conversations." in page
    assert not Release.objects.exists()


def test_a_form_without_a_profile_is_refused(dataset, alice, as_user):
    page = as_user(alice).post(reverse("releases", args=[dataset.pk]), {}).content.decode()

    assert "Choose at least one profile." in page
    assert not Run.objects.exists()


def test_the_list_polls_while_a_run_is_open_and_stops_after(dataset, alice, as_user, ready):
    client, url = as_user(alice), reverse("releases", args=[dataset.pk])
    run = begun(dataset, alice)

    polled = client.get(url, headers={"HX-Request": "true"})
    run.cancel()
    polled_after = client.get(url, headers={"HX-Request": "true"})

    assert (polled.status_code, polled_after.status_code) == (200, 286)
    assert "hx-get" not in client.get(url).content.decode()


def test_the_progress_of_a_release_that_is_done_is_whole(dataset, alice):
    judge(dataset)
    judge(dataset, "tie")
    run = begun(dataset, alice)

    tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert (run.state, run.progress) == ("done", "2 of 2 pairs")


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_takes_the_same_number_of_queries_for_one_release_and_for_three(
    dataset, alice, as_user, django_assert_num_queries, count
):
    judge(dataset)
    for _ in range(count):
        pipeline.build(Release(dataset=dataset, profiles=["preference"], created_by=alice))
        begun(dataset, alice)
    client = as_user(alice)

    with django_assert_num_queries(12):
        page = client.get(reverse("releases", args=[dataset.pk])).content.decode()

    assert page.count("<article") == 2 * count


def test_the_page_of_a_release_says_in_words_what_was_left_out(ready, alice, as_user):
    page = as_user(alice).get(reverse("release", args=[ready.pk])).content.decode()

    assert "The final label is a tie" in page
    assert "1 row: 1 " in page
    assert file_of(ready)[0] in page


def test_a_source_of_imported_labels_is_no_annotator_on_the_page_of_a_release(dataset, alice, as_user):
    judge(dataset)
    source = Annotator.objects.create(source="old.jsonl", external_id="7")
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    JudgmentFactory.create(comparison=pair, annotator=source, stage="imported")
    release = pipeline.build(Release(dataset=dataset, profiles=["preference"]))

    page = as_user(alice).get(reverse("release", args=[release.pk])).content.decode()

    assert "<dt>Annotators</dt><dd>1</dd>" in page
    assert "<dt>Sources of imported labels</dt><dd>1</dd>" in page


@pytest.mark.parametrize("name", ["rita", "bob"])
def test_only_admins_of_the_dataset_see_or_download_releases(dataset, ready, as_user, request, name):
    client = as_user(request.getfixturevalue(name))

    assert client.get(reverse("releases", args=[dataset.pk])).status_code == 403
    assert client.get(reverse("release_leakage", args=[dataset.pk])).status_code == 403
    assert client.get(reverse("release", args=[ready.pk])).status_code == 403
    assert download(client, ready, file_of(ready)[0]).status_code == 403
    assert client.get(reverse("release_zip", args=[ready.pk])).status_code == 403
    assert (
        client.post(
            reverse("releases", args=[dataset.pk]), {"profiles": ["aira"], "formats": ["jsonl"]}
        ).status_code
        == 403
    )
    assert not Download.objects.exists()
    assert not Run.objects.exists()


def test_a_stranger_cannot_tell_a_release_from_none(dataset, ready, charlie, as_user):
    client = as_user(charlie)

    assert client.get(reverse("releases", args=[dataset.pk])).status_code == 404
    assert download(client, ready, file_of(ready)[0]).status_code == 404
    assert client.get(reverse("release_zip", args=[ready.pk])).status_code == 404
    assert client.get(reverse("release", args=[uuid.uuid4()])).status_code == 404


def test_a_download_is_the_file_with_its_sha256_as_an_attachment_that_browsers_do_not_sniff(
    ready, alice, as_user
):
    name, data = file_of(ready)

    answer = download(as_user(alice), ready, name)

    sha256 = hashlib.sha256(data)
    assert b"".join(answer) == data
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["X-Checksum-Sha256"] == sha256.hexdigest()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="kitchen-1-{name}"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer.headers["Cache-Control"]


def test_the_manifest_can_be_downloaded(ready, alice, as_user):
    answer = download(as_user(alice), ready, "manifest.json")

    data = b"".join(answer)
    assert json.loads(data) == ready.manifest
    assert answer.headers["X-Checksum-Sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("byte_range", "part"),
    [
        ("bytes=5-", slice(5, None)),
        ("bytes=0-9", slice(0, 10)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-100000", slice(5, None)),
    ],
)
def test_a_download_can_be_resumed(ready, alice, as_user, byte_range, part):
    name, data = file_of(ready)

    answer = download(as_user(alice), ready, name, range=byte_range)

    first, end, _ = part.indices(len(data))
    assert answer.status_code == 206
    assert b"".join(answer) == data[part]
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(data)}"
    assert Download.objects.get().first_byte == first


@pytest.mark.parametrize("byte_range", ["bytes=100000-", "bytes=9-5", "bytes=-0"])
def test_a_range_that_is_not_in_the_file_is_refused_with_the_files_size(ready, alice, as_user, byte_range):
    name, data = file_of(ready)

    answer = download(as_user(alice), ready, name, range=byte_range)

    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(data)}")


@pytest.mark.parametrize(
    "headers", [{"range": "bytes=0-1,5-6"}, {"range": "bytes=5-", "if-range": '"other"'}]
)
def test_several_ranges_or_a_range_of_another_file_get_the_whole(ready, alice, as_user, headers):
    name, data = file_of(ready)

    answer = download(as_user(alice), ready, name, **headers)

    assert (answer.status_code, b"".join(answer)) == (200, data)


def test_every_download_is_on_record_and_a_head_request_is_none(ready, alice, as_user):
    name, _ = file_of(ready)
    client = as_user(alice)

    client.head(reverse("release_download", args=[ready.pk, name]))
    b"".join(download(client, ready, name))

    assert [(row.release, row.file, row.user, row.first_byte) for row in Download.objects.all()] == [
        (ready, name, alice, 0)
    ]
    assert name in client.get(reverse("release", args=[ready.pk])).content.decode()


@pytest.mark.parametrize("name", ["preference.other.jsonl", "..", "%2e%2e%2fsecret", "releases"])
def test_only_the_files_of_the_manifest_can_be_downloaded(ready, alice, as_user, name):
    Path(default_storage.path(ready.folder), "preference.other.jsonl").write_text("not mine")

    answer = as_user(alice).get(f"/releases/{ready.pk}/files/{name}")

    assert answer.status_code == 404


def test_a_release_that_is_not_ready_has_no_files(dataset, alice, as_user, ready):
    Release.objects.update(state="building")

    assert download(as_user(alice), ready, file_of(ready)[0]).status_code == 404
    assert as_user(alice).get(reverse("release_zip", args=[ready.pk])).status_code == 404


def test_all_files_come_as_one_zip_that_is_the_same_each_time(ready, alice, as_user):
    client, url = as_user(alice), reverse("release_zip", args=[ready.pk])
    assert f'href="{url}"' in client.get(reverse("release", args=[ready.pk])).content.decode()

    answer = client.get(url)

    data = b"".join(answer)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="kitchen-1.zip"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    folder = Path(default_storage.path(ready.folder))
    assert contents == {f"kitchen-1/{path.name}": path.read_bytes() for path in folder.iterdir()}
    assert b"".join(client.get(url)) == data


def test_download_all_in_the_list_gives_the_files_that_can_be_had_one_by_one(
    ready, dataset, alice, rita, bob, charlie, as_user
):
    client, url = as_user(alice), reverse("release_zip", args=[ready.pk])
    assert f'href="{url}"' in client.get(reverse("releases", args=[dataset.pk])).content.decode()

    with zipfile.ZipFile(BytesIO(b"".join(client.get(url)))) as archive:
        contents = {name.removeprefix("kitchen-1/"): archive.read(name) for name in archive.namelist()}

    assert contents.keys() == {*pipeline.names_of(ready.manifest)}
    assert contents == {name: b"".join(download(client, ready, name)) for name in contents}
    others = [as_user(person).get(url).status_code for person in (rita, bob, charlie)]
    assert others == [403, 403, 404]


def test_the_zip_is_on_record_and_a_head_request_is_none(ready, alice, as_user):
    client, url = as_user(alice), reverse("release_zip", args=[ready.pk])

    client.head(url)
    b"".join(client.get(url))

    assert [(row.release, row.file, row.user) for row in Download.objects.all()] == [
        (ready, "kitchen-1.zip", alice)
    ]


def test_a_zip_that_is_given_up_halfway_ends_without_an_error(ready):
    blocks = pipeline.zip_blocks(ready, "kitchen-1")

    assert next(blocks).startswith(b"PK")

    blocks.close()


@pytest.mark.parametrize(
    ("purpose", "profile", "kind"),
    [
        ("pairs", "pairs", "jsonl"),
        ("trl", "trl-chat", "jsonl"),
        ("openrlhf", "openrlhf", "jsonl"),
        ("axolotl", "axolotl", "jsonl"),
        ("llama-factory", "llama-factory", "jsonl"),
        ("reward-model", "aira", "jsonl"),
        ("spreadsheet", "pairs", "csv"),
    ],
)
def test_what_a_release_is_for_picks_its_profile_and_format(dataset, alice, as_user, purpose, profile, kind):
    judge(dataset)

    as_user(alice).post(reverse("releases", args=[dataset.pk]), {"purpose": purpose, "profiles": ["kto"]})

    release = Release.objects.get()
    assert (release.profiles, release.formats) == ([profile], [kind])


def test_the_page_asks_for_what_first_and_begins_with_prompt_preferred_and_rejected(dataset, alice, as_user):
    page = as_user(alice).get(reverse("releases", args=[dataset.pk])).content.decode()

    places = [page.index(f'value="{name}"') for name in [*pipeline.PURPOSES, "other", *pipeline.PROFILES][:8]]
    assert places == sorted(places)
    assert '<input type="radio" name="purpose" value="pairs" id="purpose-pairs" checked>' in page
    assert "JSONL with prompt, preferred and rejected." in page
    assert page.count('name="profiles"') == len(pipeline.PROFILES)


def test_the_csv_for_a_spreadsheet_holds_no_formula(dataset, alice):
    pair = ComparisonFactory.create(
        prompt__dataset=dataset, a__text='=HYPERLINK("http://evil")', b__text="Salt."
    )
    JudgmentFactory.create(comparison=pair, outcome="a")

    release = pipeline.build(Release(dataset=dataset, profiles=["pairs"], formats=["csv"]))

    _, content = file_of(release)
    assert content.startswith(b'"prompt","preferred","rejected"\n')
    assert b"\"'=HYPERLINK(" in content
