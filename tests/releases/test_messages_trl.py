"""TRL's trainers on a Release of conversations with calls: messages and tools reach them unchanged."""

import pytest
from datasets import load_dataset

from scoring.messages import answer_reading
from tests.factories import ComparisonFactory, CompletionFactory, JudgmentFactory, PromptFactory
from tests.releases.test_trl import TINY, arguments
from tests.releases.test_trl import tokenizer as tokenizer
from workbench.models import Release
from workbench.pipeline import releases

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore"), pytest.mark.portable]

ROWS = 140  # of which some 100 fall in the training split
CHAT = """{% if tools %}tools: {{ tools | tojson }}<eos>{% endif %}\
{% for m in messages %}{{ m['role'] }}: {{ m['content'] if m['content'] else '' }}\
{% for c in m['tool_calls'] or [] %}{% set f = c['function'] %}call {{ f['name'] }} \
{{ f['arguments'] | tojson }}{% endfor %}<eos>{% endfor %}\
{% if add_generation_prompt %}assistant: {% endif %}"""


def tool(n: int) -> dict:
    """A schema with parameters of its own: in one struct, each row would get the keys of all rows."""
    properties = {f"city_{n}": {"type": "string"}, "unit": {"type": "string"}}
    function = {"name": f"weather_{n}", "parameters": {"type": "object", "properties": properties}}
    return {"type": "function", "function": function}


def row(n: int) -> dict:
    arguments = {"unit": n} if n % 3 else {"unit": "c", f"city_{n}": ["Oslo"]}
    call = {"type": "function", "function": {"name": f"weather_{n}", "arguments": arguments}}
    return {
        "prompt": [{"role": "user", "content": f"How warm is it in town {n}?"}],
        "chosen": [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "name": f"weather_{n}", "content": f"{n} degrees"},
            {"role": "assistant", "content": f"It is {n} degrees."},
        ],
        "rejected": [{"role": "assistant", "content": f"No idea {n}."}],
        "tools": [tool(n)],
    }


@pytest.fixture
def chatty(tokenizer):
    plain, tokenizer.chat_template = tokenizer.chat_template, CHAT
    yield tokenizer
    tokenizer.chat_template = plain


@pytest.fixture
def load(dataset, tmp_path):
    """Builds a profile of the conversations and loads its training split as its card says."""
    for example in map(row, range(ROWS)):
        prompt = PromptFactory.create(dataset=dataset, messages=example["prompt"], tools=example["tools"])
        calls, text = example["chosen"], example["rejected"][0]["content"]
        a = CompletionFactory.create(prompt=prompt, text=answer_reading(calls), conversation=calls)
        b = CompletionFactory.create(prompt=prompt, text=text)
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt, a=a, b=b), outcome="a")

    def of_profile(name: str):
        releases.copy_to(releases.build(Release(dataset=dataset, profiles=[name])), tmp_path / name)
        loaded = load_dataset(str(tmp_path / name), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) >= 100
        return loaded

    return of_profile


def of_town(name: str) -> int:
    return int(name.rpartition("_")[2])


def two_steps(folder):
    return arguments(folder) | {"max_steps": 2}


def model(tokenizer, *, scores: bool = False):
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, **TINY)
    if not scores:
        return LlamaForCausalLM(config)
    config.num_labels = 1
    return LlamaForSequenceClassification(config)


def test_a_release_of_calls_loads_equal_to_what_is_stored(load):
    for loaded in load("trl-chat"):
        assert loaded == row(of_town(loaded["tools"][0]["function"]["name"]))


def test_dpo_renders_the_tools_and_trains(load, chatty, tmp_path):
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(
        model(chatty),
        ref_model=model(chatty),
        args=DPOConfig(**two_steps(tmp_path)),
        train_dataset=load("trl-chat"),
        processing_class=chatty,
    )

    first = trainer.train_dataset[0]
    prompt, chosen = (chatty.decode(first[f"{name}_ids"]) for name in ("prompt", "chosen"))
    assert "tools: " in prompt
    assert '"properties"' in prompt
    assert "call weather_" in chosen
    assert trainer.train().global_step == 2


def test_kto_renders_the_tools_and_trains(load, chatty, tmp_path):
    from trl import KTOConfig, KTOTrainer

    rows = load("kto-chat")
    trainer = KTOTrainer(
        model(chatty),
        ref_model=model(chatty),
        args=KTOConfig(**two_steps(tmp_path)),
        train_dataset=rows,
        processing_class=chatty,
    )

    rendered = chatty.decode(trainer.train_dataset[0]["prompt_ids"])
    assert "tools: " in rendered
    assert '"properties"' in rendered
    assert trainer.train().global_step == 2


def test_the_reward_trainer_renders_the_tools_and_trains(load, chatty, tmp_path):
    from trl import RewardConfig, RewardTrainer

    trainer = RewardTrainer(
        model(chatty, scores=True),
        args=RewardConfig(**two_steps(tmp_path)),
        train_dataset=load("trl-chat"),
        processing_class=chatty,
    )

    chosen = chatty.decode(trainer.train_dataset[0]["chosen_ids"])
    assert "tools: " in chosen
    assert "call weather_" in chosen
    assert trainer.train().global_step == 2
