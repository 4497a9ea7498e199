"""Near-duplicates are one group, different short questions are not, and a stored group never changes."""

import json

import pytest
from datasketch import MinHash

from tests.factories import DatasetFactory
from workbench.models import Dataset, Prompt, PromptKey
from workbench.models.dataset import group_digest
from workbench.pipeline import imports
from workbench.pipeline.text.near_duplicates import keys_of, likeness, minima_of, shingles_of

pytestmark = pytest.mark.django_db

SALT = (
    "I am cooking dinner for six people tonight and would like to know how much salt belongs into three "
    "litres of water when I boil fresh egg noodles in it for about four minutes"
)
BREAD = (
    "My sourdough starter has been in the fridge for three weeks without any food and now smells of nail "
    "polish remover, so should I throw it away or can I still bring it back to life"
)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def take(tmp_path, prompts, dataset: Dataset | None = None, **options):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": prompt, "chosen": "good", "rejected": "bad"} for prompt in prompts]
    path.write_text("\n".join(map(json.dumps, rows)))
    return imports.import_file(path, dataset or Dataset(name="New"), imports.ImportOptions(**options))


def groups() -> list[str]:
    return list(Prompt.objects.order_by("pk").values_list("group", flat=True))


@pytest.mark.parametrize(
    "prompt",
    [
        SALT.upper() + "?!",
        "  " + SALT.replace(" ", "\n") + ", please",
        SALT.replace("six", "eight"),
        "Hello! " + SALT,
        SALT.replace("noodles", "pasta"),
    ],
)
def test_a_long_prompt_that_hardly_differs_joins_the_group_of_the_first(prompt, tmp_path):
    result = take(tmp_path, [SALT, BREAD, prompt])

    first, bread, near = groups()
    assert first == near == group_digest(ask(SALT))
    assert bread == group_digest(ask(BREAD))
    assert result.near_duplicates == 1


@pytest.mark.parametrize(
    ("question", "other_question"),
    [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Who wrote Faust, part one?", "Who wrote Faust, part two?"),
        ("Is 91 a prime number", "Is 97 a prime number"),
        ("How many people live in the city of Paris", "How many people live in the city of Paris, Texas"),
        (
            "Write a function that takes a list of numbers and returns the sum of all even ones",
            "Write a function that takes a list of numbers and returns the sum of all odd ones",
        ),
        ("日本の首都はどこですか", "韓国の首都はどこですか"),
        (SALT, BREAD),
        (f"{SALT} In other words: {BREAD}", SALT),
    ],
)
def test_two_questions_are_two_groups(question, other_question, tmp_path):
    result = take(tmp_path, [question, other_question])

    assert len(set(groups())) == 2
    assert result.near_duplicates == 0


def test_short_prompts_are_one_group_when_only_case_and_white_space_differ(tmp_path):
    take(tmp_path, ["What is salt?", "what is\tSALT?"])

    assert len(set(groups())) == 1


def test_a_text_that_spaces_do_not_divide_is_compared_by_its_characters(tmp_path):
    question = "我家的酸面团在冰箱里放了三个星期没有喂养现在闻起来像洗甲水请问我应该把它扔掉还是可以救活它呢"

    result = take(tmp_path, [question, "请问" + question])

    assert result.near_duplicates == 1


def test_a_system_message_that_all_prompts_share_makes_no_near_duplicates(tmp_path):
    system = {"role": "system", "content": SALT}

    result = take(tmp_path, [[system, *ask("Name a bird.")], [system, *ask("Name a tree.")]])

    assert result.near_duplicates == 0
    assert len(set(groups())) == 2


def test_a_later_import_joins_what_is_stored_and_moves_nothing(tmp_path):
    take(tmp_path, [BREAD, SALT])
    before = groups()
    dataset = Dataset.objects.get()

    result = take(tmp_path, [SALT + " now", SALT + " today", "Name a bird."], dataset)

    assert groups() == [*before, before[1], before[1], group_digest(ask("Name a bird."))]
    assert result.near_duplicates == 2


