from collections.abc import Iterable
from typing import Any

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse

from workbench import access, mails
from workbench.models import AuditEvent, Dataset, Member, ModelVersion, Role, Run, User, Worker
from workbench.pipeline.history.recording import Change, Kind, record

admin.site.site_header = admin.site.site_title = "Preference workbench: accounts and system"
# The login of Django's admin would ask for no second step and slow no guesses down.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.unregister([SocialApp, SocialToken])  # providers come from the settings, tokens are not kept
admin.site.unregister(SocialAccount)  # unlinked on the page of its account
admin.site.unregister(Authenticator)
admin.site.unregister(EmailAddress)  # an address is changed with its account


class RecordedAdmin(admin.ModelAdmin):
    """What staff change here goes into history, in the transaction of the change."""

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if form.changed_data or not change:
                _record(request, obj, Change.CHANGED if change else Change.ADDED, form.changed_data)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            _record(request, obj, Change.DELETED)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for obj in queryset:
                _record(request, obj, Change.DELETED)
            super().delete_queryset(request, queryset)


def _record(request: HttpRequest, obj: Any, word: AuditEvent.Change, fields: Iterable[str] = ()) -> None:
    dataset, by = (obj if isinstance(obj, Dataset) else None), access.person(request.user)
    # The second step of a login is a row of its own, and a row about the person.
    target = obj.user if isinstance(obj, Authenticator) else obj
    record(Kind.ACCOUNT, by=by, dataset=dataset, target=target, word=word, fields=fields)


@admin.register(User)
class AccountAdmin(RecordedAdmin, UserAdmin):
    def save_model(self, request: HttpRequest, obj: User, form: ModelForm, change: bool) -> None:
        """An address that staff replace opens the account no more."""
        super().save_model(request, obj, form, change)
        if "email" in form.changed_data:
            EmailAddress.objects.filter(user=obj).delete()

    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        """In one transaction: Django saves the password, and then calls `log_change`."""
        response: HttpResponse = super().user_change_password(request, id, form_url)
        return response

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """The page that sets a password saves the account by itself, and calls only this."""
        if request.resolver_match and request.resolver_match.url_name == "auth_user_password_change":
            _record(request, obj, Change.CHANGED, ["password"])
            mails.tell_of_change(obj, "password", mails.origin_of(request))
        return super().log_change(request, obj, message)


class MemberInline(admin.TabularInline):
    model = Member
    extra = 1
    autocomplete_fields = ["user"]
    fields = ["user", "role"]


@admin.register(Dataset)
class DatasetAdmin(RecordedAdmin):
    list_display = ["name", "overlap", "blind_share", "licence", "created_at"]
    search_fields = ["name"]
    inlines = [MemberInline]
    # Settings also have a worker read again what rows require.
    exclude = ["requires_prompt_language", "language_key", "skill_key"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        return Dataset.objects.not_deleted()

    def save_formset(self, request: HttpRequest, form: ModelForm, formset: Any, change: bool) -> None:
        """The members of the dataset."""
        super().save_formset(request, form, formset, change)
        by, dataset = access.person(request.user), form.instance
        for kind, members in (
            (Kind.MEMBER_ADDED, formset.new_objects),
            (Kind.ROLE_CHANGED, [member for member, _ in formset.changed_objects]),
            (Kind.MEMBER_REMOVED, formset.deleted_objects),
        ):
            for member in members:
                record(kind, by=by, dataset=dataset, target=member.user, word=Role(member.role))

    def has_delete_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        """A Dataset is deleted from its settings: a worker deletes it step by step, with its files."""
        return False


class ReadOnlyAdmin(RecordedAdmin):
    """Rows that workers write, or that a page changes."""

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_change_permission(self, request: object, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: object, obj: object | None = None) -> bool:
        return False


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind", "state", "parameters", "max_length", "precision", "created_at"]
    list_filter = ["kind", "state"]
    fields = ["name", "notice"]


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "state", "dataset", "done", "total", "created_at", "finished_at"]
    list_filter = ["kind", "state"]


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["name", "queues", "device", "started_at", "last_seen"]


@admin.register(Authenticator)
class SecondStepAdmin(ReadOnlyAdmin):
    """Staff delete what somebody has lost; nobody reads a secret."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    fields = ["user", "type", "created_at", "last_used_at"]
    search_fields = ["user__username"]

    def has_delete_permission(self, request: object, obj: object | None = None) -> bool:
        return True

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        mails.tell_of_change(obj.user, "second step", mails.origin_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        people = [step.user for step in queryset.select_related("user")]
        super().delete_queryset(request, queryset)
        for user in people:
            mails.tell_of_change(user, "second step", mails.origin_of(request))
