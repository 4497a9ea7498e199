"""Every page with a list makes as many queries for a hundred rows as for one, and at most fifteen."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    ScoreFactory,
    SuggestionFactory,
    UserFactory,
)
from tests.vectors.conftest import ENCODER
from tests.web.test_access import TABLE, webhook_of
from workbench.models import (
    Act,
    ActOnPrompt,
    AllowedHost,
    Annotator,
    AuditEvent,
    Comparison,
    Dataset,
    Decision,
    Download,
    Evaluation,
    Event,
    Flag,
    Guidelines,
    Member,
    PromptChange,
    Release,
    Run,
    ScoreBatch,
    ServerError,
    Token,
    User,
    Worker,
)
from workbench.pipeline import releases
from workbench.pipeline.data.search_index import reindex
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.people import tokens
from workbench.pipeline.questions import replying
from workbench.pipeline.review import queue
from workbench.pipeline.vectors import run as vectors
from workbench.pipeline.vectors import store

pytestmark = pytest.mark.django_db

MOST = 15

FOR_STAFF = {"versions", "allowed_hosts", "system", "history", "accounts", "accounts_person"}

WITHOUT_A_LIST = {
    "join", "join_link", "agree", "login", "password_change", "password_change_done", "dataset_new",
    "account_login", "account_reset_password", "account_reset_password_done", "account_email",
    "account_reset_password_from_key", "account_reset_password_from_key_done", "account_confirm_email",
    "account_reauthenticate", "mfa_authenticate", "mfa_login_webauthn", "mfa_index", "mfa_list_webauthn",
    "mfa_reauthenticate", "mfa_activate_totp", "mfa_deactivate_totp", "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes", "mfa_download_recovery_codes", "mfa_add_webauthn",
    "mfa_reauthenticate_webauthn", "mfa_remove_webauthn", "mfa_edit_webauthn",
    "openid_connect_login", "openid_connect_callback",
    "annotate", "annotate_undo", "annotate_markdown", "annotate_own", "qualify",
    "quality_report", "quality_table", "quality_chart",
    "sources_report", "sources_table", "sources_chart",
    "release_download", "release_zip", "time_sheet_csv", "account_data",
    "history_csv", "dataset_history_csv", "import_preview", "import_rejects",
    "version", "version_add", "accounts_erase", "dataset_delete", "running", "metrics", "openapi",
    "help", "help_search", "help_page", "help_picture",
}  # fmt: skip
"""The pages that show a single object or a file, and those that read no row at all."""


class Campaign:
    """A Dataset with a number of all objects that pages list."""

    def __init__(self, dataset: Dataset, admin: User) -> None:
        self.dataset, self.admin = dataset, admin
        dataset.qualify_pairs = 1
        dataset.save()
        self.case = ComparisonFactory.create(prompt__dataset=dataset)
        self.left = JudgmentFactory.create(comparison=self.case).annotator
        self.release = releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))
        self.release.run = RunFactory.create(dataset=dataset, kind="release", state="done")
        self.release.save()
        self.version = ModelVersionFactory.create(temperature=1.0)
        activate(self.version)
        self.webhook = webhook_of(dataset)
        self.run = RunFactory.create(dataset=dataset, version=self.version, state="running")
        self.fetch = RunFactory.create(
            dataset=dataset, kind="fetch", state="done", result={"listing": [], "fetched": [], "commit": "c"}
        )
        self.leakage = RunFactory.create(
            dataset=dataset,
            kind="leakage",
            state="done",
            started_at=timezone.now(),
            result={"references": []},
        )
        self.old = ModelVersionFactory.create()
        self.newest = self.old
        self.size = 0
        store.delete_files(dataset.pk)

    def grow(self, size: int) -> None:
        """Add objects until there are `size` of each."""
        for number in range(self.size, size):
            who = AnnotatorFactory.create()
            Member.objects.create(dataset=self.dataset, user=who.user, role="annotator")
            self._of_people(number, who)
            self._of_data(number, who)
            self._of_models(number)
            self._of_runs(number)
            self._of_the_system(number)
        self.size = size
        self.leakage.save()
        PromptChange.objects.all_of(self.dataset.pk)
        reindex(self.dataset, list(self.dataset.prompts.values_list("pk", flat=True)))
        run = RunFactory.create(dataset=self.dataset, kind="vectors")
        run.start()
        vectors.carry_out(run, lambda: ENCODER)

    def _of_people(self, number: int, who: Annotator) -> None:
        """One more who judged, flagged and settled the case; one more Guidelines and imported label
        source."""
        Guidelines.objects.create(
            dataset=self.dataset, number=number + 1, text="Be kind.", created_by=who.user
        )
        JudgmentFactory.create(comparison=self.case, annotator=who)
        Flag.objects.create(comparison=self.case, annotator=who, reason="other")
        self.dataset.time_corrections.create(
            user=self.admin, day=timezone.now(), seconds=60, reason="A meeting.", by=self.admin
        )
        self.case.decisions.update(is_current=False)
        Decision.objects.create(
            comparison=self.case, outcome="a", method="reviewer", decided_by=who.user, undone_by=self.admin
        )
        self.dataset.qualification_tries.create(
            annotator=Annotator.objects.for_user(self.admin), number=number + 1, pairs=1, needed=1,
            right=0, passed=False, ended_at=timezone.now(),
        )  # fmt: skip
        self.dataset.qualification_tries.create(
            annotator=who, number=1, pairs=1, needed=1, right=0, passed=False, ended_at=timezone.now()
        )
        self.dataset.qualification_tries.create(
            annotator=self.left, number=number + 1, pairs=1, needed=1, right=0, passed=False,
            ended_at=timezone.now(),
        )  # fmt: skip
        self.dataset.qualification_grants.create(
            annotator=Annotator.objects.for_user(self.admin), kind="try", reason="A bad day."
        )
        self.admin.logins.create(session_key=f"{number}", browser="Firefox on Linux")
        invitation = self.dataset.invitations.create(
            role="annotator", created_by=who.user, expires_at=timezone.now() + timedelta(days=1), uses=1
        )
        invitation.acceptances.create(user=who.user)
        for user in (self.admin, who.user):
            tokens.make(user, "job", Token.Scope.READ, datasets=[self.dataset], days=9, by=self.admin)
        Token.objects.update(revoked_at=timezone.now())  # an account has no more than some
        label_source = Annotator.objects.create(source="file.jsonl", external_id=str(number))
        JudgmentFactory.create(comparison=self.case, annotator=label_source, stage="imported")

    def _of_the_system(self, number: int) -> None:
        """One more page that failed, one more act in history, and one more webhook and event."""
        event = Event.objects.create(
            dataset=self.dataset, type="run.finished", number=number + 1, facts={"run": self.run.pk}
        )
        other = DatasetFactory.create()
        Member.objects.create(dataset=other, user=self.admin, role="admin")
        for webhook in (self.webhook, webhook_of(self.dataset), webhook_of(other)):
            webhook.deliveries.create(event=event, state="dead", attempts=9, last_at=timezone.now())
        for target in (self.admin, self.version, self.release, self.case):
            AuditEvent(
                kind="settings", actor=self.admin, dataset=self.dataset, fields=["overlap"],
                target=target._meta.model_name, target_id=str(target.pk),
            ).save()  # fmt: skip
        ServerError.objects.create(view="data", error=f"ValueError at views/data.py:{number}", request_id="x")

    def _of_data(self, number: int, who: Annotator) -> None:
        """One more topic, and two more Prompts of one group with Scores, one of them in disagreement, the
        other settled as a gap of the guidelines by the admin, who asks about it; an example."""
        self.dataset.topics.create(number=number + 1, name=f"topic {number}", size=2)
        comparisons = []
        for _ in range(2):
            prompt = PromptFactory.create(dataset=self.dataset, group=f"{number:064x}")
            sides = CompletionFactory.create_batch(2, prompt=prompt, source=f"writer {number}")
            for completion in sides:
                ScoreFactory.create(completion=completion, version=self.version)
            comparisons.append(ComparisonFactory.create(prompt=prompt, a=sides[0], b=sides[1]))
        waiting, settled = comparisons
        for outcome in "ab":
            JudgmentFactory.create(
                comparison=waiting,
                outcome=outcome,
                annotator=who if outcome == "a" else AnnotatorFactory.create(),
            )
        SuggestionFactory.create(comparison=waiting, version=self.version, margin=1.0)
        SuggestionFactory.create(comparison=waiting, version=self.old, margin=-1.0)
        act = Act.objects.create(dataset=self.dataset, kind="priority", by=self.admin)
        ActOnPrompt.objects.create(act=act, prompt=self.case.prompt)
        Decision.objects.create(
            comparison=settled, outcome="a", method="reviewer", reason="guideline_gap", decided_by=self.admin
        )
        asks = Annotator.objects.for_user(self.admin)
        JudgmentFactory.create(comparison=settled, annotator=asks, outcome="a", comment="Which?")
        replying.reply(settled, asks, "The first.", self.admin)
        replying.make_example(settled, "It answers.", self.admin)

    def _of_models(self, number: int) -> None:
        """One more version, trained from the last, evaluated here; one more Dataset to measure on."""
        frozen = DatasetFactory.create(frozen=True)
        Member.objects.create(dataset=frozen, user=self.admin, role="admin")
        self.newest = ModelVersionFactory.create(base=self.newest, release=self.release)
        SuggestionFactory.create(comparison=self.case, version=self.newest)
        none = {"accuracy": None, "decided": 0, "slices": []}
        figures = {"model": none, "beside": {"longest": none}, "differences": {}, "people": {"ceiling": None}}
        for version in (self.newest, self.old):
            for on in (self.dataset, frozen):
                Evaluation.objects.create(
                    version=version, dataset=on, source=on.name, split="test", data_sha256="", pairs=0,
                    figures=figures, run=self.run,
                )  # fmt: skip
        ModelVersionFactory.create(base=self.old)
        for version in (self.old, self.version):
            activate(version, reason="to and fro", by=self.admin)

    def _of_runs(self, number: int) -> None:
        """One more Run of each kind, open and ended, with what they leave; one more worker."""
        upload = self.dataset.uploads.create(
            shown_name="a.jsonl", path=f"{uuid4()}", size=1, sha256="", uploaded_by=self.admin
        )
        for kind in Run.Kind:
            fields = {"kind": kind, "dataset": self.dataset, "version": self.version, "upload": upload}
            RunFactory.create(**fields, created_by=self.admin)
            RunFactory.create(**fields, state="running", created_by=self.admin)
            ended = RunFactory.create(**fields, state="cancelled", created_by=self.admin)
        self.leakage.result["references"].append(
            {
                "reference": f"Benchmark {number}",
                "size": 1,
                "alike": {"test": 1},
                "examples": {"test": [self.dataset.prompts.last().pk]},
            }
        )
        Release.objects.create(
            dataset=self.dataset, number=number + 2, state="ready", profiles=self.release.profiles,
            manifest=self.release.manifest, run=ended, created_by=self.admin,
        )  # fmt: skip
        Download.objects.create(release=self.release, file="x", user=self.admin)
        AllowedHost.objects.create(name=f"{number}.hub.example", added_by=self.admin)
        RunFactory.create(
            kind="push", dataset=self.dataset, state="done", created_by=self.admin,
            params={"release": str(self.release.pk), "repository": "team/kitchen", "private": True},
        )  # fmt: skip
        self.fetch.result["listing"].append((f"{number}.jsonl", 1))
        self.fetch.save()
        for state in ("failed", "done", "leased"):
            ScoreBatch.objects.create(
                run=self.run, version=self.version, size=1, state=state, worker=f"worker {number}",
                completion_ids=[self.case.a_id], lease_until=timezone.now() - timedelta(hours=1),
            )  # fmt: skip
        now = timezone.now()
        Worker.objects.create(name=f"worker {number}", queues="score", started_at=now, last_seen=now)

    def pages(self) -> dict[str, str]:
        """Each page with a list, and ways to look at it; by the name of its URL and of the way."""
        args, query = [self.dataset.pk], queue.Filters()
        waiting = Comparison.objects.in_disagreement(self.version).first()
        after = json.dumps([0, 0, 0.0, 0])  # all that nobody has flagged
        pinned = f"version={self.version.pk}&as_of={query.as_of.timestamp():.3f}"
        voter = waiting.judgments.first().annotator_id
        of_dataset = (
            "dataset", "data", "topics", "groups", "settings", "people", "invitations", "time_sheet", "runs",
            "model", "quality", "sources", "more_pairs", "releases", "release_leakage", "import",
            "guideline_gaps", "review", "data_history", "import_hub", "questions", "guidelines", "webhooks",
            "programs",
        )  # fmt: skip
        review = reverse("review", args=args)
        return {
            **{name: reverse(name, args=args) for name in of_dataset},
            "home": reverse("home"),
            "account": reverse("account"),
            "tokens": reverse("tokens"),
            "accounts": reverse("accounts"),
            "accounts_person": reverse("accounts_person", args=[self.admin.pk]),
            "person": reverse("person", args=[*args, self.dataset.members.get(user=self.admin).pk]),
            "former": reverse("former", args=[*args, self.left.pk]),
            "similar": reverse("similar", args=args) + f"?prompt={self.case.prompt_id}",
            "data, searched": reverse("data", args=args) + "?q=Answer",
            "review, next page": f"{review}?after={after}&{pinned}",
            "review, flips": f"{review}?{pinned}&old={self.old.pk}&why=flipped",
            "review, narrowed": f"{review}?{pinned}&annotator={voter}&lengths=alike&source=writer 0",
            "runs, longest first": reverse("runs", args=args) + "?sort=longest",
            "releases, by rows": reverse("releases", args=args) + "?sort=rows",
            "model, by accuracy": reverse("model", args=args) + "?sort=accuracy",
            "programs, by use": reverse("programs", args=args) + "?sort=used",
            "invitations, open first": reverse("invitations", args=args) + "?sort=open",
            "import, by status": reverse("import", args=args) + "?sort=state",
            "groups, smallest first": reverse("groups", args=args) + "?sort=smallest",
            "guideline_gaps, by reviewer": reverse("guideline_gaps", args=args) + "?sort=reviewer",
            "review, oldest first": f"{review}?order=oldest&votes=shown",
            "review_case": reverse("review_case", args=[self.case.pk]),
            "review_case, of a flip": reverse("review_case", args=[waiting.pk])
            + f"?{pinned}&old={self.old.pk}",
            "prompt": reverse("prompt", args=[self.case.prompt_id]),
            "run": reverse("run", args=[self.run.pk]),
            "release": reverse("release", args=[self.release.pk]),
            "release_pushes": reverse("release_pushes", args=[self.release.pk]),
            "import_fetch": reverse("import_fetch", args=[self.fetch.pk]),
            "allowed_hosts": reverse("allowed_hosts"),
            "history": reverse("history"),
            "dataset_history": reverse("dataset_history", args=args),
            "system": reverse("system"),
            "webhook": reverse("webhook", args=[self.webhook.pk]),
            "model_compare": reverse("model_compare", args=args),
            "model_version": reverse("model_version", args=[*args, self.newest.pk]),
            "versions": reverse("versions"),
            "versions, by scores": reverse("versions") + "?sort=scores",
            "accounts, by login": reverse("accounts") + "?sort=login",
        }


def test_a_page_either_lists_something_and_is_counted_here_or_does_not(dataset, alice):
    campaign = Campaign(dataset, alice)
    campaign.grow(1)
    counted = {name.partition(",")[0] for name in campaign.pages()}

    assert counted | WITHOUT_A_LIST == {name for name, row in TABLE.items() if row.method == "GET"}
    assert not counted & WITHOUT_A_LIST


@pytest.mark.portable
def test_a_page_asks_as_often_for_a_hundred_rows_as_for_one_and_fifteen_times_at_most(
    dataset, alice, as_user, store_figures
):
    campaign = Campaign(dataset, alice)
    client, staff = as_user(alice), as_user(UserFactory.create(is_staff=True))

    def count() -> tuple[dict[str, int], dict[str, int]]:
        """Queries and bytes of each page."""
        queries, sizes = {}, {}
        for name, url in campaign.pages().items():
            browser = staff if name.partition(",")[0] in FOR_STAFF else client
            browser.get(url)  # what is kept for all visitors is read by the first
            with CaptureQueriesContext(connection) as captured:
                answer = browser.get(url)
            assert answer.status_code == 200, name
            queries[name], sizes[name] = len(captured), len(answer.content)
        return queries, sizes

    def grown_to(size: int) -> tuple[dict[str, int], dict[str, int]]:
        campaign.grow(size)
        store_figures(dataset)
        return count()

    for_one, small = grown_to(1)
    for_hundred, large = grown_to(100)

    assert [name for name in small if large[name] <= small[name]] == []
    assert for_hundred == for_one
    assert {name: number for name, number in for_hundred.items() if number > MOST} == {}
