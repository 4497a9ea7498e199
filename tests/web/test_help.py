"""The help: the files of docs/ in the site's frame, for everybody; every page links to its own."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse

from tests.factories import UserFactory
from tests.web.test_access import TABLE, paths_in
from workbench import docs
from workbench.views.docs import EXPLAINED

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

ROOT = Path(__file__).resolve().parents[2]
OURS = docs.documents(ROOT / "docs")


class Reader(HTMLParser):
    """The ids, links, pictures and headings of a page, and the text of its main part."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        if tag == "a":
            self.links.append(named["href"])
        if tag == "img":
            self.pictures.append((named["src"], named.get("alt", "")))


def read(client: Client, path: str) -> Reader:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return Reader(answer.content.decode())


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Write a file of docs/ by its path and text."""
    monkeypatch.setattr(docs, "FOLDER", tmp_path)
    docs.documents.cache_clear()
    docs.pictures.cache_clear()

    def write(path: str, text: str | bytes) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


# What is shown


def test_the_contents_list_every_file_of_the_users_docs_and_none_for_developers(client):
    files = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in ROOT.glob("docs/**/*.md")}
    users = {path for path in files if not path.startswith("development/")}

    links = read(client, "/help/").links

    assert users < files
    assert {link for link in links if link.startswith("/help/") and link != "/help/"} == {
        f"/help/{path}/" for path in {*users, "reference/operations"}
    }


def test_the_contents_are_in_the_four_parts_of_the_docs(client):
    page = client.get("/help/").content.decode()

    assert re.findall(r"<h2>(.*)</h2>", page) == ["Tutorial", "How to", "Reference", "Explanation"]


def test_a_page_has_its_title_where_it_lies_and_a_language(client):
    page = client.get("/help/how-to/imports/").content.decode()

    assert "<title>Import preference data · Help · Preference workbench</title>" in page
    assert '<a href="/help/">Help</a> / How to</nav>' in page
    assert '<html lang="en">' in page
    assert page.count("<h1") == 1


@pytest.mark.parametrize("path", OURS)
def test_every_link_and_picture_of_a_help_page_leads_somewhere(path, client):
    here = reverse("help_page", args=[path])
    page = read(client, here)
    targets = [urlsplit(urljoin(here, link)) for link in page.links]
    ours = [target for target in targets if not target.scheme and target.path.startswith("/help/")]

    pages = {path: read(client, path) for path in {target.path for target in ours}}
    for target in ours:
        assert not target.fragment or target.fragment in pages[target.path].ids, target.geturl()
    for source, alt in page.pictures:
        if not source.startswith(settings.STATIC_URL):
            assert client.get(source).status_code == 200, source
            assert alt, source


@pytest.mark.parametrize("path", OURS)
def test_a_help_page_has_one_title_and_each_of_its_ids_once(path, client):
    page = read(client, reverse("help_page", args=[path]))

    assert page.tags.count("h1") == 1
    assert sorted(page.ids) == sorted(set(page.ids))


def test_the_headings_of_a_page_are_listed_beside_its_text(library, client):
    library("how-to/soup.md", "# Soup\n\n## Stock & bones\n\n### Salt\n\n## Salt\n\n## Salt\n")

    page = client.get("/help/how-to/soup/").content.decode()

    assert re.findall(r'<li[^>]*><a href="(#[^"]*)">(.*)</a></li>', page) == [
        ("#stock--bones", "Stock &amp; bones"),
        ("#salt", "Salt"),
        ("#salt-1", "Salt"),
        ("#salt-2", "Salt"),
    ]
    assert '<h2 id="stock--bones">Stock &amp; bones' in page


def test_links_between_files_become_links_between_pages(library, client):
    text = "[Peel](../reference/knives.md#the-small-one) ![A pot](../pictures/pot.png)"
    library("how-to/soup.md", f"# Soup\n\n{text}\n")
    library("reference/knives.md", "# Knives\n\n[web](https://example.org/a.md), [below](#the-small-one)\n")

    soup = read(client, "/help/how-to/soup/")
    knives = read(client, "/help/reference/knives/")

    assert "/help/reference/knives/#the-small-one" in soup.links
    assert ("/help/pictures/pot.png", "A pot") in soup.pictures
    assert {"https://example.org/a.md", "#the-small-one"} <= set(knives.links)


def test_html_in_a_file_is_shown_and_not_obeyed(library, client):
    hostile = "<script>alert(1)</script>\n\n[x](javascript:alert(1))"
    library("tutorial.md", f"# <b>Bold</b>\n\n## <i>x</i>\n\n{hostile}\n")

    page = client.get("/help/tutorial/").content.decode()
    found = client.get("/help/search/?q=alert").content.decode()

    assert "<script>alert" not in page + found
    assert "<b>Bold" not in page + found
    assert "<i>x" not in page + found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'href="javascript:' not in page


# Who may see it, and what not


def test_the_help_needs_no_login_and_the_login_page_links_to_it(client):
    page = read(client, "/login/")

    assert "/help/" in page.links
    for path in ("/help/", "/help/tutorial/", "/help/search/?q=vote"):
        assert read(client, path).tags.count("h1") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/help/development/architecture/",
        "/help/../manage/",
        "/help/how-to/../../README/",
        "/help/how-to/",
        "/help/how-to/imports.md/",
        "/help//etc/passwd/",
        "/help/pictures/../settings.md",
        "/help/pictures/..%2Ftutorial.md",
        "/help/pictures/none.webp",
    ],
)
def test_nothing_but_help_pages_and_their_pictures_is_served(path, client):
    assert client.get(path, follow=True).status_code == 404


def test_a_picture_that_is_a_link_out_of_the_folder_is_not_served(library, tmp_path, client):
    library("pictures/pot.png", b"pot")
    secret = tmp_path.parent / "secret.png"
    secret.write_bytes(b"secret")
    (tmp_path / "pictures" / "out.png").symlink_to(secret)
    library("pictures/notes.txt", "secret")

    answers = {name: client.get(f"/help/pictures/{name}") for name in ("pot.png", "out.png", "notes.txt")}

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "pot.png": 200,
        "out.png": 404,
        "notes.txt": 404,
    }
    assert answers["pot.png"].headers["Content-Type"] == "image/png"


def test_an_address_without_a_page_says_so_and_lists_all_pages(client):
    answer = client.get("/help/how-to/no-such-page/")

    assert answer.status_code == 404
    assert "There is no help page at this address. These are all help pages:" in answer.content.decode()
    assert "/help/how-to/imports/" in Reader(answer.content.decode()).links


@pytest.mark.parametrize(
    ("path", "status"), [("/help/", 200), ("/help/tutorial/", 404), ("/help/search/?q=a", 200)]
)
def test_where_docs_is_not_installed_the_help_says_so(path, status, tmp_path, monkeypatch, client):
    monkeypatch.setattr(docs, "FOLDER", tmp_path / "missing")

    answer = client.get(path)

    assert answer.status_code == status
    assert (
        "The help is not installed: there is no folder <code>docs</code> beside <code>manage.py</code>."
        in answer.content.decode()
    )


def test_the_image_for_docker_has_the_docs():
    assert "\nCOPY docs/ docs/\n" in (ROOT / "Dockerfile").read_text()
    assert not [line for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("docs")]
    assert docs.FOLDER == settings.BASE_DIR / "docs"


def test_every_picture_is_small_and_some_page_shows_it(client):
    shown = {urlsplit(source).path for path in OURS for source, _ in read(client, f"/help/{path}/").pictures}
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}

    assert {reverse("help_picture", args=[name]) for name in sizes} <= shown
    assert {name for name, size in sizes.items() if size > 60_000} == set()


# The search


@pytest.fixture
def kitchen(library):
    library("tutorial.md", "# First steps\n\nBoil water.\n\n## Salt the water\n\nTwo spoons.\n")
    library("how-to/salt.md", "# Salt\n\nA pinch is enough.\n")
    library("how-to/soup.md", "# Soup\n\nAdd salt, then the `soft_label` jar.\n\n    salt = water / 100\n")
    library("reference/bread.md", "# Bread\n\n| flour | water |\n|---|---|\n| 500 g | 325 g |\n")


def titles(client: Client, query: str) -> list[str]:
    page = client.get("/help/search/", {"q": query}).content.decode()
    return re.findall(r'<h2><a href="[^"]*">([^<]*)</a>', page)


def test_a_page_with_the_word_in_its_title_comes_first_then_in_a_heading_then_in_the_text(kitchen, client):
    assert titles(client, "salt") == ["Salt", "First steps", "Soup"]


def test_a_page_must_have_every_word(kitchen, client):
    assert titles(client, "water salt") == ["First steps", "Soup"]
    assert titles(client, "water salt pinch") == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("WATER", ["First steps", "Soup", "Bread"]),
        ("wat", ["First steps", "Soup", "Bread"]),
        ("ater", []),
        ("label", ["Soup"]),
        ("soft_label", ["Soup"]),
        ("325", ["Bread"]),
        ("spoons. (two)", ["First steps"]),
        (".*", []),
    ],
)
def test_words_are_matched_by_their_beginning_whatever_their_case(kitchen, client, query, expected):
    assert sorted(titles(client, query)) == sorted(expected)


def test_a_result_shows_where_the_words_are_and_leads_there(kitchen, client):
    page = client.get("/help/search/", {"q": "salt spoon"}).content.decode()

    assert '<h3><a href="/help/tutorial/#salt-the-water">Salt the water</a></h3>' in page
    assert "<p>Two <mark>spoons</mark>.</p>" in page


def test_an_excerpt_of_a_long_text_is_cut_at_words(library, client):
    library("tutorial.md", "# Long\n\n" + "before " * 90 + "needle " + "after " * 90 + "\n")

    (excerpt,) = re.findall(r"<p>(… .*? …)</p>", client.get("/help/search/?q=needle").content.decode())

    plain = re.sub("</?mark>", "", excerpt)
    assert set(plain.strip("… ").split()) == {"before", "needle", "after"}
    assert 150 < len(plain) < 270


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "Type one word or more."),
        ("  ", "Type one word or more."),
        ("zebra", "No help page has “zebra”. A page must have every word"),
        ("<zebra>", "No help page has “&lt;zebra&gt;”."),
    ],
)
def test_a_search_without_results_says_what_to_do(kitchen, client, query, sentence):
    assert sentence in client.get("/help/search/", {"q": query}).content.decode()


def test_a_query_of_any_length_is_answered_at_once(client):
    answer = client.get("/help/search/", {"q": "a b c d e " * 20_000})

    assert answer.status_code == 200
    assert len(answer.content) < 200_000


# Every page links to its own


def test_every_page_has_its_place_in_the_help():
    names = {pattern.name for pattern in get_resolver().url_patterns if isinstance(pattern, URLPattern)}
    explained = [name for names_of_place in EXPLAINED.values() for name in names_of_place]

    assert sorted(explained) == sorted({*names, "admin"})


@pytest.mark.parametrize("place", [place for place in EXPLAINED if place])
def test_the_help_of_a_page_is_a_page_and_a_heading_that_exist(place):
    path, _, anchor = place.partition("#")

    assert path in OURS
    assert not anchor or anchor in {passage.heading.anchor for passage in OURS[path].passages}


def help_of(client: Client, path: str) -> str:
    (link,) = re.findall(
        r'<a class="button quiet" href="([^"]*)">Help</a>', client.get(path).content.decode()
    )
    return link


OF_ONE_OBJECT = {"", "dataset", "comparison", "version"}
SHOWN = {
    name
    for name, row in TABLE.items()
    if row.method == "GET" and row.of in OF_ONE_OBJECT and row.statuses[-1] == 200
}


FILES = {"openapi", "time_sheet_csv", "account_data", "history_csv", "dataset_history_csv"}


@pytest.mark.parametrize("name", sorted(SHOWN - FILES))
def test_a_page_links_to_its_help(name, dataset, as_user):
    client = as_user(UserFactory.create(is_staff=True))
    place = next(place for place, names in EXPLAINED.items() if name in names)
    path, mark, anchor = place.partition("#")

    link = help_of(client, paths_in(dataset)(name))

    assert link == (f"/help/{path}/" if path else "/help/") + mark + anchor


def test_a_page_that_is_not_there_links_to_the_contents(client, dataset, as_user, bob, charlie):
    assert help_of(as_user(bob), "/no/such/page/") == "/help/"
    assert help_of(as_user(charlie), dataset.get_absolute_url()).startswith("/help/")


def test_the_page_of_an_error_links_to_the_contents(client, monkeypatch, settings):
    monkeypatch.setattr("workbench.views.docs.docs.search", lambda *_: 1 / 0)
    client.raise_request_exception = False

    answer = client.get("/help/search/?q=a")

    assert answer.status_code == 500
    assert '<a class="button quiet" href="/help/">Help</a>' in answer.content.decode()


def test_the_pages_for_accounts_link_to_their_help(as_user):
    client = as_user(UserFactory.create(is_staff=True, is_superuser=True))

    page = read(client, reverse("admin:index"))

    assert "/help/how-to/accounts/#accounts" in page.links
