from typing import TYPE_CHECKING

from django.db import models

from workbench.models.dataset import Dataset, Prompt

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class DocumentField(models.TextField):  # type: ignore[type-arg]  # Django's fields take no parameters
    """Words of a document: on PostgreSQL a `tsvector`; on SQLite a text, which triggers copy to an index of
    FTS5. Written and searched by pipeline.data.search alone."""

    def db_type(self, connection: "BaseDatabaseWrapper") -> str | None:
        return "tsvector" if connection.vendor == "postgresql" else super().db_type(connection)


class SearchDocument(models.Model):
    """The words of a Prompt and its Completions, or a part of them where they are many."""

    PART_BITS = 16

    id = models.BigIntegerField(
        primary_key=True,
        help_text="Key of the prompt, times 65,536, plus the number of the part: no search needs a join.",
    )
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="search_documents")
    document = DocumentField()

    def __str__(self) -> str:
        return f"Search document {self.pk}"


class SearchWord(models.Model):
    """A word that a Dataset has somewhere: what a search that finds nothing tries instead. A word may outlive
    its texts, and then finds nothing."""

    pk = models.CompositePrimaryKey("dataset_id", "word")
    dataset = models.ForeignKey(
        Dataset, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    word = models.CharField(max_length=64)

    def __str__(self) -> str:
        return self.word
