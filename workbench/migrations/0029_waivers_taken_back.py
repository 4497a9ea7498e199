from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workbench", "0028_own_languages")]

    operations = [
        migrations.AlterField(
            model_name="qualificationgrant",
            name="kind",
            field=models.CharField(
                choices=[
                    ("try", "One more try"),
                    ("waiver", "No qualification needed"),
                    ("needed", "Qualification needed again"),
                ],
                max_length=10,
            ),
        ),
    ]
