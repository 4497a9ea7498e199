from django.contrib import admin
from django.contrib.auth.views import LogoutView, PasswordChangeDoneView
from django.urls import path, register_converter

from workbench.views import (
    accounts,
    annotate,
    datasets,
    docs,
    imports,
    model,
    people,
    quality,
    releases,
    review,
    runs,
    versions,
)


class Id:
    """A primary key: a number that both databases can be asked for. SQLite fails at 2^63."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(Id, "id")

handler403 = "workbench.views.refused.refused"
handler500 = "workbench.views.errors.failed"
urlpatterns = [
    path("", datasets.home, name="home"),
    path("login/", accounts.LogIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("password/", accounts.ChangePassword.as_view(), name="password_change"),
    path("password/changed/", PasswordChangeDoneView.as_view(), name="password_change_done"),
    path("datasets/new/", datasets.dataset_new, name="dataset_new"),
    path("datasets/<id:pk>/", datasets.dataset, name="dataset"),
    path("datasets/<id:pk>/data/", datasets.data, name="data"),
    path("datasets/<id:pk>/settings/", datasets.settings, name="settings"),
    path("datasets/<id:pk>/settings/guidelines/", datasets.guidelines_revise, name="guidelines_revise"),
    path("datasets/<id:pk>/settings/delete/", datasets.delete, name="dataset_delete"),
    path("datasets/<id:pk>/settings/clone/", datasets.clone, name="clone"),
    path("datasets/<id:pk>/settings/archive/", datasets.archive, name="archive"),
    path("datasets/<id:pk>/settings/bring-back/", datasets.bring_back, name="bring_back"),
    path("datasets/<id:pk>/people/", people.people, name="people"),
    path("datasets/<id:pk>/people/<id:member_pk>/role/", people.member_change, name="member_change"),
    path("datasets/<id:pk>/people/<id:member_pk>/remove/", people.member_remove, name="member_remove"),
    path("datasets/<id:pk>/runs/", runs.runs, name="runs"),
    path("runs/<id:pk>/", runs.run, name="run"),
    path("runs/<id:pk>/cancel/", runs.run_cancel, name="run_cancel"),
    path("runs/<id:pk>/retry/", runs.run_retry, name="run_retry"),
    path("models/", versions.versions, name="versions"),
    path("models/rollback/", versions.rollback, name="rollback"),
    path("models/<id:pk>/", versions.version, name="version"),
    path("models/<id:pk>/calibrate/", versions.version_calibrate, name="version_calibrate"),
    path("models/<id:pk>/delete/", versions.version_delete, name="version_delete"),
    path("models/<id:pk>/activate/", versions.version_activate, name="version_activate"),
    path("models/<id:pk>/retire/", versions.version_retire, name="version_retire"),
    path("datasets/<id:pk>/quality/", quality.quality, name="quality"),
    path("datasets/<id:pk>/quality/figures.json", quality.quality_report, name="quality_report"),
    path("datasets/<id:pk>/quality/charts/<str:name>", quality.quality_chart, name="quality_chart"),
    path(
        "datasets/<id:pk>/quality/<slug:label_source>/<slug:name>.csv",
        quality.quality_table,
        name="quality_table",
    ),
    path("datasets/<id:pk>/review/", review.queue, name="review"),
    path("datasets/<id:pk>/review/gaps/", review.guideline_gaps, name="guideline_gaps"),
    path("review/<id:pk>/", review.case, name="review_case"),
    path("review/<id:pk>/settle/", review.settle, name="settle"),
    path("review/<id:pk>/unsettle/", review.unsettle, name="unsettle"),
    path("datasets/<id:pk>/annotate/", annotate.annotate, name="annotate"),
    path("datasets/<id:pk>/annotate/next/", annotate.annotate_next, name="annotate_next"),
    path("datasets/<id:pk>/annotate/judge/", annotate.judge, name="judge"),
    path("datasets/<id:pk>/annotate/skip/", annotate.annotate_skip, name="annotate_skip"),
    path("datasets/<id:pk>/annotate/flag/", annotate.annotate_flag, name="annotate_flag"),
    path("datasets/<id:pk>/annotate/hold/", annotate.annotate_hold, name="annotate_hold"),
    path("datasets/<id:pk>/annotate/undo/", annotate.annotate_undo, name="annotate_undo"),
    path("account/straight-on/", annotate.straight_on, name="straight_on"),
    path("datasets/<id:pk>/annotate/markdown/", annotate.annotate_markdown, name="annotate_markdown"),
    path("datasets/<id:pk>/annotate/own/", annotate.annotate_own, name="annotate_own"),
    path("review/<id:pk>/gold/", review.gold, name="gold"),
    path("datasets/<id:pk>/model/", model.model, name="model"),
    path("datasets/<id:pk>/model/outlook/", model.model_outlook, name="model_outlook"),
    path("datasets/<id:pk>/model/evaluate/", model.model_evaluate, name="model_evaluate"),
    path("datasets/<id:pk>/model/compare/", model.model_compare, name="model_compare"),
    path("datasets/<id:pk>/model/<id:version_pk>/", model.model_version, name="model_version"),
    path("datasets/<id:pk>/model/<id:version_pk>/promote/", model.promote, name="promote"),
    path("datasets/<id:pk>/releases/", releases.releases, name="releases"),
    path("datasets/<id:pk>/releases/count/", releases.release_count, name="release_count"),
    path("datasets/<id:pk>/releases/leakage/", releases.release_leakage, name="release_leakage"),
    path("releases/<uuid:pk>/", releases.release, name="release"),
    path("releases/<uuid:pk>/files/<str:name>", releases.release_download, name="release_download"),
    path("releases/<uuid:pk>/files.zip", releases.release_zip, name="release_zip"),
    path("datasets/<id:pk>/data/groups/", datasets.groups, name="groups"),
    path("datasets/<id:pk>/import/", imports.imports, name="import"),
    path("imports/<uuid:pk>/", imports.import_preview, name="import_preview"),
    path("imports/<uuid:pk>/rejected/<id:run_pk>", imports.import_rejects, name="import_rejects"),
    path("help/", docs.contents, name="help"),
    path("help/search/", docs.search, name="help_search"),
    path("help/pictures/<str:name>", docs.picture, name="help_picture"),
    path("help/<path:path>/", docs.document, name="help_page"),
    path("admin/", admin.site.urls),
]
