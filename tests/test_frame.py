"""The frame around the code: layers, compose file, settings, commands."""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests import services
from tests.settings import _data
from workbench.management.commands import up
from workbench.management.commands.up import processes
from workbench.models import Run

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: s for name, s in COMPOSE["services"].items() if s.get("image") == "preference-workbench"}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {"SECRET_KEY", "DEBUG", "DJANGO_SETTINGS_MODULE", "DJANGO_ALLOW_ASYNC_UNSAFE", "DATABASE_URL"}
    clean = {key: value for key, value in os.environ.items() if key not in ours}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=clean | {"WORKBENCH_ENV_FILE": "/nonexistent", "WORKBENCH_DATA": str(_data)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_layer_imports_one_above():
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout


def strings_that_stand_alone(tree: ast.Module) -> Iterator[int]:
    """Lines of strings that are no part of a statement, and describe neither an attribute nor a global."""
    for node in ast.walk(tree):
        blocks = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
        pairs = (itertools.pairwise(block) for block in blocks if isinstance(block, list))
        for before, statement in itertools.chain.from_iterable(pairs):
            if not isinstance(statement, ast.Expr):
                continue
            (target, *_) = getattr(before, "targets", [getattr(before, "target", None)])
            describes = isinstance(node, ast.Module | ast.ClassDef) or isinstance(target, ast.Attribute)
            if isinstance(statement.value, ast.Constant | ast.JoinedStr) and not describes:
                yield statement.lineno


def test_no_sentence_is_cut_short_by_a_string_that_stands_alone():
    files = [file for package in ("workbench", "scoring") for file in (ROOT / package).rglob("*.py")]

    lines_by_file = {file.name: list(strings_that_stand_alone(ast.parse(file.read_text()))) for file in files}

    assert {name: lines for name, lines in lines_by_file.items() if lines} == {}


def test_the_pipeline_knows_no_request_and_no_template():
    forbidden = re.compile(r"^\s*(from|import) django\.(http|template|shortcuts|views)", re.MULTILINE)

    files = [p.name for p in (ROOT / "workbench/pipeline").rglob("*.py") if forbidden.search(p.read_text())]

    assert files == []


def test_the_web_process_loads_neither_torch_nor_what_fits_and_draws():
    code = (
        "import workbench.wsgi, sys; from django.urls import get_resolver; "
        "get_resolver().url_patterns; heavy = {'torch', 'altair', 'vl_convert', 'pandas', 'statsmodels'}; "
        "print(heavy & set(sys.modules))"
    )

    result = python("-c", code, SECRET_KEY="x" * 30 + "0123456789abcdefghijklmnop")

    assert result.stdout.strip() == "set()", result.stderr


def test_a_web_process_loads_the_operations_of_the_api_when_a_program_first_asks():
    code = (
        "import workbench.wsgi, sys; from django.urls import get_resolver, resolve, reverse; "
        "get_resolver().url_patterns; large = {'ninja', 'pydantic', 'psycopg', 'workbench.api.operations'}; "
        "reverse('home'); resolve('/datasets/1/'); print(large & set(sys.modules)); "
        "resolve('/api/v1/datasets', 'workbench.api_urls'); print('ninja' in sys.modules)"
    )

    result = python("-c", code, SECRET_KEY="x" * 30 + "0123456789abcdefghijklmnop")

    assert result.stdout.split() == ["set()", "True"], result.stderr


@pytest.mark.parametrize(
    "key", ["", "changeme", "x" * 60, "django-insecure-" + "0123456789abcdef" * 4, "short"]
)
def test_it_refuses_to_start_without_a_secret_key_of_its_own(key):
    result = python("manage.py", "check", SECRET_KEY=key)

    assert result.returncode != 0
    assert "SECRET_KEY is missing or weak" in result.stderr


def test_a_new_installation_has_no_account_and_debug_off(db):
    from django.contrib.auth import get_user_model

    result = python(
        "-c", "from workbench import settings; print(settings.DEBUG)", SECRET_KEY="0123456789" * 6
    )

    assert result.stdout.strip() == "False"
    assert not get_user_model().objects.exists()


def test_other_users_of_the_machine_can_read_nothing_that_is_written(tmp_path):
    data = tmp_path / "data"

    result = python("manage.py", "migrate", "-v0", DEBUG="1", WORKBENCH_DATA=str(data))

    assert result.returncode == 0, result.stderr
    assert [str(p) for p in [data, *data.rglob("*")] if p.stat().st_mode & 0o077] == []


def test_a_data_folder_that_others_can_read_is_warned_of(tmp_path):
    tmp_path.chmod(0o755)

    result = python("manage.py", "check", DEBUG="1", WORKBENCH_DATA=str(tmp_path))

    assert f"chmod 700 {tmp_path}" in result.stderr


def test_models_and_migrations_agree(db):
    result = python("manage.py", "makemigrations", "--check", "--dry-run", DEBUG="1")

    assert result.returncode == 0, result.stdout


def test_deployed_behind_tls_django_has_no_complaint():
    result = python(
        "manage.py", "check", "--deploy", "--fail-level", "WARNING",
        HTTPS="1", ALLOWED_HOSTS="workbench.example", SECRET_KEY="0123456789-abcdefghij-" * 3,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr


def test_compose_parses_the_compose_file():
    services.require(services.compose())
    result = subprocess.run(
        [*(services.compose_command() or []), "-f", "docker-compose.yml", "--profile", "gpu", "config", "-q"],
        cwd=ROOT, env=os.environ | dict.fromkeys(["SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"], "x"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr


def test_compose_publishes_nothing_but_the_proxy_and_has_no_password_of_its_own():
    text = (ROOT / "docker-compose.yml").read_text()

    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["proxy"]
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY"):
        assert re.findall(r"\$\{" + name + r"(..)", text) == [":?"] * text.count("${" + name)


def test_every_image_of_compose_is_pinned_and_every_service_has_a_limit_of_memory():
    for name, service in COMPOSE["services"].items():
        image = service["image"]
        assert image == "preference-workbench" or re.search(r":\d+\.\d+(\.\d+)?-", image), name
        assert "mem_limit" in service, name
    assert "\nUSER workbench\n" in (ROOT / "Dockerfile").read_text()
    assert re.match(r"FROM python:\d+\.\d+\.\d+-", (ROOT / "Dockerfile").read_text())


OF_A_PROVIDER = re.compile("OIDC_[A-Z]+_(URL|CLIENT_ID|SECRET|NAME)")
"""Named after the providers in OIDC_PROVIDERS; settings read those of each."""


def test_every_environment_variable_that_compose_sets_is_read_by_settings():
    read = set(re.findall(r'env\.\w+\("(\w+)"', (ROOT / "workbench" / "settings.py").read_text()))

    for name, service in OURS.items():
        assert {v for v in service["environment"] if not OF_A_PROVIDER.fullmatch(v)} <= read, name


def test_the_reference_describes_each_environment_variable_and_no_other():
    read = set(re.findall(r'env\.\w+\("(\w+)"', (ROOT / "workbench" / "settings.py").read_text()))

    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/settings.md").read_text(), re.MULTILINE)

    assert sorted(described) == sorted(read)


def settings_with(**environment: str) -> subprocess.CompletedProcess[str]:
    """A process that reads the settings anew, and prints those of the providers."""
    code = (
        "import json; from django.conf import settings as s; print(json.dumps([s.OIDC_PROVIDERS, "
        "s.OIDC_SIGNUP_DOMAINS, s.SOCIALACCOUNT_PROVIDERS['openid_connect']['APPS'], "
        "s.CONTENT_SECURITY_POLICY['DIRECTIVES']['form-action']]))"
    )
    ours = {"DJANGO_SETTINGS_MODULE": "workbench.settings", "SECRET_KEY": "0123456789" * 6}
    return python("-c", code, **ours, **environment)


def test_providers_of_logins_are_read_from_the_environment():
    read = settings_with(
        OIDC_PROVIDERS="google,team-login",
        OIDC_GOOGLE_URL="https://accounts.google.com",
        OIDC_GOOGLE_CLIENT_ID="one",
        OIDC_GOOGLE_SECRET="of one",
        OIDC_TEAM_LOGIN_NAME="Our login",
        OIDC_TEAM_LOGIN_URL="https://login.example.org/realms/team",
        OIDC_TEAM_LOGIN_CLIENT_ID="two",
        OIDC_SIGNUP_DOMAINS="Example.org,example.net",
    )

    providers, domains, apps, actions = json.loads(read.stdout)
    assert providers == [
        {
            "id": "google",
            "name": "Google",
            "url": "https://accounts.google.com",
            "client_id": "one",
            "secret": "of one",
        },
        {
            "id": "team-login",
            "name": "Our login",
            "url": "https://login.example.org/realms/team",
            "client_id": "two",
            "secret": "",
        },
    ]
    assert domains == ["example.org", "example.net"]
    assert [(app["provider_id"], app["client_id"], app["secret"]) for app in apps] == [
        ("google", "one", "of one"),
        ("team-login", "two", ""),
    ]
    assert [app["settings"]["server_url"] for app in apps] == [one["url"] for one in providers]
    assert all(app["settings"]["oauth_pkce_enabled"] for app in apps)
    assert actions[1:] == ["https://accounts.google.com", "https://login.example.org"]


def test_a_provider_without_its_address_is_refused_by_name():
    read = settings_with(OIDC_PROVIDERS="google", OIDC_GOOGLE_CLIENT_ID="one")

    assert read.returncode != 0
    assert "Set OIDC_GOOGLE_URL, or take its provider out of OIDC_PROVIDERS." in read.stderr


def test_every_command_that_compose_names_exists():
    programs = {"python", "gunicorn", "celery", "sh"}
    words = [" ".join(s["command"]) for s in OURS.values()]
    words += [" ".join(s["healthcheck"]["test"]) for s in OURS.values() if "healthcheck" in s]

    assert {word.split()[0] for word in words} <= programs | {"CMD"}
    for command in re.findall(r"manage\.py (\w+)", " ".join(words)):
        assert command in get_commands()
    for program in programs - {"sh"}:
        assert (Path(sys.executable).parent / program).exists()


def test_every_service_of_ours_that_stays_up_has_a_health_check_or_a_restart():
    for name, service in COMPOSE["services"].items():
        assert "healthcheck" in service or service.get("restart") in {"unless-stopped", "no"}, name


def queues_of(commands: Iterable[str]) -> set[str]:
    named = (re.search(r"--queues ([\w,]+)", command) for command in commands)
    return {queue for queues in named if queues for queue in queues[1].split(",")}


def test_every_queue_has_a_worker_in_the_compose_file_and_in_up():
    queues = {Run(kind=kind).queue for kind in Run.Kind}
    compose = [" ".join(s["command"]) for s in OURS.values() if "profiles" not in s]

    assert queues_of(compose) == queues_of(processes("localhost", 1).values()) == queues


def test_no_worker_that_trains_takes_anything_else_whose_users_wait():
    commands = [" ".join(s["command"]) for s in OURS.values()] + list(processes("localhost", 1).values())

    trainers = [command for command in commands if "train" in queues_of([command])]

    assert len(trainers) == 3
    assert queues_of(trainers) == {"train"}


def test_every_process_gives_memory_back_after_a_large_file(monkeypatch):
    """Without the variable a web process that had read four bombs stayed at 1,674 MB, with it at 155."""
    started = {}

    class Recorded:
        returncode = 0

        def __init__(self, screen):
            self.screen = screen

        def add_process(self, name, command, env, **_):
            started[name] = env

        def loop(self):
            pass

    monkeypatch.setattr(up, "Manager", Recorded)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    up.Command().handle(host="127.0.0.1", port=0)

    assert started.keys() == processes("127.0.0.1", 0).keys()
    assert {env["MALLOC_TRIM_THRESHOLD_"] for env in started.values()} == {"131072"}
    assert all(env["PATH"] == os.environ["PATH"] for env in started.values())
    for page in ("Dockerfile", "docs/how-to/deploy.md"):
        assert "MALLOC_TRIM_THRESHOLD_=131072" in (ROOT / page).read_text()


def test_no_worker_that_does_short_work_scores_or_trains():
    commands = [" ".join(s["command"]) for s in OURS.values()] + list(processes("localhost", 1).values())

    short = [command for command in commands if "work" in queues_of([command])]

    assert len(short) == 2
    assert queues_of(short) == {"work"}


def test_a_worker_that_does_short_work_loads_no_torch():
    code = (
        "import django; django.setup(); import workbench.worker.celery, workbench.worker.tasks, sys; "
        "workbench.worker.celery.app.loader.import_default_modules(); print('torch' in sys.modules)"
    )

    result = python("-c", code, DEBUG="1", DJANGO_SETTINGS_MODULE="workbench.settings")

    assert result.stdout.strip() == "False", result.stderr


def own_commands() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app == "workbench")


@pytest.mark.parametrize("name", own_commands())
def test_every_command_has_help_with_an_example(name):
    parser = load_command_class("workbench", name).create_parser("manage.py", name)

    help_text = parser.format_help()

    assert re.search(r"examples?:\n\s+(\w+=\S+ )?manage\.py " + name, help_text), help_text
    assert parser.description
