import django.db.models.deletion
from django.db import DatabaseError, migrations, models, transaction

import workbench.models.search
from workbench.pipeline.data.search_index import index_new

ON_SQLITE = [
    """CREATE VIRTUAL TABLE workbench_searchindex USING fts5(
    document, content='workbench_searchdocument', content_rowid='id', columnsize=0, tokenize='ascii')""",
    """CREATE TRIGGER workbench_searchdocument_added AFTER INSERT ON workbench_searchdocument BEGIN
    INSERT INTO workbench_searchindex (rowid, document) VALUES (new.id, new.document);
    END""",
    """CREATE TRIGGER workbench_searchdocument_deleted AFTER DELETE ON workbench_searchdocument BEGIN
    INSERT INTO workbench_searchindex (workbench_searchindex, rowid, document)
    VALUES ('delete', old.id, old.document);
    END""",
    """CREATE TRIGGER workbench_searchdocument_changed AFTER UPDATE ON workbench_searchdocument BEGIN
    INSERT INTO workbench_searchindex (workbench_searchindex, rowid, document)
    VALUES ('delete', old.id, old.document);
    INSERT INTO workbench_searchindex (rowid, document) VALUES (new.id, new.document);
    END""",
]
ON_POSTGRESQL = "CREATE INDEX search_document_words ON workbench_searchdocument USING gin (document)"
TRIGRAMS = [
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX search_word_trigrams ON workbench_searchword USING gin (word gin_trgm_ops)",
]


def fill(apps, schema_editor):
    """Index the texts that are stored already."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for statement in ON_SQLITE:
                cursor.execute(statement)
        for dataset in apps.get_model("workbench", "Dataset").objects.values_list("pk", flat=True):
            for _ in index_new(dataset):
                pass
        if connection.vendor == "postgresql":
            cursor.execute(ON_POSTGRESQL)  # after the rows: an index is made faster than it grows
            try:
                with transaction.atomic():
                    for statement in TRIGRAMS:
                        cursor.execute(statement)
            except DatabaseError:
                pass  # the server allows no extensions: all words of a dataset are then looked through


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TABLE workbench_searchindex")


class Migration(migrations.Migration):
    dependencies = [("workbench", "0004_prompt_facts")]
    operations = [
        migrations.CreateModel(
            name="SearchDocument",
            fields=[
                (
                    "id",
                    models.BigIntegerField(
                        help_text="Key of the prompt, times 65,536, plus the number of the part: no search "
                        "needs a join.",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("document", workbench.models.search.DocumentField()),
                (
                    "prompt",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="search_documents",
                        to="workbench.prompt",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SearchWord",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "dataset_id", "word", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("word", models.CharField(max_length=64)),
                (
                    "dataset",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="workbench.dataset",
                    ),
                ),
            ],
        ),
        migrations.RunPython(fill, drop),
    ]
