"""A new Dataset that is set up like another: settings, guidelines and people, and nothing of the data."""

from django.db import transaction

from workbench.models import Dataset, Member, Role, User

NOT_A_SETTING = {
    "id",
    "name",
    "created_at",
    "archived_at",
    "deleted_at",
    # What follows from the data that is there.
    "held_by",
    "queue_version",
    "queue_stale_since",
    "needs_scoring",
}


@transaction.atomic
def clone(dataset: Dataset, name: str, by: User) -> Dataset:
    """The new Dataset. The guidelines that are current become its first version; whoever makes it is an admin
    of it. Raises IntegrityError when the name is taken."""
    fields = [field.attname for field in Dataset._meta.concrete_fields if field.name not in NOT_A_SETTING]
    made = Dataset.objects.create(name=name, **{field: getattr(dataset, field) for field in fields})
    if current := dataset.current_guidelines:
        made.revise_guidelines(current.text, by)
    members = dataset.members.exclude(user=by).values_list("user", "role")
    Member.objects.bulk_create(Member(dataset=made, user_id=user, role=role) for user, role in members)
    Member.objects.create(dataset=made, user=by, role=Role.ADMIN)
    return made
