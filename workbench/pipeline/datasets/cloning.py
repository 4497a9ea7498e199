"""A new Dataset with the settings, guidelines and people of another, and none of its data."""

from django.db import transaction

from workbench.models import Dataset, Member, Role, User

NOT_A_SETTING = {
    "id",
    "name",
    "created_at",
    "archived_at",
    "deleted_at",
    # These follow from the data.
    "held_by",
    "queue_version",
    "queue_stale_since",
    "needs_scoring",
}


@transaction.atomic
def clone(dataset: Dataset, name: str, by: User) -> Dataset:
    """The new Dataset. The current guidelines become its first version, and `by` becomes its admin. Raises
    IntegrityError when the name is taken."""
    fields = [field.attname for field in Dataset._meta.concrete_fields if field.name not in NOT_A_SETTING]
    copy = Dataset.objects.create(name=name, **{field: getattr(dataset, field) for field in fields})
    if current := dataset.current_guidelines:
        copy.revise_guidelines(current.text, by)
    members = dataset.members.exclude(user=by).values_list("user", "role")
    Member.objects.bulk_create(Member(dataset=copy, user_id=user, role=role) for user, role in members)
    Member.objects.create(dataset=copy, user=by, role=Role.ADMIN)
    return copy
