"""The list of models."""

import openai
import pytest

ALL = {"gpt-4o", "gpt-4o-mini", "gpt-4", "gpt-35-turbo"}


@pytest.mark.parametrize("region", ["eu", "us"])
def test_the_list(connect, region):
    models = list(connect(region).models.list())
    assert {model.id for model in models} == ALL
    assert all(model.object == "model" and model.owned_by for model in models)
    assert all(isinstance(model.created, int) for model in models)


def test_the_list_holds_what_the_workspace_may_use(connect):
    models = connect(api_key="sk-mini-only").models.list()
    assert [model.id for model in models] == ["gpt-4o-mini"]


def test_one_model(client):
    model = client.models.retrieve("gpt-4o")
    assert (model.id, model.object) == ("gpt-4o", "model")


def test_one_that_is_unknown_or_forbidden(client, connect, check_refusal):
    for caller, name in ((client, "gpt-9"), (connect(api_key="sk-mini-only"), "gpt-4o")):
        with pytest.raises(openai.NotFoundError) as raised:
            caller.models.retrieve(name)
        check_refusal(raised.value, code="model_not_found")
