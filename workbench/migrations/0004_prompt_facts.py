from django.db import migrations

from workbench.pipeline.imports.packed import prompt_facts

CHUNK = 500


def fill(apps, schema_editor):
    """What an import stores with each new prompt."""
    Prompt = apps.get_model("workbench", "Prompt")
    last = 0
    while prompts := list(Prompt.objects.filter(pk__gt=last).only("messages").order_by("pk")[:CHUNK]):
        for prompt in prompts:
            facts = prompt_facts(prompt.messages)
            prompt.characters, prompt.turns, prompt.language = facts.characters, facts.turns, facts.language
        Prompt.objects.bulk_update(prompts, ["characters", "turns", "language"])
        last = prompts[-1].pk


class Migration(migrations.Migration):
    dependencies = [("workbench", "0003_curation")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
