"""Vectors are computed once for each text, whatever happens to the worker, and found again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import CompletionFactory, DatasetFactory, RunFactory
from tests.vectors.conftest import ENCODER, bag_of_words, prompt
from workbench.models import Completion, Dataset, Prompt, Run
from workbench.pipeline.datasets import deleting
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.vectors import run as vectors
from workbench.pipeline.vectors import similar, store
from workbench.pipeline.vectors.similar import NoVector
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def prompts(dataset) -> list[Prompt]:
    texts = (
        "How do I bake a chocolate cake?",
        "How long does a chocolate cake bake?",
        "Which bus goes to the harbour?",
        "When does the bus to the harbour leave?",
    )
    return [prompt(dataset, text, f"{text} It depends.", f"{text} Ask somebody.") for text in texts]


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    monkeypatch.setattr(vectors, "CHUNK", 2)


def keys_of(dataset: Dataset) -> dict[str, list[int]]:
    """The primary keys in the files, by kind, in their order."""
    found = {kind: store.rows(dataset.pk, kind) for kind in store.KINDS}
    return {kind: rows.keys[:, 0].tolist() if rows else [] for kind, rows in found.items()}


def all_keys(dataset: Dataset) -> dict[str, list[int]]:
    return {
        "prompts": list(Prompt.objects.of(dataset).values_list("pk", flat=True)),
        "completions": list(Completion.objects.of(dataset).order_by("pk").values_list("pk", flat=True)),
    }


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


def test_each_text_gets_one_vector_of_length_one(dataset, prompts, encoded):
    run = encoded(dataset)

    assert (run.state, run.result, run.done, run.total) == ("done", {"texts": 12}, 12, 12)
    assert run.progress == "12 of 12 texts"
    assert keys_of(dataset) == all_keys(dataset)
    rows = store.rows(dataset.pk, "completions")
    np.testing.assert_allclose(np.linalg.norm(rows.exact, axis=1), 1, atol=1e-6)
    assert rows.keys[:, 1].tolist() == [pk for prompt in prompts for pk in (prompt.pk, prompt.pk)]


def test_killed_after_any_chunk_it_goes_on_where_it_was(dataset, prompts, small_chunks, monkeypatch):
    encoded_texts: list[str] = []
    beat = Run.update_progress

    def encode(texts):
        encoded_texts.extend(texts)
        return bag_of_words(texts)

    def killed(self: Run, *args: object) -> bool:
        assert beat(self, *args)
        if len(encoded_texts) % 4 == 2:
            raise Killed
        return True

    monkeypatch.setattr(Run, "update_progress", killed)
    run = RunFactory.create(dataset=dataset, kind="vectors")
    attempts = 0
    while run.state != "done":
        Run.objects.filter(pk=run.pk).update(state="waiting")
        assert run.start()
        attempts += 1
        try:
            lifecycle.carry_out(
                run, lambda run: vectors.carry_out(run, lambda: replace(ENCODER, encode=encode))
            )
        except Killed:
            encoded_texts.append("between two attempts")
            encoded_texts.append("so that the next is not killed at once")
        run.refresh_from_db()

    assert attempts > 1
    assert keys_of(dataset) == all_keys(dataset)
    texts = [text for text in encoded_texts if "?" in text]
    assert len(texts) == len(set(texts)) == 12


def test_what_a_worker_wrote_when_it_was_killed_is_not_seen_and_written_over(dataset, prompts, encoded):
    encoded(dataset)
    before = np.array(store.rows(dataset.pk, "prompts").exact)
    place = store.folder(dataset.pk) / ENCODER.identity[:32] / "prompts"
    for name in ("keys", "exact", "scanned", "scales"):
        with (place / name).open("ab") as file:
            file.write(b"\x01" * 77)

    assert len(store.rows(dataset.pk, "prompts")) == 4

    added = prompt(dataset, "What is new?")
    encoded(dataset)
    rows = store.rows(dataset.pk, "prompts")
    np.testing.assert_array_equal(rows.exact[:4], before)
    assert rows.keys[4].tolist() == [added.pk, added.pk]
    np.testing.assert_allclose(rows.scanned * rows.scales[:, None], rows.exact, atol=1 / 127)


def test_a_second_worker_at_the_same_rows_stops_and_writes_nothing(dataset, prompts):
    keys, exact = np.array([[1, 1]]), np.ones((1, 4), dtype=np.float32)
    assert store.append(dataset.pk, "a", "prompts", 0, keys, exact) == 1

    with pytest.raises(lifecycle.Cancelled):
        store.append(dataset.pk, "a", "prompts", 0, keys, exact)

    assert store.published(dataset.pk, "a", "prompts").rows == 1


def test_after_a_while_the_run_lets_others_have_their_turn_and_loses_no_attempt(
    dataset, prompts, small_chunks, monkeypatch, messages
):
    run = RunFactory.create(dataset=dataset, kind="vectors")
    monkeypatch.setattr(tasks.encoders, "load_encoder", lambda: ENCODER)
    monkeypatch.setattr(tasks.vectors.carry_out, "__defaults__", (lambda: False, 0.0))

    states = []
    for _ in range(6):
        tasks.carry_out(run.pk)
        run.refresh_from_db()
        states.append((run.state, run.done, run.attempts))

    assert states == [("waiting", n, 0) for n in (2, 4, 6, 8, 10)] + [("done", 12, 1)]
    assert keys_of(dataset) == all_keys(dataset)


def test_a_text_that_is_added_later_is_added_to_the_files(dataset, prompts, encoded):
    encoded(dataset)
    CompletionFactory.create(prompt=prompts[0], text="Half an hour.")
    prompt(dataset, "May I bake the cake for an hour?", "Yes.")

    run = encoded(dataset)

    assert run.params["done_before"] == 12
    assert run.result == {"texts": 15}
    assert {kind: sorted(keys) for kind, keys in keys_of(dataset).items()} == all_keys(dataset)


def test_another_encoder_begins_new_files_and_the_old_ones_are_read_until_it_is_done(
    dataset, prompts, encoded, small_chunks, monkeypatch
):
    encoded(dataset)
    other = vectors.Encoder("b" * 64, lambda texts: bag_of_words(texts)[:, ::-1])
    monkeypatch.setattr(vectors, "TURN_SECONDS", 0.0)
    run = RunFactory.create(dataset=dataset, kind="vectors")
    run.start()

    assert not vectors.carry_out(run, lambda: other, seconds=0.0)
    assert store.current(dataset.pk) == ENCODER.identity
    assert store.counts(dataset.pk) == {"prompts": 4, "completions": 8}

    encoded(dataset, other)
    assert store.current(dataset.pk) == other.identity
    assert keys_of(dataset) == all_keys(dataset)
    assert sorted(path.name for path in store.folder(dataset.pk).iterdir()) == ["b" * 32, "current"]


def test_a_run_begins_by_itself_where_texts_lack_a_vector_and_only_there(dataset, prompts, encoded):
    def begun(encoder: str = ENCODER.identity) -> bool:
        return vectors.begin_if_stale(dataset, encoder) is not None

    assert not vectors.begin_if_stale(DatasetFactory.create(), ENCODER.identity)
    first = vectors.begin_if_stale(dataset, ENCODER.identity)
    assert first is not None
    assert not begun()
    first.start()
    vectors.carry_out(first, lambda: ENCODER)
    assert not begun()

    RunFactory.create(dataset=dataset, kind="import", state="done", finished_at=timezone.now())
    assert not begun()
    with CaptureQueriesContext(connection) as queries:
        assert not begun()
    assert len(queries) == 2  # the texts are not counted a second time

    prompt(dataset, "What is new?")
    RunFactory.create(dataset=dataset, kind="score")
    assert begun()
    Run.objects.of_kind(Run.Kind.VECTORS).update(state="cancelled")
    assert not begun()
    assert begun("b" * 64)


def test_where_the_files_are_lost_they_are_made_again(dataset, prompts, encoded):
    encoded(dataset)
    Run.objects.update(params={"encoder": ENCODER.identity})
    assert vectors.begin_if_stale(dataset, ENCODER.identity) is None
    store.delete_files(dataset.pk)

    assert vectors.begin_if_stale(dataset, ENCODER.identity) is not None


def test_without_an_encoder_the_run_fails_with_what_is_missing(dataset, prompts, settings, messages):
    run = RunFactory.create(dataset=dataset, kind="vectors")
    settings.ENCODER_FOLDER = "/nowhere"

    tasks.carry_out(run.pk)
    tasks.reconcile()

    run.refresh_from_db()
    assert run.state == "failed"
    assert run.error == (
        "The encoder can't be used: /nowhere is no folder of sentence-transformers: it has no modules.json."
    )
    assert Run.objects.count() == 1


def test_deleting_a_dataset_deletes_its_vectors(dataset, prompts, encoded, alice):
    kept = DatasetFactory.create()
    prompt(kept, "What is this?")
    for each in (dataset, kept):
        encoded(each)

    tasks.carry_out(deleting.begin(dataset, alice).pk)

    assert not store.folder(dataset.pk).exists()
    assert store.folder(kept.pk).exists()


def test_a_dataset_that_is_deleted_meanwhile_leaves_no_file(dataset, prompts, small_chunks):
    run = RunFactory.create(dataset=dataset, kind="vectors")
    run.start()

    def encode(texts):
        Dataset.objects.filter(pk=dataset.pk).update(deleted_at=timezone.now())
        lifecycle.cancel(run)
        return bag_of_words(texts)

    lifecycle.carry_out(run, lambda run: vectors.carry_out(run, lambda: replace(ENCODER, encode=encode)))

    assert not store.folder(dataset.pk).exists()


def test_the_nearest_prompts_come_first(dataset, prompts, encoded):
    encoded(dataset)

    found = similar.like_prompt(dataset, prompts[0].pk, 2)

    assert found[0][0] == prompts[1].pk
    expected = bag_of_words(["How do I bake a chocolate cake?", "How long does a chocolate cake bake?"])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert found[0][1] == pytest.approx(float(expected[0] @ expected[1]), abs=1e-6)


def test_the_nearest_answers_of_other_prompts_come_with_their_prompts(dataset, prompts, encoded):
    encoded(dataset)
    answer = prompts[2].completions.first()

    found = similar.like_completion(dataset, answer.pk, 3)

    assert found[0][:2] == (prompts[3].pk, prompts[3].completions.first().pk)
    assert prompts[2].pk not in [of for of, _, _ in found]
    assert len({of for of, _, _ in found}) == len(found) == 3


def test_of_each_found_prompt_the_answer_is_shown_that_is_nearest(dataset, encoded):
    asked = prompt(dataset, "How do I bake a cake?")
    other = prompt(dataset, "What is for tea?", "Ask the cook.", "You bake a cake. How? I do.")
    encoded(dataset)

    best = similar.best_answers(dataset, asked.pk, [other.pk])

    assert best[other.pk][0] == other.completions.last().pk


def test_a_deleted_prompt_is_not_found_any_more(dataset, prompts, encoded):
    encoded(dataset)
    prompts[1].delete()

    assert prompts[1].pk not in [key for key, _ in similar.like_prompt(dataset, prompts[0].pk, 3)]
    answer = prompts[0].completions.first()
    assert prompts[1].pk not in [key for key, *_ in similar.like_completion(dataset, answer.pk, 3)]


def test_a_text_without_a_vector_is_said_to_have_none(dataset, prompts, encoded):
    with pytest.raises(NoVector):
        similar.like_prompt(dataset, prompts[0].pk, 3)
    encoded(dataset)
    added = prompt(dataset, "What is new?", "This.")

    with pytest.raises(NoVector):
        similar.like_prompt(dataset, added.pk, 3)
    with pytest.raises(NoVector):
        similar.like_completion(dataset, added.completions.first().pk, 3)


def test_the_scan_in_int8_finds_the_neighbours_that_float32_finds(monkeypatch):
    monkeypatch.setattr(similar, "SCANNED_AT_ONCE", 1_700)
    draw = np.random.default_rng(5)
    exact = draw.normal(size=(20_000, 96)).astype(np.float32)
    query = exact[77] / np.linalg.norm(exact[77])
    planted = draw.choice(np.arange(100, 20_000), 10, replace=False)
    for rank, place in enumerate(planted):
        exact[place] = query + (0.02 + 0.004 * rank) * draw.normal(size=96)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    scanned, scales = store.round_rows(exact)
    keys = np.stack([np.arange(20_000)] * 2, axis=1)

    places, cosines = similar.nearest(store.Rows(keys, exact, scanned, scales), query, 11)

    products = exact @ query
    by_float = np.argsort(-products, kind="stable")[:11]
    assert places.tolist() == by_float.tolist()
    assert set(places.tolist()) == {77, *planted.tolist()}
    np.testing.assert_allclose(cosines, products[by_float], rtol=1e-6)


def test_a_vector_that_is_no_number_is_like_nothing(dataset, prompts, encoded):
    def encode(texts):
        rows = bag_of_words(texts)
        rows[0] = np.nan
        return rows

    run = encoded(dataset, vectors.Encoder("c" * 64, encode))

    assert run.state == "done"
    assert {cosine for _, cosine in similar.like_prompt(dataset, prompts[0].pk, 3)} == {0.0}


def test_a_prompt_is_read_from_its_last_message_on():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "content": "Where?"},
        {"role": "user", "content": "In Oslo."},
    ]

    assert vectors.text_of_prompt(messages) == "In Oslo.\n\nWhere?\n\nHow warm is it?\n\nBe brief."
    assert len(vectors.text_of_prompt([{"role": "user", "content": "a" * 10**6}])) == vectors.LONGEST


def test_the_files_say_what_they_hold(dataset, prompts, encoded):
    encoded(dataset)

    place = store.folder(dataset.pk) / ENCODER.identity[:32] / "prompts"
    facts = json.loads((place / "published").read_text())
    assert facts == {"format": 1, "rows": 4, "width": 64, "encoder": ENCODER.identity}
