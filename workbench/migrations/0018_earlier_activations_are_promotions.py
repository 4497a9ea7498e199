from django.db import migrations


def record_what_was_activated(apps, schema_editor):
    """A Promotion for each version that was active at some time, in their order, as far as it is known: who did
    it, and how often, was not kept before."""
    before = None
    activated = apps.get_model("workbench", "ModelVersion").objects.filter(activated_at__isnull=False)
    promotions = apps.get_model("workbench", "Promotion").objects
    for version in activated.order_by("activated_at", "pk"):
        row = promotions.create(
            version=version,
            replaced=before,
            kind="override" if before else "first",
            reason="Activated before promotions were kept on record." if before else "",
        )
        promotions.filter(pk=row.pk).update(created_at=version.activated_at)
        before = version


class Migration(migrations.Migration):

    dependencies = [
        ('workbench', '0017_promotions_are_kept_on_record'),
    ]

    operations = [
        migrations.RunPython(record_what_was_activated, migrations.RunPython.noop),
    ]
