from django.db import migrations

# For a word that nearly all documents have, PostgreSQL would rather read them all: it does not count what
# unpacking their vectors takes, which is seven times as long as reading the index.
FUNCTION = """
CREATE FUNCTION workbench_prompts_with(wanted tsquery, bits integer) RETURNS text
LANGUAGE sql STABLE SET enable_seqscan = off AS $$
    SELECT string_agg((id >> bits)::text, ',') FROM workbench_searchdocument WHERE document @@ wanted
$$
"""


def make(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(FUNCTION)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION workbench_prompts_with")


class Migration(migrations.Migration):
    dependencies = [("workbench", "0006_topics")]
    operations = [migrations.RunPython(make, drop)]