def test_a_prompt_like_two_groups_joins_the_one_that_began_first(tmp_path, dataset):
    words = [f"word{number}" for number in range(60)]
    end, start = " ".join(words[10:]), " ".join(words[:-10])
    assert likeness(*(shingles_of(ask(text)) for text in (start, end))) < 0.7
    take(tmp_path, [end], dataset)
    take(tmp_path, [start], dataset)
    assert len(set(groups())) == 2

    take(tmp_path, [" ".join(words)], dataset)

    assert groups()[2] == groups()[0]


def test_rows_of_one_file_are_grouped_as_if_each_came_by_itself(tmp_path):
    prompts = [SALT, f"{SALT} now", f"well {SALT} now", BREAD, f"so {BREAD}", SALT.lower(), f"oh {BREAD}!"]
    take(tmp_path, prompts)
    at_once = groups()
    Dataset.objects.all().delete()

    for prompt in prompts:
        take(tmp_path, [prompt], Dataset.objects.first())

    assert groups() == at_once
    assert len(set(at_once)) == 2


def test_a_text_equal_to_one_that_joined_a_group_is_in_that_group(tmp_path):
    take(tmp_path, [SALT, f"{SALT} now"])

    result = take(tmp_path, [f"{SALT.upper()} NOW"], Dataset.objects.get())

    assert len(groups()) == 3
    assert set(groups()) == {group_digest(ask(SALT))}
    assert result.near_duplicates == 0


def test_the_same_file_again_changes_no_group_and_adds_no_key(tmp_path):
    prompts = [SALT, f"{SALT} now", BREAD]
    take(tmp_path, prompts)
    before = groups(), PromptKey.objects.count()

    result = take(tmp_path, prompts, Dataset.objects.get())

    assert (groups(), PromptKey.objects.count()) == before
    assert (result.already_there, result.near_duplicates) == (3, 0)


def test_groups_are_those_of_one_dataset(tmp_path):
    cellar = DatasetFactory.create(name="Cellar")
    take(tmp_path, [SALT])

    take(tmp_path, [f"{SALT} now"], cellar)

    assert len(set(groups())) == 2


def test_a_prompt_that_is_gone_is_joined_by_nobody_and_its_keys_go_to_the_next(tmp_path):
    take(tmp_path, [SALT])
    Prompt.objects.all().delete()
    dataset = Dataset.objects.get()

    take(tmp_path, [f"{SALT} now"], dataset)
    result = take(tmp_path, [f"{SALT} today"], dataset)

    assert set(groups()) == {group_digest(ask(f"{SALT} now"))}
    assert result.near_duplicates == 1


def test_a_dataset_takes_its_keys_along_when_it_is_deleted(tmp_path):
    take(tmp_path, [SALT])

    Dataset.objects.get().delete()

    assert not PromptKey.objects.exists()


def test_near_duplicates_can_be_left_alone(tmp_path):
    result = take(tmp_path, [SALT, f"{SALT} now"], near_duplicates=False)

    assert len(set(groups())) == 2
    assert result.near_duplicates == 0


