"""How long the annotation page takes from a key to the next pair on the screen, in Chromium.

    make bench-paint                                       SQLite, 100 pairs of each kind: five minutes
    make bench-paint ARGS="--pairs 10"                     a quick look: two minutes

The first table has p50 and p95 in ms for answers of about 180 words, 1,500 words and 100,000 characters. A
pair is painted when the frame after its first frame begins. The baseline is a key without a function: the
time of two frames on this machine.

The second table has, for answers of 1 MB, the longest time in ms in which the page was blocked, for each of
several keys: prose that differs in one word, code in a fence, and nothing but short fences.
"""

import argparse
import os
import shutil

# Before the models are imported: bench_annotate sets Django up.
from benchmarks.bench_annotate import logged_in, percentiles

# isort: split
from django.conf import settings
from django.core.management import call_command
from django.db.models import F, Value
from django.db.models.functions import Concat, Repeat
from playwright.sync_api import BrowserContext, Page, sync_playwright

from benchmarks.campaign import make_uniform
from benchmarks.web import web
from workbench.models import Completion, Dataset

LOOK = 300  # milliseconds in which the page takes no answer, as in onscreen.js
KINDS = {"180 words": 1, "1,500 words": 8, "100,000 characters": 78}  # times the 180 words

WATCH = """
() => {
  window.painted = [];
  window.idle = [];
  addEventListener("keydown", ({ key }) => {
    const pressed = performance.now();
    const before = document.querySelector(".item").dataset.comparison;
    const since = () => performance.now() - pressed;
    const look = () => {
      if (key === "z") return requestAnimationFrame(() => window.idle.push(since()));
      if (document.querySelector(".item")?.dataset.comparison === before) return requestAnimationFrame(look);
      requestAnimationFrame(() => window.painted.push(since()));
    };
    requestAnimationFrame(look);
  }, true);
}
"""


MEGABYTE = 1_000_000
LONG_TEXTS = {
    "prose": (
        "word and more words\n" * (MEGABYTE // 20),
        "word and more words\n" * (MEGABYTE // 20 - 1) + "end",
    ),
    "code": ("```\n" + "    x = 1\n" * (MEGABYTE // 10), "```\n" + "    y = 1\n" * (MEGABYTE // 10)),
    "fences": ("```\n\n```\n" * (MEGABYTE // 9), "a\n```\nb\n```\n" * (MEGABYTE // 12)),
}
ACTS = {
    "diff": "d",
    "scroll": "PageDown",
    "plain": "d",
    "markdown": "m",
    "end": "End",
    "raw": "m",
    "answer": "1",
}
BEAT = """
  window.beats = [];
  let last = performance.now();
  setInterval(() => {
    const now = performance.now();
    beats.push([now, now - last]);
    last = now;
  }, 8);
"""


def prepare(pairs: int, times: int) -> tuple[Dataset, str]:
    """A Dataset with answers of `times` 180 words, and the session of an annotator."""
    dataset = make_uniform(pairs + 5)
    more = Repeat(Value("more words "), (times - 1) * 115)
    Completion.objects.of(dataset).update(text=Concat(F("text"), more))
    return dataset, logged_in(dataset)[1]


def judge(page: Page, dataset: Dataset, pairs: int, think: int) -> tuple[list[float], list[float]]:
    """Milliseconds from each answer to the next pair on the screen, and from each key without a function to
    the second frame."""
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    page.wait_for_selector("body.has-script .item")
    page.evaluate(WATCH)
    for n in range(pairs):
        for key, list_name in (("z", "idle"), ("123"[n % 3], "painted")):
            page.wait_for_timeout(max(think / 2, LOOK / 2 + 50))
            page.keyboard.press(key)
            page.wait_for_function("([name, n]) => window[name].length > n", arg=[list_name, n])
    painted, idle = page.evaluate("[window.painted, window.idle]")
    return painted, idle


def prepare_long(texts: tuple[str, str]) -> tuple[Dataset, str]:
    """A Dataset with two pairs of the same long texts, and the session of an annotator."""
    dataset = make_uniform(2)
    for completion in Completion.objects.of(dataset).order_by("pk"):
        Completion.objects.filter(pk=completion.pk).update(text=texts[completion.pk % 2])
    return dataset, logged_in(dataset)[1]


def longest_blocks(page: Page, dataset: Dataset) -> list[float]:
    """Milliseconds of the longest block while the page opens, and in the second after each key."""
    page.set_default_timeout(60_000)
    page.add_init_script(BEAT)
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    page.wait_for_selector("body.has-script .item")
    page.wait_for_timeout(2_000)
    longest = [max(page.evaluate("beats.map(([, late]) => late)"))]
    for key in ACTS.values():
        begun = page.evaluate("performance.now()")
        page.keyboard.press(key)
        page.wait_for_timeout(1_000)
        longest.append(
            max(page.evaluate("t => beats.filter(([at]) => at > t).map(([, late]) => late)", begun))
        )
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--think", type=int, default=400)
    options = parser.parse_args()
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    print(
        f"{options.pairs} pairs each, {options.think} ms between keys, {LOOK} ms at least, before "
        "which the page takes no answer; goal: p50 100 ms or less"
    )
    print("completions          p50    p95  no-key p50")
    # Before Playwright starts: Django refuses to use a database in the thread of its event loop.
    prepared = [(kind, *prepare(options.pairs, times)) for kind, times in KINDS.items()]
    prepared_long = [(kind, *prepare_long(texts)) for kind, texts in LONG_TEXTS.items()]
    with web() as served, sync_playwright() as playwright:
        args = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=executable, args=args)

        def context_of(session: str) -> BrowserContext:
            context = browser.new_context(base_url=f"http://127.0.0.1:{served.port}")
            name = settings.SESSION_COOKIE_NAME
            context.add_cookies([{"name": name, "value": session, "url": f"http://127.0.0.1:{served.port}"}])
            return context

        for kind, dataset, session in prepared:
            context = context_of(session)
            painted, idle = judge(context.new_page(), dataset, options.pairs, options.think)
            (p50, p95), (idle_p50, _) = percentiles(painted), percentiles(idle)
            print(f"{kind:18} {p50:5.0f}  {p95:5.0f}  {idle_p50:10.0f}")
            context.close()
        print("longest block, 1 MB each side" + "".join(f"{act:>10}" for act in ["open", *ACTS]))
        for kind, dataset, session in prepared_long:
            context = context_of(session)
            blocks = longest_blocks(context.new_page(), dataset)
            print(f"{kind:29}" + "".join(f"{block:10.0f}" for block in blocks))
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
