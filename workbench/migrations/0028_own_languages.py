from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workbench", "0027_agreements")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="languages",
            field=models.JSONField(
                db_default=models.Value([], models.JSONField()),
                default=list,
                help_text="Codes of the languages that the person says they read.",
            ),
        ),
        migrations.AlterField(
            model_name="member",
            name="languages",
            field=models.JSONField(
                db_default=models.Value([], models.JSONField()),
                default=list,
                help_text="Codes of the languages that an admin says the person reads; empty = as the person says.",
            ),
        ),
    ]
