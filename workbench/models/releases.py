import uuid
from typing import Self

from django.db import models
from django.db.models.fields.json import KeyTransform


class ReleaseQuerySet(models.QuerySet["Release"]):
    def ready(self) -> Self:
        return self.filter(state=Release.State.READY)

    def for_list(self) -> Self:
        """Releases for a list, with `files` of the manifest instead of the whole manifest."""
        files = KeyTransform("files", "manifest")
        return self.select_related("run", "created_by").annotate(files=files).defer("manifest")


class Release(models.Model):
    """One immutable export of a Dataset, with manifest and hashes."""

    class State(models.TextChoices):
        BUILDING = "building", "Not ready: still being built, or failed"
        READY = "ready", "Ready: complete, and never changed again"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=20, choices=State.choices, default=State.BUILDING)
    profiles = models.JSONField(default=list)
    formats = models.JSONField(default=list)
    filters = models.JSONField(default=dict, blank=True)
    rows = models.PositiveBigIntegerField(default=0)
    manifest = models.JSONField(default=dict)
    run = models.OneToOneField("workbench.Run", null=True, on_delete=models.SET_NULL, related_name="release")
    created_by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ["dataset", "-number"]
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="release_number_once")]

    def __str__(self) -> str:
        return f"Release {self.number} of {self.dataset}"

    @property
    def is_ready(self) -> bool:
        return self.state == self.State.READY

    @property
    def folder(self) -> str:
        """The folder of the files in Django's storage."""
        return f"releases/{self.id}"


class Download(models.Model):
    """One request for a file of a Release, for the audit trail. A resumed download has several rows."""

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="downloads")
    file = models.CharField(max_length=200)
    first_byte = models.BigIntegerField(default=0)
    user = models.ForeignKey("workbench.User", on_delete=models.PROTECT, related_name="downloads")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.file} of {self.release} by {self.user}"
