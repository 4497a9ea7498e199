"""From key press to the next pair painted, in Chromium against real web processes on loopback.

    make bench-paint                                       SQLite, 100 pairs judged
    make bench-paint ARGS="--pairs 300 --think 400"        with 400 ms of thinking between two keys

Prints p50 and p95 in ms of three kinds of completions: about 180 words each, 1,500 words each, and 100,000
characters each. An answer is painted when the frame after the one that holds the next pair has begun.
"""

import argparse
import os
import shutil

# First: it settles where the data goes, and sets Django up.
from benchmarks.bench_annotate import logged_in, make_dataset, percentiles, web

# isort: split
from django.conf import settings
from django.core.management import call_command
from django.db.models import F, Value
from django.db.models.functions import Concat, Repeat
from playwright.sync_api import Page, sync_playwright

from workbench.models import Completion, Dataset

KINDS = {"180 words": 1, "1,500 words": 8, "100,000 characters": 78}  # times the 180 words

WATCH = """
() => {
  window.painted = [];
  let pressed = 0, before = null;
  addEventListener("keydown", () => {
    pressed = performance.now();
    before = document.querySelector(".item").dataset.comparison;
    const look = () => {
      if (document.querySelector(".item")?.dataset.comparison === before) return requestAnimationFrame(look);
      requestAnimationFrame(() => window.painted.push(performance.now() - pressed));
    };
    requestAnimationFrame(look);
  }, true);
}
"""


def judge(page: Page, dataset: Dataset, pairs: int, think: int) -> list[float]:
    """Milliseconds from each key to the next pair on screen."""
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    page.wait_for_selector("body.has-script .item")
    page.evaluate(WATCH)
    for n in range(pairs):
        page.wait_for_timeout(think)
        page.keyboard.press("123"[n % 3])
        page.wait_for_function("n => window.painted.length > n", arg=n)
    times: list[float] = page.evaluate("window.painted")
    return times


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
    print(f"{options.pairs} pairs each, {options.think} ms between keys; goal: p50 100 ms or less")
    print("completions          p50    p95")
    with web() as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        for kind, times in KINDS.items():
            dataset = make_dataset(options.pairs + 5, overlap=1)
            Completion.objects.of(dataset).update(
                text=Concat(F("text"), Repeat(Value("more words "), times * 110))
            )
            _, session = logged_in(dataset)
            context = browser.new_context(base_url=f"http://127.0.0.1:{port}")
            name = settings.SESSION_COOKIE_NAME
            context.add_cookies([{"name": name, "value": session, "url": f"http://127.0.0.1:{port}"}])
            middle, most = percentiles(judge(context.new_page(), dataset, options.pairs, options.think))
            print(f"{kind:18} {middle:5.0f}  {most:5.0f}")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
