"""An imported conversation is released equal: through the import, the database and a Release, as JSON lines
and as Parquet."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from django.db import connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scoring.messages import canonical
from workbench.models import Completion, Dataset, Prompt, Release
from workbench.pipeline import imports, releases

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore"), pytest.mark.portable]

# --- conversations ------------------------------------------------------------------------------------------

text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
).filter(lambda drawn: drawn.strip())
name = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
number = st.integers(-(2**63), 2**64 - 1) | st.floats(-1e15, 1e15)
value = st.recursive(
    st.none() | st.booleans() | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(name, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(name, value, max_size=3)
extras = st.fixed_dictionaries(
    {}, optional={"name": name, "weight": st.integers(0, 1), "metadata": arguments}
)


def merged(*parts):
    return st.tuples(*parts).map(
        lambda objects: {key: item for part in objects for key, item in part.items()}
    )


def typed(kind: str):
    return st.fixed_dictionaries({"type": st.just(kind), "text": text})


openai_call = st.fixed_dictionaries(
    {
        "id": name,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": name, "arguments": arguments.map(json.dumps)}),
    }
)
openai_said = merged(
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": text | st.lists(typed("text"), min_size=1, max_size=3)},
        optional={"refusal": st.none(), "reasoning_content": text},
    ),
    extras,
)
openai_calls = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": st.none() | text,
        "tool_calls": st.lists(openai_call, min_size=1, max_size=2),
    }
) | st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": st.none(),
        "function_call": st.fixed_dictionaries({"name": name, "arguments": text}),
    }
)
openai_result = st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": name, "content": text})

anthropic_said = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": st.lists(
            typed("text")
            | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": text, "signature": text}),
            min_size=1,
            max_size=3,
        ),
    }
)
anthropic_calls = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": st.lists(
            st.fixed_dictionaries(
                {"type": st.just("tool_use"), "id": name, "name": name, "input": arguments}
            ),
            min_size=1,
            max_size=2,
        ),
    }
)
anthropic_result = st.fixed_dictionaries(
    {
        "role": st.just("user"),
        "content": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.just("tool_result"),
                    "tool_use_id": name,
                    "content": text | st.lists(typed("text"), min_size=1, max_size=2),
                }
            ),
            min_size=1,
            max_size=2,
        ),
    }
)

trl_call = st.fixed_dictionaries(
    {
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": name, "arguments": arguments}),
    }
)
trl_said = st.fixed_dictionaries({"role": st.just("assistant"), "content": text})
trl_calls = st.fixed_dictionaries(
    {"role": st.just("assistant"), "tool_calls": st.lists(trl_call, min_size=1, max_size=2)}
)
trl_result = st.fixed_dictionaries({"role": st.just("tool"), "name": name, "content": text})

question = merged(
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": text | st.lists(typed("text"), min_size=1, max_size=2)}
    ),
    extras,
)
system = st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": text})
FORMS = [
    (openai_said, openai_calls, openai_result),
    (anthropic_said, anthropic_calls, anthropic_result),
    (trl_said, trl_calls, trl_result),
]


@st.composite
def rows(draw) -> dict:
    """One row of the explicit form: a prompt of messages, and two answers of one message or several."""
    reply, calls, result = draw(st.sampled_from(FORMS))
    turns = st.lists(st.tuples(question, st.tuples(reply) | st.tuples(calls, result, reply)), max_size=2)
    before = [message for turn, answers in draw(turns) for message in (turn, *answers)]
    answer = st.tuples(reply) | st.tuples(calls, result, reply) | st.tuples(calls)
    chosen, rejected = (list(draw(answer)) for _ in range(2))
    return {
        "prompt": [*draw(st.lists(system, max_size=1)), *before, draw(question)],
        "chosen": chosen,
        "rejected": rejected,
    }


def distinct(drawn_rows: list[dict]) -> list[dict]:
    """One row a prompt, and none of two equal answers: such make no pair, or are one."""
    kept = {
        canonical(row["prompt"]): row
        for row in drawn_rows
        if canonical(row["chosen"]) != canonical(row["rejected"])
    }
    return list(kept.values())


def in_order(drawn_rows: list[dict]) -> list[str]:
    """As canonical JSON, so that 1 is not true, and the order of the file says nothing."""
    return sorted(canonical(row) for row in drawn_rows)


# --- in and out ---------------------------------------------------------------------------------------------


def take(folder: Path, drawn_rows: list[dict]) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in drawn_rows), "utf-8")
    result = imports.import_file(path, Dataset(name=f"Whole {Dataset.objects.count()}"))
    assert result.accepted, result.problems[:3]
    assert result.comparisons == len(drawn_rows)
    return Dataset.objects.latest("pk")


def release(folder: Path, dataset: Dataset, *profiles: str, formats: tuple[str, ...] = ("jsonl",)) -> Path:
    built = releases.build(Release(dataset=dataset, profiles=list(profiles), formats=list(formats)))
    releases.copy_to(built, folder)
    return folder


def lines(folder: Path, profile: str) -> list[dict]:
    return [
        json.loads(line)
        for path in folder.glob(f"{profile}.*.jsonl")
        for line in path.read_text("utf-8").split("\n")
        if line
    ]


def stored(folder: Path, profile: str) -> list[dict]:
    """The rows of Parquet files, their JSON read: `datasets` reads it too, but rounds the last digit of some
    numbers."""
    tables = [pq.read_table(path).to_pylist() for path in folder.glob(f"{profile}.*.parquet")]
    return [{column: read(kept) for column, kept in row.items()} for table in tables for row in table]


def read(kept):
    if isinstance(kept, list):
        return [read(item) for item in kept]
    return json.loads(kept) if isinstance(kept, str) else kept


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example builds a Release: too slow to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(rows(), min_size=1, max_size=8))
def test_conversations_go_out_equal_in_json_lines_and_parquet(tmp_path_factory, conversations):
    conversations = distinct(conversations)
    if not conversations:
        return
    folder = tmp_path_factory.mktemp("whole")
    dataset = take(folder, conversations)
    out = release(folder / "out", dataset, "trl-chat", "trl-chat-implicit", formats=("jsonl", "parquet"))

    assert in_order(lines(out, "trl-chat")) == in_order(conversations)
    assert in_order(stored(out, "trl-chat")) == in_order(conversations)
    whole = [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in conversations]
    assert in_order(lines(out, "trl-chat-implicit")) == in_order(whole)


def of_number(n: int) -> dict:
    """A row in one of the three forms, told apart from every other by its number and its own keys."""
    degrees, arguments = f"{n}", {"city": f"Town {n}", "days": n % 7}
    if n % 5:
        arguments[f"only_{n}"] = [n / 8, None, {"deep": True}]
    if n % 3 == 0:
        call = {
            "id": f"c{n}",
            "type": "function",
            "function": {"name": "w", "arguments": json.dumps(arguments)},
        }
        calls = {"role": "assistant", "content": None, "tool_calls": [call]}
        answer = [calls, {"role": "tool", "tool_call_id": f"c{n}", "content": degrees}]
    elif n % 3 == 1:
        used = {"type": "tool_use", "id": f"c{n}", "name": "w", "input": arguments}
        result = {
            "type": "tool_result",
            "tool_use_id": f"c{n}",
            "content": [{"type": "text", "text": degrees}],
        }
        thought = {"type": "thinking", "thinking": "Hm.", "signature": f"s{n}"}
        answer = [{"role": "assistant", "content": [thought, used]}, {"role": "user", "content": [result]}]
    else:
        call = {"type": "function", "function": {"name": "w", "arguments": arguments}}
        answer = [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "name": "w", "content": degrees},
        ]
    question = f"How warm is it in town {n}?"
    return {
        "prompt": [{"role": "user", "content": question if n % 2 else [{"type": "text", "text": question}]}],
        "chosen": [*answer, {"role": "assistant", "content": f"{n} degrees.", "weight": n % 2}],
        "rejected": [{"role": "assistant", "content": f"No idea {n}.", "reasoning_content": "I can't know."}],
    }


@pytest.mark.skipif(connection.vendor != "sqlite", reason="once is enough, and SQLite is everywhere")
def test_ten_thousand_conversations_go_out_equal_in_json_lines_and_as_datasets_loads_parquet(tmp_path):
    conversations = [of_number(n) for n in range(10_000)]

    dataset = take(tmp_path, conversations)
    out = release(tmp_path / "out", dataset, "trl-chat", formats=("jsonl", "parquet"))

    expected = in_order(conversations)
    assert in_order(lines(out, "trl-chat")) == expected
    files = [str(path) for path in out.glob("*.parquet")]
    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert in_order(loaded.to_list()) == expected


def test_the_order_of_keys_stays_and_one_key_more_is_another_prompt(tmp_path):
    call = {
        "type": "function",
        "function": {"name": "w", "arguments": {"zebra": 1, "a": {"unit": 2, "b": 1}}},
    }
    row = {
        "prompt": [{"content": "How warm?", "role": "user"}],
        "chosen": [{"role": "assistant", "tool_calls": [call], "content": None}],
        "rejected": [{"role": "assistant", "content": "No idea."}],
    }
    named = {**row, "prompt": [{**row["prompt"][0], "name": "ann"}]}

    dataset = take(tmp_path, [row, named])

    out = lines(release(tmp_path / "out", dataset, "trl-chat"), "trl-chat")
    assert sorted(map(json.dumps, out)) == sorted(map(json.dumps, [row, named]))
    assert {len(prompt.messages[0]) for prompt in Prompt.objects.all()} == {2, 3}


def test_answers_that_read_the_same_are_two_where_their_messages_differ(tmp_path):
    answer = {"role": "assistant", "content": "Four."}
    row = {
        "prompt": [{"role": "user", "content": "How warm?"}],
        "chosen": [{**answer, "weight": 1}],
        "rejected": [answer],
    }

    take(tmp_path, [row])

    kept, plain = Completion.objects.order_by("pk")
    assert kept.text == plain.text == "Four."
    assert {tuple(completion.messages[0].items()) for completion in (kept, plain)} == {
        tuple(answer.items()), tuple({**answer, "weight": 1}.items())
    }  # fmt: skip


def test_profiles_of_texts_leave_out_by_name_what_texts_cannot_say(tmp_path):
    ask, answer = {"role": "user", "content": "How warm?"}, {"role": "assistant", "content": "Four."}
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "w", "arguments": "{}"}}],
    }
    parts = [{"type": "text", "text": "How "}, {"type": "text", "text": "cold?"}]
    rows = [
        {"prompt": [ask], "chosen": [call], "rejected": [answer]},
        {"prompt": [{"role": "user", "content": parts}], "chosen": [answer], "rejected": "No."},
    ]
    dataset = take(tmp_path, rows)

    out = release(tmp_path / "out", dataset, "preference", "soft-label", "llama-factory", "axolotl")

    facts = json.loads((out / "manifest.json").read_bytes())["profiles"]
    assert lines(out, "preference") == [{"prompt": "How cold?", "chosen": "Four.", "rejected": "No."}]
    assert facts["preference"]["left_out"] == {"messages": 1}
    assert {row["prompt"] for row in lines(out, "soft-label")} == {"How warm?", "How cold?"}
    assert facts["llama-factory"]["left_out"] == {"messages": 2}
    assert sorted(len(row["chosen"]) for row in lines(out, "axolotl")) == [2, 3]
