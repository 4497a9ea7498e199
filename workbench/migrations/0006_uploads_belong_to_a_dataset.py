import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Nothing wrote an Upload before this, so the column needs no default for rows that are there."""

    dependencies = [
        ("workbench", "0005_downloads_are_kept_on_record"),
    ]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="dataset",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="uploads", to="workbench.dataset"
            ),
        ),
    ]
