"""The surface of the client reaches each operation of the API, or leaves it out for a reason."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from preference_workbench import Workbench
from preference_workbench.data import Act
from preference_workbench.webhooks import Webhook

from tests.api.test_reference import samples
from tests.client.failing import Answer, Asked, Failing, failing
from workbench.api.document import document

WITHOUT = {
    "list_samples": "samples are for a first look at the Import page; a program has rows of its own",
    "upload_sample": "as list_samples",
    "undo_pairs": "Act.undo takes back an act that made pairs as well",
    "stream_history": "history reads the same rows page by page, and leaves no row of a download",
    "stream_dataset_history": "as stream_history",
    "download_release": "Release.download gets the same files, checks each and goes on where it broke off",
}
"""Operations without a surface, and why."""

NO_BYTES = hashlib.sha256(b"").hexdigest()
ANSWERS: dict[str, dict[str, object]] = {
    "read_qualification": {"state": "due"},
    "read_release": {
        "manifest": {
            "files": {"a.jsonl": {"profile": "preference", "bytes": 0, "sha256": NO_BYTES}},
            "profiles": {},
        }
    },
}
"""Parts of an answer that a method looks at before it goes on."""


def dataset(wb: Workbench) -> Any:
    return wb.datasets[1]


def release(wb: Workbench) -> Any:
    return dataset(wb).releases[1]


def act(wb: Workbench) -> Act:
    return next(dataset(wb).data.acts())


def webhook(wb: Workbench) -> Webhook:
    return dataset(wb).webhooks[1]


CALLS: dict[str, Callable[[Workbench], object]] = {
    "list_datasets": lambda wb: next(iter(wb.datasets)),
    "create_dataset": lambda wb: wb.datasets.create("New"),
    "read_dataset": dataset,
    "read_settings": lambda wb: dataset(wb).settings,
    "change_settings": lambda wb: dataset(wb).settings.update(overlap=2),
    "read_guidelines": lambda wb: dataset(wb).guidelines,
    "revise_guidelines": lambda wb: dataset(wb).revise_guidelines("Prefer what is true."),
    "clone_dataset": lambda wb: dataset(wb).clone("Copy"),
    "archive_dataset": lambda wb: dataset(wb).archive(),
    "bring_back_dataset": lambda wb: dataset(wb).bring_back(),
    "delete_dataset": lambda wb: dataset(wb).delete("abc"),
    "list_runs": lambda wb: next(iter(dataset(wb).runs)),
    "read_run": lambda wb: wb.run(1),
    "cancel_run": lambda wb: wb.run(1).cancel(),
    "retry_run": lambda wb: wb.run(1).retry(),
    "download_refused_rows": lambda wb: list(wb.run(1).refused_rows()),
    # The account, and the installation.
    "read_account": lambda wb: wb.me,
    "change_account": lambda wb: wb.me.update(languages=["pl"]),
    "read_own_data": lambda wb: wb.me.data(),
    "read_own_hours": lambda wb: wb.me.hours(),
    "read_system": lambda wb: wb.system(),
    "list_hosts": lambda wb: next(iter(wb.hosts)),
    "allow_host": lambda wb: wb.hosts.allow("huggingface.co"),
    "remove_host": lambda wb: wb.hosts.remove(1),
    "list_tokens": lambda wb: next(iter(wb.tokens)),
    "revoke_token": lambda wb: wb.tokens.revoke(1),
    "list_dataset_tokens": lambda wb: next(iter(dataset(wb).tokens)),
    "revoke_dataset_token": lambda wb: dataset(wb).tokens.revoke(1),
    "list_history": lambda wb: next(wb.history()),
    "list_dataset_history": lambda wb: next(dataset(wb).history()),
    # People.
    "list_people": lambda wb: next(iter(dataset(wb).people)),
    "add_person": lambda wb: dataset(wb).people.add("bob"),
    "read_person": lambda wb: dataset(wb).people[1],
    "remove_person": lambda wb: dataset(wb).people.remove(1),
    "read_former_person": lambda wb: dataset(wb).people.former(1),
    "change_person_role": lambda wb: dataset(wb).people.change_role(1, "reviewer"),
    "change_person_facts": lambda wb: dataset(wb).people.change_facts(1, skills=["law"]),
    "pause_person": lambda wb: dataset(wb).people.pause(1, "Talk to me."),
    "resume_person": lambda wb: dataset(wb).people.resume(1, "We talked."),
    "grant_qualification": lambda wb: dataset(wb).people.grant(1, "try", "A bad day."),
    "read_time_sheet": lambda wb: dataset(wb).people.time(),
    "correct_time": lambda wb: dataset(wb).people.correct_time(1, "2026-11-29", 600, "A call."),
    "read_time_sheet_as_csv": lambda wb: dataset(wb).people.save_time("time.csv"),
    "list_invitations": lambda wb: next(iter(dataset(wb).invitations)),
    "create_invitation_link": lambda wb: dataset(wb).invitations.link(),
    "invite_by_mail": lambda wb: dataset(wb).invitations.mail(["bob@example.org"]),
    "resend_invitation": lambda wb: dataset(wb).invitations.resend(1),
    "revoke_invitation": lambda wb: dataset(wb).invitations.revoke(1),
    # Rows in.
    "upload_file": lambda wb: dataset(wb).uploads.send("rows.jsonl"),
    "list_uploads": lambda wb: next(iter(dataset(wb).uploads)),
    "push_rows": lambda wb: dataset(wb).push([{"prompt": "Why?", "chosen": "So.", "rejected": "No."}]),
    "read_upload": lambda wb: dataset(wb).uploads["1"],
    "delete_upload": lambda wb: dataset(wb).uploads["1"].delete(),
    "preview_upload": lambda wb: dataset(wb).uploads["1"].preview(),
    "import_upload": lambda wb: dataset(wb).uploads["1"].load(),
    "fetch_from_hub": lambda wb: dataset(wb).uploads.fetch("owner/name", "train"),
    # Data.
    "find_prompts": lambda wb: dataset(wb).data.find("q=salt"),
    "count_facets": lambda wb: dataset(wb).data.facets(),
    "list_views": lambda wb: next(iter(dataset(wb).data.views)),
    "save_view": lambda wb: dataset(wb).data.views.save("Salt", "q=salt"),
    "delete_view": lambda wb: next(iter(dataset(wb).data.views)).delete(),
    "preview_act": lambda wb: dataset(wb).data.preview("tag", query="", tag="odd"),
    "act_on_prompts": lambda wb: dataset(wb).data.act("tag", query="", tag="odd"),
    "list_acts": act,
    "undo_act": lambda wb: act(wb).undo(),
    "preview_pairs": lambda wb: dataset(wb).data.preview_pairs(number=1),
    "make_pairs": lambda wb: dataset(wb).data.make_pairs(number=1),
    "find_similar": lambda wb: dataset(wb).data.similar(prompt=1),
    "list_topics": lambda wb: dataset(wb).data.topics(),
    "renew_topics": lambda wb: dataset(wb).data.renew_topics(),
    "list_groups": lambda wb: next(dataset(wb).data.groups()),
    "list_tags": lambda wb: dataset(wb).data.tags(),
    "read_prompt": lambda wb: dataset(wb).data.prompt(1),
    # Rows out.
    "list_prompts": lambda wb: list(dataset(wb).prompts()),
    "list_completions": lambda wb: list(dataset(wb).completions()),
    "list_comparisons": lambda wb: list(dataset(wb).comparisons()),
    "list_scores": lambda wb: list(dataset(wb).scores(1)),
    "list_suggestions": lambda wb: list(dataset(wb).suggestions(1)),
    "list_votes": lambda wb: list(dataset(wb).judgments()),
    "list_labels": lambda wb: list(dataset(wb).decisions()),
    "list_flags": lambda wb: list(dataset(wb).flags()),
    # Voting.
    "claim_pair": lambda wb: next(dataset(wb).annotate()),
    "judge_pair": lambda wb: next(dataset(wb).annotate()).vote("left"),
    "skip_pair": lambda wb: next(dataset(wb).annotate()).skip(),
    "flag_pair": lambda wb: next(dataset(wb).annotate()).flag("broken"),
    "hold_pairs": lambda wb: next(dataset(wb).annotate()).hold(),
    "reopen_pair": lambda wb: dataset(wb).undo(),
    "read_progress": lambda wb: dataset(wb).own_progress(),
    "read_examples": lambda wb: dataset(wb).read_examples(),
    "list_questions": lambda wb: list(dataset(wb).own_questions()),
    "read_qualification": lambda wb: dataset(wb).qualification.standing(),
    "start_qualification": lambda wb: next(iter(dataset(wb).qualification)),
    "answer_qualification": lambda wb: next(iter(dataset(wb).qualification)).answer("left"),
    # Review.
    "list_cases": lambda wb: next(dataset(wb).review.rows()),
    "count_cases": lambda wb: dataset(wb).review.counts(),
    "read_case": lambda wb: dataset(wb).review[1],
    "settle_case": lambda wb: dataset(wb).review[1].settle("a", "slip"),
    "unsettle_case": lambda wb: dataset(wb).review[1].unsettle(1),
    "set_gold": lambda wb: dataset(wb).review[1].gold("a"),
    "list_gaps": lambda wb: next(dataset(wb).review.gaps()),
    "reply_to_annotator": lambda wb: dataset(wb).review[1].reply(1, "Thanks."),
    "undo_reply": lambda wb: dataset(wb).review[1].undo_reply(1),
    "make_example": lambda wb: dataset(wb).review[1].make_example("The left one is true."),
    "undo_example": lambda wb: dataset(wb).review[1].undo_example(1),
    # Figures.
    "read_statistics": lambda wb: dataset(wb).statistics(),
    "read_quality": lambda wb: dataset(wb).quality(),
    "read_quality_table": lambda wb: dataset(wb).quality_table("agreement"),
    "read_sources": lambda wb: dataset(wb).sources(),
    "read_source_table": lambda wb: dataset(wb).source_table(),
    # Releases.
    "list_release_kinds": lambda wb: dataset(wb).releases.kinds(),
    "count_release": lambda wb: dataset(wb).releases.count("preference"),
    "build_release": lambda wb: dataset(wb).releases.build("preference"),
    "list_releases": lambda wb: next(iter(dataset(wb).releases)),
    "read_release": release,
    "download_release_file": lambda wb: release(wb).download("files"),
    "list_downloads": lambda wb: next(release(wb).downloads()),
    "diff_releases": lambda wb: release(wb).changes_since(release(wb)),
    "verify_release": lambda wb: release(wb).check(),
    "push_release": lambda wb: release(wb).push("owner/name"),
    "list_pushes": lambda wb: release(wb).pushes(),
    "begin_leakage_report": lambda wb: dataset(wb).find_leakage(),
    "begin_leakage_report_against": lambda wb: dataset(wb).find_leakage("rows.jsonl", column="prompt"),
    "read_leakage_report": lambda wb: dataset(wb).leakage(),
    # Models.
    "list_models": lambda wb: next(iter(wb.models)),
    "read_model": lambda wb: wb.models[1].in_full(),
    "add_model": lambda wb: wb.models.add(repository="owner/name"),
    "register_model": lambda wb: wb.models.register("Mine", "model"),
    "register_trained_model": lambda wb: wb.models.register("Mine", "model", release=release(wb)),
    "register_external_model": lambda wb: wb.models.external("Judge", "3f9a1c77d0"),
    "change_model": lambda wb: wb.models[1].rename("Ours"),
    "delete_model": lambda wb: wb.models[1].delete(),
    "calibrate_model": lambda wb: wb.models[1].calibrate(),
    "activate_model": lambda wb: wb.models[1].activate(),
    "roll_back_model": lambda wb: wb.models.roll_back(),
    "retire_model": lambda wb: wb.models[1].retire(),
    "list_promotions": lambda wb: next(wb.models.promotions()),
    "push_scores": lambda wb: wb.models[1].push_scores([(1, 0.5)]),
    "list_unscored": lambda wb: list(wb.models[1].unscored(dataset(wb))),
    "list_dataset_models": lambda wb: dataset(wb).models.measured(),
    "read_dataset_model": lambda wb: dataset(wb).models.in_full(wb.models[1]),
    "compare_models": lambda wb: dataset(wb).models.compare(wb.models[1], wb.models[1]),
    "evaluate_model": lambda wb: wb.models[1].evaluate(dataset(wb)),
    "train_model": lambda wb: dataset(wb).models.train(release(wb), wb.models[1]),
    "read_training_outlook": lambda wb: release(wb).training_outlook(),
    "promote_model": lambda wb: dataset(wb).promote(wb.models[1]),
    # Webhooks.
    "list_webhooks": lambda wb: next(iter(dataset(wb).webhooks)),
    "add_webhook": lambda wb: dataset(wb).webhooks.add("https://hooks.example.org/", ["release.ready"]),
    "read_webhook": webhook,
    "change_webhook": lambda wb: webhook(wb).pause(),
    "delete_webhook": lambda wb: webhook(wb).delete(),
    "rotate_webhook_secret": lambda wb: webhook(wb).rotate(),
    "test_webhook": lambda wb: webhook(wb).test(),
    "list_deliveries": lambda wb: next(webhook(wb).deliveries()),
    "replay_deliveries": lambda wb: webhook(wb).replay(),
}
"""Operation -> what a program writes to use it."""


class OfDocument:
    """Answers each request with a sample of what the document of the API says, and names its operation."""

    def __init__(self) -> None:
        written = document()
        self.shapes = written["components"]["schemas"]
        self.operations = [
            (method.upper(), re.compile(re.sub(r"{\w+}", "[^/]+", path)), operation)
            for path, methods in sorted(written["paths"].items(), key=lambda of: of[0].count("{"))
            for method, operation in methods.items()
        ]
        self.ids = {operation["operationId"] for _, _, operation in self.operations}

    def of(self, asked: Asked) -> dict[str, Any]:
        """Addresses without a part that varies come first: /runs/{pk} is not /releases/kinds."""
        path = asked.path.partition("?")[0]
        return next(
            operation
            for method, address, operation in self.operations
            if method == asked.method and address.fullmatch(path)
        )

    def answer(self, asked: Asked) -> Answer:
        operation = self.of(asked)
        status, said = next(one for one in operation["responses"].items() if one[0].startswith("2"))
        schema = said.get("content", {}).get("application/json", {}).get("schema")
        is_stream = asked.headers.get("accept") == "application/x-ndjson"
        if schema is None or is_stream:
            return Answer(int(status), b"")
        body = next(samples(schema, self.shapes))
        if isinstance(body, dict):
            if "is_open" in body:
                body |= {"is_open": False, "state": "done", "result": {}}
            body |= ANSWERS.get(operation["operationId"], {})
        return Answer(int(status), json.dumps(body).encode(), {"ETag": '"1"'})


@pytest.fixture(scope="module")
def of_document() -> OfDocument:
    return OfDocument()


@pytest.fixture(scope="module")
def server(of_document) -> Iterator[Failing]:
    with failing() as server:
        server.usual = of_document.answer
        yield server


def test_each_operation_is_reached_or_left_out_for_a_reason(of_document):
    assert not set(CALLS) & set(WITHOUT)
    assert {*CALLS, *WITHOUT} == of_document.ids


@pytest.mark.parametrize("operation", CALLS)
def test_the_surface_sends_the_request_of_the_operation(
    operation, of_document, server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n')
    Path("model").mkdir()
    Path("model/model.safetensors").write_bytes(b"weights")
    server.asked.clear()

    with Workbench(server.url, "pw_secret", tries=1) as workbench:
        CALLS[operation](workbench)

    assert operation in {of_document.of(asked)["operationId"] for asked in server.asked}
