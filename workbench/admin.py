from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest

from workbench.models import Dataset, Member, ModelVersion, Run, User, Worker

admin.site.site_header = admin.site.site_title = "Preference workbench: accounts and system"
admin.site.register(User, UserAdmin)


class MemberInline(admin.TabularInline):
    model = Member
    extra = 1
    autocomplete_fields = ["user"]


@admin.register(Dataset)
class DatasetAdmin(admin.ModelAdmin):
    list_display = ["name", "overlap", "blind_share", "licence", "created_at"]
    search_fields = ["name"]
    inlines = [MemberInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        return Dataset.objects.not_deleted()

    def has_delete_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        """A Dataset is deleted from its settings: a worker deletes it step by step, with its files."""
        return False


@admin.register(ModelVersion)
class ModelVersionAdmin(admin.ModelAdmin):
    """A version is pinned: no field that a Score depends on can be edited here."""

    list_display = ["name", "kind", "state", "parameters", "max_length", "precision", "created_at"]
    list_filter = ["kind", "state"]
    fields = ["name", "notice"]

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_delete_permission(self, request: object, obj: ModelVersion | None = None) -> bool:
        return False


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that only the workers write."""

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_change_permission(self, request: object, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: object, obj: object | None = None) -> bool:
        return False


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "state", "dataset", "done", "total", "created_at", "finished_at"]
    list_filter = ["kind", "state"]


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["name", "queues", "device", "started_at", "last_seen"]
