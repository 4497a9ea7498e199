import django.db.models.deletion
from django.db import migrations, models

CHUNK = 1000


def sign(apps, schema_editor):
    """Keys of the Prompts that are stored already. Their groups stay as they are."""
    from workbench.pipeline.likeness import keys_of, shingles_of

    Prompt, PromptKey = apps.get_model("workbench", "Prompt"), apps.get_model("workbench", "PromptKey")
    waiting = []

    def flush():
        keys = keys_of([shingles for *_, shingles in waiting]).tolist()
        PromptKey.objects.bulk_create(
            (
                PromptKey(dataset_id=dataset, key=key, prompt_id=prompt)
                for (dataset, prompt, _), own in zip(waiting, keys)
                for key in own
            ),
            ignore_conflicts=True,  # the first Prompt that has a key keeps it
        )
        waiting.clear()

    prompts = Prompt.objects.order_by("pk").values_list("dataset_id", "pk", "messages")
    for dataset, prompt, messages in prompts.iterator(chunk_size=CHUNK):
        shingles = shingles_of(messages)
        if shingles is not None:
            waiting.append((dataset, prompt, shingles))
        if len(waiting) == CHUNK:
            flush()
    if waiting:
        flush()


class Migration(migrations.Migration):

    dependencies = [
        ('workbench', '0015_the_queue_has_an_order'),
    ]

    operations = [
        migrations.CreateModel(
            name='PromptKey',
            fields=[
                ('pk', models.CompositePrimaryKey('dataset_id', 'key', blank=True, editable=False, primary_key=True, serialize=False)),
                ('key', models.BigIntegerField()),
                ('prompt_id', models.BigIntegerField()),
                ('dataset', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='workbench.dataset')),
            ],
        ),
        migrations.AlterField(
            model_name='prompt',
            name='group',
            field=models.CharField(editable=False, help_text='Prompts of one group are in one split: it is set when the Prompt is stored, for ever.', max_length=64),
        ),
        migrations.AddIndex(
            model_name='prompt',
            index=models.Index(fields=['dataset', 'group'], name='prompt_group_of_dataset'),
        ),
        migrations.RunPython(sign, migrations.RunPython.noop),
    ]
