"""The responses of the official OpenAI Python SDK against the gateway, whoever provides the model."""

import json
import os
import time

import openai
from openai import OpenAI

client = OpenAI(base_url=os.environ["SWITCHYARD_BASE_URL"], api_key=os.environ["SDK_TEST_KEY"], max_retries=0)

TOOLS = [{
    "type": "function", "name": "get_weather", "description": "The weather of a city", "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}]


def check(what, truth):
    if not truth:
        raise SystemExit(f"responses: FAILED {what}")
    print(f"  ok  {what}")


def unary(model):
    answer = client.responses.create(model=model, instructions="Be brief.", input="hello")
    check(f"{model}: text", bool(answer.output_text))
    check(f"{model}: status", answer.status == "completed" and answer.error is None)
    check(f"{model}: usage", answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0)


def stream(model):
    with client.responses.stream(model=model, input="hello") as events:
        seen = list(events)
        final = events.get_final_response()
    numbers = [event.sequence_number for event in seen if hasattr(event, "sequence_number")]
    check(f"{model}: numbers without gaps", numbers == list(range(len(numbers))))
    check(f"{model}: begins and ends", seen[0].type == "response.created" and seen[-1].type == "response.completed")
    said = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    check(f"{model}: deltas are the text", bool(said) and said == final.output_text)
    check(f"{model}: stream usage", final.usage.output_tokens > 0)


def tools(model):
    asked = client.responses.create(model=model, input="[[tools:2]] call the tool", tools=TOOLS)
    calls = [item for item in asked.output if item.type == "function_call"]
    check(f"{model}: two calls", len(calls) == 2 and len({call.call_id for call in calls}) == 2)
    check(f"{model}: arguments", all(isinstance(json.loads(call.arguments), dict) for call in calls))
    history = [{"role": "user", "content": "call the tool"}]
    history += [item.model_dump(exclude_none=True) for item in asked.output]
    history += [{"type": "function_call_output", "call_id": call.call_id, "output": "clear"} for call in calls]
    told = client.responses.create(model=model, input=history, tools=TOOLS)
    check(f"{model}: answer after results", bool(told.output_text))
    with client.responses.stream(model=model, input="[[tools:2]] call the tool", tools=TOOLS) as events:
        for _ in events:
            pass
        final = events.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    check(f"{model}: streamed calls", len(calls) == 2 and all(json.loads(c.arguments) is not None for c in calls))


def kept(model):
    made = client.responses.create(model=model, input="hello", metadata={"topic": "tides"})
    again = client.responses.retrieve(made.id)
    check(f"{model}: retrieved", again.id == made.id and again.output_text == made.output_text and again.store)
    items = client.responses.input_items.list(made.id)
    check(f"{model}: input items", [item.content[0].text for item in items.data] == ["hello"])
    told = [event for event in client.responses.retrieve(made.id, stream=True)]
    check(f"{model}: streamed again", told[-1].type == "response.completed" and told[-1].response.id == made.id)
    with client.responses.stream(model=model, input="hello") as events:
        numbers = [event.sequence_number for event in events]
        final = events.get_final_response()
    rest = [event.sequence_number for event in client.responses.retrieve(final.id, stream=True, starting_after=2)]
    check(f"{model}: read on", rest == numbers[3:])
    client.responses.delete(made.id)
    try:
        client.responses.retrieve(made.id)
        raise SystemExit("responses: FAILED deleted: it is still there")
    except openai.NotFoundError:
        check(f"{model}: deleted", True)


def background(model):
    made = client.responses.create(model=model, input="hello", background=True)
    check(f"{model}: queued", made.status in ("queued", "in_progress") and made.background)
    until = time.monotonic() + 10
    while made.status in ("queued", "in_progress") and time.monotonic() < until:
        time.sleep(0.02)
        made = client.responses.retrieve(made.id)
    check(f"{model}: made in the background", made.status == "completed" and bool(made.output_text))
    check(f"{model}: too late to cancel", client.responses.cancel(made.id).status == "completed")
    stream, seen = client.responses.create(model=model, input="hello", background=True, stream=True), []
    for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()
    rest = client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    seen += list(rest)
    check(f"{model}: read on from where it was left", [e.sequence_number for e in seen] == list(range(len(seen)))
          and seen[-1].type == "response.completed")


def across(models):
    """One conversation, each turn at another provider, and all of it is there at the end."""
    previous, questions = None, []
    for number, model in enumerate(models):
        questions.append(f"question {number}")
        made = client.responses.create(model=model, input=questions[-1], previous_response_id=previous)
        check(f"{model}: goes on", bool(made.output_text) and made.previous_response_id == previous)
        previous = made.id
    items = list(client.responses.input_items.list(previous, order="asc", limit=2))
    asked = [item.content[0].text for item in items if item.type == "message" and item.role == "user"]
    check("every question is kept, over all pages", asked == questions)


MODELS = os.environ["SDK_TEST_MODELS"].split()
for model in MODELS:
    unary(model)
    stream(model)
    tools(model)
    kept(model)
background(MODELS[0])
across(MODELS + MODELS[:1])

try:
    client.responses.create(model="fast", input="hello", previous_response_id="resp_none")
    raise SystemExit("responses: FAILED unknown state: nothing was raised")
except openai.BadRequestError as seen:
    check("unknown state is refused", seen.param == "previous_response_id" and seen.code == "previous_response_not_found")
