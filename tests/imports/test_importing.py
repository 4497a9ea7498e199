"""The promises of an import: every shape of the docs, real data with its counts, all or nothing, once."""

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from django.db import connection

from scoring.rows.checks import observe
from scoring.rows.rows import Row
from tests.conftest import SHARED
from workbench.models import Comparison, Completion, Dataset, Judgment, Prompt
from workbench.pipeline import imports
from workbench.pipeline.imports import Draft
from workbench.pipeline.imports.packed import pack
from workbench.pipeline.runs.progress import Cancelled

pytestmark = pytest.mark.django_db

DOCS = (Path(__file__).parents[2] / "docs/how-to/imports.md").read_text()
EXAMPLES = dict(re.findall(r"^### `([\w-]+)`\n.*?^```json\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL))
ROW = {"id": "1", "prompt": "p", "chosen": "good", "rejected": "bad"}


def take(tmp_path, rows, name: str = "rows.jsonl", dataset: Dataset | None = None, **options):
    path = tmp_path / name
    content = rows if isinstance(rows, bytes) else "\n".join(map(json.dumps, rows)).encode()
    path.write_bytes(content)
    dataset = dataset or Dataset(name="New")
    return imports.import_file(path, dataset, imports.ImportOptions(**options))


def test_the_docs_have_an_example_of_every_shape():
    assert set(EXAMPLES) == set(imports.SHAPES)


@pytest.mark.parametrize("shape", EXAMPLES)
def test_an_example_of_the_docs_is_recognised_by_its_columns(shape, tmp_path):
    by_name_only = {"format": shape} if shape == "prompts" else {}

    result = take(tmp_path, EXAMPLES[shape].encode(), **by_name_only)

    assert (result.accepted, result.format, result.problems) == (True, shape, ())
    assert result.judgments >= (shape != "prompts")
    best = set() if shape == "prompts" else {Judgment.objects.exclude(outcome="tie").first()}
    for judgment in best:
        preferred = getattr(judgment.comparison, judgment.outcome).text
        assert preferred not in {"Nine.", "A bat.", "The sea.", "No.", "No idea.", "A story.", "One."}


ODD = (None, True, 0, -1, 1.5, 10**30, "", "x", "[1]", [], [None], [1], [[]], [{}], {}, {"a": 1}, {"role": 1})


def with_odd_values(value, path=()):
    """Copies of a row, each with one value, at any depth, replaced by an odd value or left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        for odd in ODD:
            yield [*path, key], odd
        yield from with_odd_values(item, (*path, key))


def replaced(row, path, odd):
    copy = json.loads(json.dumps(row))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = odd
    return copy


@pytest.mark.parametrize("shape", EXAMPLES)
def test_a_value_that_is_not_what_its_column_promises_is_told_or_taken_and_never_a_crash(shape):
    first, *later = map(json.loads, EXAMPLES[shape].splitlines())
    for path, odd in with_odd_values(first):
        rows = [Row(line, values) for line, values in enumerate([replaced(first, path, odd), *later], 1)]
        for draft_or_problem in imports.SHAPES[shape].drafts(rows, imports.ImportOptions()):
            if isinstance(draft_or_problem, Draft):
                pack(draft_or_problem)
                observe(draft_or_problem)
            else:
                assert draft_or_problem.line
                assert draft_or_problem.message
                assert len(draft_or_problem.excerpt) <= 80


COUNTS = {
    "ukpconvarg/full_votes.jsonl.gz": {"rows": 16_927, "prompts": 32},
    "pandalm/testset-v1.json": {"prompts": 170},
    "oasst/en_100_tree.jsonl": {"prompts": 212, "comparisons": 754},
    "hh_harmless/harmless-base.test.jsonl.gz": {"rows": 2_307, "rejected": 5, "comparisons": 2_307},
    "webgpt_subset/webgpt.jsonl": {"rows": 134, "comparisons": 134},
    "llamafactory_dpo/dpo_en_demo.json": {"rows": 295, "duplicates": 5},
    "llmbar/LLMBar_Natural.json": {"rows": 100},
    "llmbar/LLMBar_Adversarial_Neighbor.json": {"rows": 134},
    "llmbar/LLMBar_Adversarial_GPTInst.json": {"rows": 92},
    "llmbar/LLMBar_Adversarial_GPTOut.json": {"rows": 47},
    "llmbar/LLMBar_Adversarial_Manual.json": {"rows": 46},
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", COUNTS)
def test_a_public_set_goes_in_with_the_counts_of_its_readme(name):
    result = imports.import_file(
        SHARED / "data" / name, Dataset(name="Real"), imports.ImportOptions(lenient=True)
    )

    assert {key: getattr(result, key) for key in COUNTS[name]} == COUNTS[name]


@pytest.mark.real_data
def test_answers_that_are_the_json_value_true_are_told():
    result = imports.import_file(SHARED / "data/pandalm/testset-v1.json", Dataset(name="Real"))

    assert result.rows == 999
    assert "(6 rows: lines 1886" in result.notes[0]
    assert Completion.objects.filter(text="true", metadata__given_as=True).exists()


@pytest.mark.real_data
def test_a_transcript_can_be_written_again_byte_for_byte():
    from scoring.rows.shapes.pairs import transcript

    path = SHARED / "data/hh_harmless/harmless-base.test.jsonl.gz"
    imports.import_file(path, Dataset(name="Real"), imports.ImportOptions(lenient=True))

    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        transcripts = {json.loads(line)["chosen"] for line in file}
    written = {
        transcript([*c.prompt.messages, {"role": "assistant", "content": c.text}])
        for c in Completion.objects.select_related("prompt")
    }
    assert len(transcripts - written) == 5


def test_a_new_dataset_that_gets_no_rows_is_not_left_behind(tmp_path):
    result = take(tmp_path, [ROW, {"prompt": "p"}])

    assert not result.accepted
    assert not Dataset.objects.exists()


def test_a_cancel_while_rows_are_stored_leaves_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW))

    with pytest.raises(Cancelled):
        imports.import_file(path, Dataset(name="New"), progress=lambda phase, *_: phase != "storing")

    assert not Dataset.objects.exists()
    assert not Prompt.objects.exists()


def test_a_dry_run_counts_and_keeps_nothing(tmp_path):
    result = take(tmp_path, [ROW], dry_run=True)

    assert (result.accepted, result.comparisons) == (True, 1)
    assert not Dataset.objects.exists()


def test_the_order_of_a_comparison_does_not_tell_the_label(tmp_path):
    take(tmp_path, [{**ROW, "id": str(n), "prompt": f"p{n}", "chosen": f"good {n}"} for n in range(40)])

    assert all(c.a.sha256 < c.b.sha256 for c in Comparison.objects.select_related("a", "b"))
    assert {j.outcome for j in Judgment.objects.all()} == {"a", "b"}
    for judgment in Judgment.objects.select_related("comparison__a", "comparison__b"):
        assert getattr(judgment.comparison, judgment.outcome).text.startswith("good")


def test_comparisons_are_shuffled_each_for_itself(tmp_path):
    take(tmp_path, [{**ROW, "id": str(n), "prompt": f"p{n}"} for n in range(20)])

    assert len(set(Comparison.objects.values_list("random_rank", flat=True))) == 20


def test_a_voice_that_contradicts_itself_is_told_and_its_first_answer_stands(tmp_path):
    result = take(tmp_path, [ROW, {**ROW, "id": "2", "chosen": "bad", "rejected": "good"}])

    judgment = Judgment.objects.get()
    assert result.contradictions == 1
    assert getattr(judgment.comparison, judgment.outcome).text == "good"


def test_a_second_source_adds_its_labels_to_the_same_comparisons(tmp_path):
    take(tmp_path, [ROW], source="first")

    result = take(tmp_path, [ROW], dataset=Dataset.objects.get(), source="second")

    assert (result.comparisons, result.judgments) == (0, 1)
    assert Comparison.objects.get().judgments.count() == 2


@pytest.mark.parametrize(("policy", "pairs"), [("all", 6), ("adjacent", 3), ("best-worst", 1)])
def test_a_ranking_becomes_pairs_as_the_policy_says(policy, pairs, tmp_path):
    completions = [{"text": t, "rank": r} for t, r in zip("abcd", (1, 2, 2, 4), strict=True)]

    result = take(tmp_path, [{"prompt": "p", "completions": completions}], pairs=policy)

    assert result.comparisons == pairs
    assert result.ties == (policy != "best-worst")


ARENA = {"id": 1, "model_a": "x", "model_b": "y", "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}


@pytest.mark.parametrize(("escape", "code"), [("\\u0000", "nul"), ("\\ud83d", "lone_surrogate")])
def test_text_inside_a_text_is_held_to_the_same_rules(escape, code, tmp_path):
    row = {**ARENA, "prompt": f'["Hi {escape}"]', "response_a": '["a"]', "response_b": '["b"]'}

    result = take(tmp_path, [row])

    assert [(p.line, p.field, p.code) for p in result.problems] == [(1, "prompt", code)]


def test_a_system_column_is_said_before_the_prompt(tmp_path):
    take(tmp_path, [{**ROW, "system": "Be brief."}, {**ROW, "id": "2", "prompt": "q", "system": ""}])

    roles = [[m["role"] for m in prompt.messages] for prompt in Prompt.objects.order_by("pk")]
    assert roles == [["system", "user"], ["user"]]


def test_numbers_in_a_list_beside_the_completions_rank_them(tmp_path):
    row = {"prompt": "p", "completions": ["a", "b"], "scores": [1, 2]}

    good = take(tmp_path, [row])
    bad = take(tmp_path, [{**row, "scores": [1]}])

    judgment = Judgment.objects.get()
    assert (good.judgments, getattr(judgment.comparison, judgment.outcome).text) == (1, "b")
    assert bad.problems[0].message == "scores has 1 entries, completions has 2"


def test_a_prompt_column_may_name_the_first_question_of_a_longer_conversation(tmp_path):
    def transcript_of(answer):
        texts = [("user", "p"), ("assistant", "x"), ("user", "q"), ("assistant", answer)]
        return [{"role": role, "content": text} for role, text in texts]

    result = take(tmp_path, [{"prompt": "p", "chosen": transcript_of("a"), "rejected": transcript_of("b")}])
    unequal = take(
        tmp_path, [{"prompt": "else", "chosen": transcript_of("a"), "rejected": transcript_of("b")}]
    )

    assert result.accepted
    assert len(Prompt.objects.get().messages) == 3
    assert unequal.problems[0].code == "unequal_prefixes"


def test_good_and_bad_rows_of_a_prompt_become_pairs_wherever_they_stand(tmp_path):
    rows = [
        {"prompt": [{"role": "user", "content": prompt}], "completion": text, "label": label}
        for prompt, text, label in (("p", "a", True), ("q", "b", True), ("p", "c", False), ("q", "d", False))
    ]

    result = take(tmp_path, rows)

    assert (result.prompts, result.comparisons) == (2, 2)
    assert {getattr(j.comparison, j.outcome).text for j in Judgment.objects.all()} == {"a", "b"}


def test_rows_of_many_statements_are_stored_each_with_its_own_and_in_order(tmp_path):
    rows = [
        {"id": f"c{n}", "prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(1234)
    ]

    take(tmp_path, rows)

    stored = Judgment.objects.order_by("comparison__prompt").select_related(
        "comparison__prompt", "comparison__a", "comparison__b"
    )
    assert [
        {
            "id": j.comparison.external_id,
            "prompt": j.comparison.prompt.messages[0]["content"],
            "chosen": getattr(j.comparison, j.outcome).text,
            "rejected": getattr(j.comparison, "b" if j.outcome == "a" else "a").text,
        }
        for j in stored
    ] == rows
    assert {(j.stage, j.purpose, j.is_current) for j in stored} == {("imported", "work", True)}


def test_a_preview_of_rows_that_wait_for_each_other_reads_no_more_than_it_shows(tmp_path, dataset):
    path = tmp_path / "rows.jsonl"
    row = '{"prompt": "p%d", "completion": "a", "label": true}\n'
    path.write_text("".join(row % number for number in range(3000)))

    seen = imports.preview(path, dataset)

    assert (seen.whole, seen.result.rows) == (False, 1000)


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path):
    columns = [pa.array([text]) for text in "pqab"]
    table = pa.Table.from_arrays(columns, names=["prompt", "prompt", "chosen", "rejected"])
    pq.write_table(table, tmp_path / "rows.parquet")

    result = imports.import_file(tmp_path / "rows.parquet", Dataset(name="New"))

    assert result.problems[0].code == "duplicate_column"


def test_a_date_that_no_calendar_has_is_a_bad_row(tmp_path):
    texts = {"prompt": ["p", "q"], "chosen": ["a", "a"], "rejected": ["b", "b"]}
    table = pa.table({**texts, "when": pa.array([0, 2**62], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "rows.parquet")

    result = imports.import_file(
        tmp_path / "rows.parquet", Dataset(name="New"), imports.ImportOptions(lenient=True)
    )

    assert [(p.line, p.code) for p in result.problems] == [(2, "out_of_range")]
    assert result.rows == 1


def test_a_zstd_file_that_is_cut_off_is_refused(tmp_path):
    packed = zstandard.compress("\n".join(json.dumps({**ROW, "id": str(n)}) for n in range(2000)).encode())

    whole = take(tmp_path, packed, "rows.jsonl.zst", dry_run=True)
    cut = take(tmp_path, packed[:-10], "rows.jsonl.zst")

    assert whole.accepted
    assert (cut.accepted, cut.problems[0].code) == (False, "truncated")


def test_every_member_of_a_gzip_file_is_read(tmp_path):
    parts = [
        gzip.compress(json.dumps({**ROW, "id": str(n), "prompt": f"p{n}"}).encode() + b"\n") for n in (1, 2)
    ]

    assert take(tmp_path, b"".join(parts), "rows.jsonl.gz").rows == 2


def test_a_key_that_stands_twice_in_an_object_is_refused(tmp_path):
    result = take(tmp_path, b'{"prompt": "p", "prompt": "q", "chosen": "a", "rejected": "b"}')

    assert result.problems[0].code == "duplicate_key"


def test_a_json_array_names_the_line_of_a_bad_element(tmp_path):
    result = take(tmp_path, json.dumps([ROW, {"prompt": "q"}], indent=1).encode(), "rows.json")

    assert [(p.line, p.field) for p in result.problems] == [(8, "chosen")]


def test_a_folder_saved_by_datasets_goes_in(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([ROW]).save_to_disk(tmp_path / "saved")

    result = imports.import_file(tmp_path / "saved", Dataset(name="New"))

    assert (result.rows, result.format) == (1, "preference")


def test_a_preview_reads_only(tmp_path, dataset):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW))

    seen = imports.preview(path, dataset)

    assert (seen.whole, seen.result.comparisons, len(seen.examples)) == (True, 1, 1)
    assert not Prompt.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="for the suite on PostgreSQL")
def test_postgresql_knows_how_many_rows_an_import_has_added(tmp_path, transactional_db):
    """Else it plans as for a small table until autovacuum comes, and reads all rows for each hundred."""

    def known() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'workbench_completion'")
            return int(cursor.fetchone()[0])

    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(f'{{"prompt": "Question {n}?", "chosen": "{n}", "rejected": "No"}}\n' for n in range(800))
    )
    before = known()

    imports.import_file(path, Dataset(name="Dry"), imports.ImportOptions(dry_run=True))
    assert known() == before

    imports.import_file(path, Dataset(name="New"))
    assert known() == 1600
