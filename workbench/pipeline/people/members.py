"""Members for the page of people."""

from django.db.models import F, OuterRef, QuerySet, Subquery

from workbench.models import Dataset, Judgment, Member


def active_members(dataset: Dataset) -> QuerySet[Member]:
    """Admins first, then reviewers, then annotators; by name within each. Each has `annotator`, its primary
    key as an Annotator (None before its first vote), and `last_active`, when it last voted in the dataset."""
    judgments = Judgment.objects.current().filter(
        annotator=OuterRef("annotator"), comparison__dataset=OuterRef("dataset")
    )
    newest = judgments.order_by("-created_at").values("created_at")[:1]
    facts = {"annotator": F("user__annotator"), "last_active": Subquery(newest)}
    return dataset.members.by_role().annotate(**facts)
