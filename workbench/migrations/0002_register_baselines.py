from django.db import migrations

BASELINES = ("longest", "shortest", "random")


def register(apps, schema_editor):
    ModelVersion = apps.get_model("workbench", "ModelVersion")
    for name in BASELINES:
        ModelVersion.objects.get_or_create(
            name=name,
            defaults={"kind": "baseline", "state": "registered", "template": "none", "precision": "exact"},
        )


def unregister(apps, schema_editor):
    apps.get_model("workbench", "ModelVersion").objects.filter(name__in=BASELINES, scores=None).delete()


class Migration(migrations.Migration):
    dependencies = [("workbench", "0001_initial")]
    operations = [migrations.RunPython(register, unregister)]
