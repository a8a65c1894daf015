"""The official Anthropic Python SDK against the gateway, whoever provides the model."""

import os

import anthropic
from anthropic import Anthropic

base = os.environ["SWITCHYARD_BASE_URL"].removesuffix("/v1")
client = Anthropic(base_url=base, api_key=os.environ["SDK_TEST_KEY"], max_retries=0)

TOOLS = [{
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}]


def check(what, truth):
    if not truth:
        raise SystemExit(f"anthropic sdk: FAILED {what}")
    print(f"  ok  {what}")


def ask(model, content, **more):
    return client.messages.create(
        model=model, max_tokens=200, messages=[{"role": "user", "content": content}], **more)


def unary(model):
    answer = ask(model, "hello", system="Be brief.")
    check(f"{model}: text", answer.content[0].type == "text" and bool(answer.content[0].text))
    check(f"{model}: stop", answer.stop_reason == "end_turn")
    check(f"{model}: usage", answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0)


def stream(model):
    with client.messages.stream(
            model=model, max_tokens=200, messages=[{"role": "user", "content": "hello"}]) as events:
        kinds = [event.type for event in events]
        final = events.get_final_message()
    check(f"{model}: stream begins and ends", kinds[0] == "message_start" and kinds[-1] == "message_stop")
    check(f"{model}: stream text", bool(final.content[0].text))
    check(f"{model}: stream usage", final.usage.output_tokens > 0)
    check(f"{model}: stream stop", final.stop_reason == "end_turn")


def tools(model):
    asked = ask(model, "[[tools:2]] call the tool", tools=TOOLS)
    calls = [block for block in asked.content if block.type == "tool_use"]
    check(f"{model}: two calls", len(calls) == 2 and len({call.id for call in calls}) == 2)
    check(f"{model}: call input is an object", all(isinstance(call.input, dict) for call in calls))
    check(f"{model}: stop for tools", asked.stop_reason == "tool_use")
    told = client.messages.create(model=model, max_tokens=200, tools=TOOLS, messages=[
        {"role": "user", "content": "call the tool"},
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call.id, "content": "clear"} for call in calls]},
    ])
    check(f"{model}: answer after results", bool(told.content[0].text))
    with client.messages.stream(model=model, max_tokens=200, tools=TOOLS, messages=[
            {"role": "user", "content": "[[tools:2]] call the tool"}]) as events:
        final = events.get_final_message()
    calls = [block for block in final.content if block.type == "tool_use"]
    check(f"{model}: streamed calls", len(calls) == 2 and all(isinstance(call.input, dict) for call in calls))


def refused(what, error, call):
    try:
        call()
    except error as seen:
        check(what, bool(seen.request_id) and seen.body["type"] == "error")
        return
    raise SystemExit(f"anthropic sdk: FAILED {what}: nothing was raised")


for model in os.environ["SDK_TEST_MODELS"].split():
    unary(model)
    stream(model)
    tools(model)

for model in ("careful", "gemini-2.5-flash", "fast"):
    count = client.messages.count_tokens(model=model, messages=[{"role": "user", "content": "how long is this?"}])
    check(f"{model}: tokens counted", count.input_tokens > 0)
listed = [model.id for model in client.models.list(limit=3)]
check("models in pages", {"fast", "careful", "gpt-5-mini"} <= set(listed) and len(listed) == len(set(listed)))
check("one model", client.models.retrieve("fast").type == "model")

refused("unknown model", anthropic.NotFoundError, lambda: ask("no-such-model", "hello"))
refused("wrong key", anthropic.AuthenticationError, lambda: Anthropic(
    base_url=base, api_key="wrong", max_retries=0).messages.create(
        model="fast", max_tokens=5, messages=[{"role": "user", "content": "x"}]))
refused("no messages", anthropic.BadRequestError, lambda: client.messages.create(
    model="fast", max_tokens=5, messages=[]))
