"""ES modules as a browser gets them: imported by names with their digest, and in no circle."""

import re

import pytest
from django.core.management import call_command
from django.urls import reverse

from workbench.static_files import STATIC, imported_by

MODULES = sorted(
    str(path.relative_to(STATIC)) for path in STATIC.glob("workbench/**/*.js") if "vendor" not in path.parts
)


def test_modules_import_each_other_by_the_names_of_their_content(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    manifest = {"BACKEND": "workbench.static_files.ManifestStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": manifest}
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [STATIC]

    call_command("collectstatic", interactive=False, verbosity=0)

    [entry] = tmp_path.glob("workbench/annotate.????????????.js")
    modules = [entry]
    for module in modules:
        for url in re.findall(r"""(?:from|import) ["'](\..+?)["']""", module.read_text()):
            imported = (module.parent / url).resolve()
            assert re.fullmatch(r"\w+\.[0-9a-f]{12}\.js", imported.name), f"{module.name} imports {url}"
            modules += [] if imported in modules else [imported]
    assert len(modules) == 1 + len(imported_by("workbench/annotate.js"))


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_itself_by_way_of_others(module):
    assert module not in imported_by(module)


def test_the_page_preloads_what_its_script_imports(client, dataset, alice):
    client.force_login(alice, backend="workbench.backends.NameOrMail")

    html = client.get(reverse("annotate", args=[dataset.pk])).content.decode()

    preloaded = re.findall(r'<link rel="modulepreload" href="/static/([^"]+)">', html)
    assert preloaded == list(imported_by("workbench/annotate.js"))
    assert "workbench/vendor/jsdiff.js" in preloaded