def test_a_refused_row_begins_no_group(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [("1", "Name a bird."), ("1", SALT), ("2", f"{SALT} now")]
    path.write_text(
        "\n".join(json.dumps({"id": i, "prompt": p, "chosen": "a", "rejected": "b"}) for i, p in rows)
    )

    imports.import_file(path, Dataset(name="New"), imports.ImportOptions(lenient=True))

    assert groups()[-1] == group_digest(ask(f"{SALT} now"))


def test_a_preview_counts_near_duplicates_of_the_file_and_of_the_dataset(tmp_path, dataset):
    take(tmp_path, [SALT], dataset)
    path = tmp_path / "more.jsonl"
    prompts = [f"{SALT} now", BREAD, f"so {BREAD}"]
    path.write_text("\n".join(json.dumps({"prompt": p, "chosen": "a", "rejected": "b"}) for p in prompts))

    seen = imports.preview(path, dataset).result

    assert seen.near_duplicates == 2
    assert Prompt.objects.count() == 1


@pytest.mark.parametrize("between", [" ", "_", ", -- ", "\n\n", "\u2028", " é "])
@pytest.mark.parametrize("around", ["", "_", "?! ", "\n"])
def test_twenty_words_are_long_however_they_are_told_apart(between, around):
    words = ["Word2"] * 20 if between != " é " else ["Word2"] * 10 + ["x"]

    assert shingles_of(ask(around + between.join(words) + around)) is not None
    assert shingles_of(ask(around + between.join(words[:-1]) + around)) is None


def test_the_keys_of_a_text_are_for_ever():
    """Stored keys must equal the keys of later versions of this code and its libraries."""
    keys = keys_of([shingles_of(ask(SALT))])[0].tolist()

    assert keys[0] == 738881682019722032


def test_many_texts_are_signed_at_once_as_datasketch_signs_them_one_by_one():
    texts = [SALT, BREAD, f"{SALT} {BREAD}", "a " * 20]
    prompts = [shingles_of(ask(text)) for text in texts]
    minima = []
    for shingles in prompts:
        signature = MinHash(num_perm=32, seed=1, hashfunc=int, scheme="affine32")
        signature.update_batch(shingles)
        minima.append(signature.hashvalues)

    assert (minima_of(prompts) == minima).all()
    assert keys_of(prompts).tolist() == [keys_of([shingles])[0].tolist() for shingles in prompts]


OPENING = "How do I keep a sourdough starter alive?"


def talk(*turns: str, system: str = "") -> list[dict[str, str]]:
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
    return [{"role": "system", "content": system}, *messages] if system else messages


def test_conversations_that_begin_alike_are_one_group_with_the_prompt_that_they_begin_with(tmp_path):
    take(
        tmp_path,
        [
            talk(OPENING, "Feed it.", "How often?"),
            ask(OPENING.upper()),
            talk(OPENING, "Do not.", "Why not?", "It smells.", "And then?"),
            talk(OPENING, "Feed it.", "How often?", system="Be brief."),
            talk("Hello there", "Hi.", "What is a lease?"),
            talk("Hello there", "Hi.", "What is a claim?"),
            ask("Hello there"),
        ],
    )

    first, alone, longest, briefly, *greetings = groups()
    assert first == alone == longest == group_digest(ask(OPENING))
    assert briefly not in (first, *greetings)
    assert len(set(greetings)) == 3


def test_a_conversation_that_comes_later_joins_the_one_that_began_alike(tmp_path, dataset):
    take(tmp_path, [ask(SALT), talk(SALT.replace("six", "eight"), "A lot.", "How much?")], dataset)

    take(tmp_path, [talk(SALT.replace("six", "eight"), "Little.", "Why?")], dataset)

    assert len(set(groups())) == 1


def rows_of_trees(tmp_path, rows, dataset):
    path = tmp_path / "trees.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"prompt": prompt, "chosen": "good", "rejected": "bad", "message_tree_id": tree})
            for prompt, tree in rows
        )
    )
    return imports.import_file(path, dataset)


def test_prompts_of_one_tree_of_the_file_are_one_group(tmp_path, dataset):
    rows = [
        ("Hi", "t1"),
        (talk("Hi", "Yo.", "What is a lease?"), "t1"),
        ("Hm?", "t2"),
        ("Ho", ""),
        ("Ha", None),
    ]

    rows_of_trees(tmp_path, rows, dataset)
    rows_of_trees(tmp_path, [("And what is a claim?", "t1"), ("Oh", "t3")], dataset)

    hi, lease, hm, ho, ha, claim, oh = groups()
    assert hi == lease == claim == group_digest(ask("Hi"))
    assert len({hi, hm, ho, ha, oh}) == 5


def test_near_duplicates_left_alone_do_not_tear_conversations_apart(tmp_path):
    take(
        tmp_path,
        [talk(OPENING, "Feed it.", "How often?"), talk(OPENING, "Do not.", "Why?")],
        near_duplicates=False,
    )

    assert len(set(groups())) == 1
