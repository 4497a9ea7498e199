"""A new Dataset with the settings, guidelines and people of another, and none of its data."""

from django.db import transaction

from workbench.models import Dataset, Member, Role, User
from workbench.pipeline.history.recording import Kind, record

NOT_A_SETTING = {
    "id",
    "name",
    "created_at",
    "archived_at",
    "deleted_at",
    "due_on",  # of one campaign
    "webhook_events",  # webhooks are not copied: their receivers expect one dataset
    # These follow from the data, or name a part of it.
    "first_view",
    "held_by",
    "queue_version",
    "queue_stale_since",
    "needs_scoring",
    "indexed_to",
    "indexed_at",
}


@transaction.atomic
def clone(dataset: Dataset, name: str, by: User) -> Dataset:
    """The new Dataset. The current guidelines become its first version, and `by` becomes its admin. Raises
    IntegrityError when the name is taken."""
    fields = [field.attname for field in Dataset._meta.concrete_fields if field.name not in NOT_A_SETTING]
    copy = Dataset.objects.create(name=name, **{field: getattr(dataset, field) for field in fields})
    if current := dataset.current_guidelines:
        copy.revise_guidelines(current.text, by)
    members = list(dataset.members.all())
    if by.pk not in {member.user_id for member in members}:
        members.append(Member(user=by))
    Member.objects.bulk_create(
        Member(
            dataset=copy,
            user_id=member.user_id,
            role=Role.ADMIN if member.user_id == by.pk else member.role,
            languages=member.languages,
            skills=member.skills,
        )
        for member in members
    )
    record(Kind.DATASET_CLONED, by=by, dataset=copy, target=dataset)
    return copy
