"""One factory for each model, with plain values."""

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from scoring.messages import search_text
from workbench import models
from workbench.models.dataset import answer_digest, group_digest, messages_digest
from workbench.pipeline.imports.packed import prompt_facts


class UserFactory(DjangoModelFactory):
    class Meta:
        model = models.User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user{n}")
    password = factory.django.Password("correct horse battery")


class AnnotatorFactory(DjangoModelFactory):
    class Meta:
        model = models.Annotator

    user = factory.SubFactory(UserFactory)


class DatasetFactory(DjangoModelFactory):
    class Meta:
        model = models.Dataset

    name = factory.Sequence(lambda n: f"Dataset {n}")


class PromptFactory(DjangoModelFactory):
    class Meta:
        model = models.Prompt

    dataset = factory.SubFactory(DatasetFactory)
    messages = factory.Sequence(lambda n: [{"role": "user", "content": f"Question {n}?"}])
    tools = None
    reading = factory.LazyAttribute(lambda o: search_text(o.messages))
    sha256 = factory.LazyAttribute(lambda o: messages_digest(o.messages, o.tools))
    group = factory.LazyAttribute(lambda o: group_digest(o.messages))
    characters = factory.LazyAttribute(lambda o: prompt_facts(o.messages).characters)
    turns = factory.LazyAttribute(lambda o: prompt_facts(o.messages).turns)
    language = factory.LazyAttribute(lambda o: prompt_facts(o.messages).language)


class CompletionFactory(DjangoModelFactory):
    class Meta:
        model = models.Completion

    prompt = factory.SubFactory(PromptFactory)
    text = factory.Sequence(lambda n: f"Answer {n}.")
    conversation = None
    sha256 = factory.LazyAttribute(
        lambda o: messages_digest(o.conversation) if o.conversation else answer_digest(o.text)
    )


class ComparisonFactory(DjangoModelFactory):
    class Meta:
        model = models.Comparison

    prompt = factory.SubFactory(PromptFactory)
    dataset = factory.LazyAttribute(lambda o: o.prompt.dataset)
    a = factory.SubFactory(CompletionFactory, prompt=factory.SelfAttribute("..prompt"))
    b = factory.SubFactory(CompletionFactory, prompt=factory.SelfAttribute("..prompt"))


class ModelVersionFactory(DjangoModelFactory):
    class Meta:
        model = models.ModelVersion

    name = factory.Sequence(lambda n: f"model-{n}")
    kind = models.ModelVersion.Kind.TRANSFORMER
    weights_sha256 = factory.Sequence(lambda n: f"{n:064x}")
    activated_at = factory.LazyAttribute(lambda o: timezone.now() if o.state == "active" else None)
    state = models.ModelVersion.State.REGISTERED


class ScoreFactory(DjangoModelFactory):
    class Meta:
        model = models.Score

    completion = factory.SubFactory(CompletionFactory)
    version = factory.SubFactory(ModelVersionFactory)
    value = 0.0
    precision = "fp32"


class SuggestionFactory(DjangoModelFactory):
    class Meta:
        model = models.Suggestion

    comparison = factory.SubFactory(ComparisonFactory)
    version = factory.SubFactory(ModelVersionFactory)
    margin = 1.0


class JudgmentFactory(DjangoModelFactory):
    class Meta:
        model = models.Judgment

    comparison = factory.SubFactory(ComparisonFactory)
    annotator = factory.SubFactory(AnnotatorFactory)
    outcome = "a"
    stage = models.Judgment.Stage.FIRST
    mode = factory.LazyAttribute(lambda o: "" if o.stage == models.Judgment.Stage.IMPORTED else "blind")


class RunFactory(DjangoModelFactory):
    class Meta:
        model = models.Run

    kind = models.Run.Kind.SCORE
    dataset = factory.SubFactory(DatasetFactory)
