"""Chromium against a live server. SCREENSHOTS=folder keeps a picture of every state that a test names."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests import services
from workbench.models import User

# Playwright's synchronous interface runs an event loop in the test's thread, in which Django would refuse to
# touch the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATIENCE = 20_000
"""Milliseconds until an act or an expectation fails: a busy machine may take long over the first page."""
expect.set_options(timeout=PATIENCE)


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = _chromium()
    services.require(None if executable else "no Chromium found: install chromium, or name one in CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_as(browser: Browser, live_server, transactional_db) -> Iterator[Callable[..., Page]]:
    """A page of a person who is logged in already; closed after the test, which fails on a script error.
    More keywords go to the browser context (viewport, color_scheme, java_script_enabled, ...)."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(user: User | None, **options) -> Page:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = browser.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        if user:
            log_in(context, user)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.set_default_navigation_timeout(2 * PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def look(page: Page) -> None:
    """As long as what has come on screen takes no answer, and a little more: from the paint on, however late
    a busy machine paints."""
    page.evaluate(
        "() => new Promise(seen => requestAnimationFrame("
        "() => requestAnimationFrame(() => setTimeout(seen, 450))))"
    )


def log_in(context: BrowserContext, user: User) -> None:
    client = Client()
    client.force_login(user, backend="workbench.backends.NameOrMail")
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": "http://localhost"}])


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Save a screenshot under the given name, when SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")

    def take(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(folder) / f"{name}.png"))

    return take


@pytest.fixture
def accessible() -> Callable[[Page, str], None]:
    """Assert that what the page shows breaks no rule of WCAG 2.2 AA that axe can check."""
    axe = Axe()
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}

    def check(page: Page, state: str = "") -> None:
        results = axe.run(page, options=options)
        assert results.violations_count == 0, f"{state}\n{results.generate_report()}"

    return check
