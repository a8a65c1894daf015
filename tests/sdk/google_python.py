"""Google's official Python SDK against the gateway, whoever provides the model."""

import os

from google import genai
from google.genai import errors, types

base = os.environ["SWITCHYARD_BASE_URL"].removesuffix("/v1")


def connect(key):
    return genai.Client(api_key=key, http_options=types.HttpOptions(
        base_url=base, retry_options=types.HttpRetryOptions(attempts=1)))


client = connect(os.environ["SDK_TEST_KEY"])

WEATHER = types.Tool(function_declarations=[types.FunctionDeclaration(
    name="get_weather", description="The weather of a city",
    parameters=types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")}))])
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


def check(what, truth):
    if not truth:
        raise SystemExit(f"google sdk: FAILED {what}")
    print(f"  ok  {what}")


def unary(model):
    answer = client.models.generate_content(
        model=model, contents="hello",
        config=types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=200))
    check(f"{model}: text", bool(answer.text))
    check(f"{model}: finish", answer.candidates[0].finish_reason == types.FinishReason.STOP)
    usage = answer.usage_metadata
    check(f"{model}: usage", usage.total_token_count == usage.prompt_token_count
          + usage.candidates_token_count + (usage.thoughts_token_count or 0) > 0)


def stream(model):
    chunks = list(client.models.generate_content_stream(model=model, contents="hello"))
    text = "".join(chunk.text or "" for chunk in chunks)
    check(f"{model}: stream text", bool(text))
    finishes = [c.candidates[0].finish_reason for c in chunks if c.candidates and c.candidates[0].finish_reason]
    check(f"{model}: stream one finish", finishes == [types.FinishReason.STOP])
    check(f"{model}: stream usage", chunks[-1].usage_metadata.candidates_token_count > 0)


def tools(model):
    config = types.GenerateContentConfig(tools=[WEATHER], automatic_function_calling=BY_HAND)
    question = types.Content(role="user", parts=[types.Part(text="[[tools:2]] call the tool")])
    asked = client.models.generate_content(model=model, contents=[question], config=config)
    calls = asked.function_calls
    check(f"{model}: two calls", len(calls) == 2 and all(call.name == "get_weather" for call in calls))
    again = types.Content(role="user", parts=[types.Part(text="call the tool")])
    results = types.Content(role="user", parts=[types.Part(function_response=types.FunctionResponse(
        id=call.id, name=call.name, response={"result": "clear"})) for call in calls])
    told = client.models.generate_content(
        model=model, contents=[again, asked.candidates[0].content, results], config=config)
    check(f"{model}: answer after results", bool(told.text))
    streamed = []
    for chunk in client.models.generate_content_stream(model=model, contents=[question], config=config):
        streamed += chunk.function_calls or []
    check(f"{model}: streamed calls", len(streamed) == 2 and all(isinstance(c.args, dict) for c in streamed))


def thoughts(model):
    """What another provider signed has to pass the SDK's own reading, there and back."""
    question = types.Content(role="user", parts=[types.Part(text="[[think]] hello")])
    thought = client.models.generate_content(model=model, contents=[question]).candidates[0].content
    signed = [part.thought_signature for part in thought.parts if part.thought_signature]
    more = types.Content(role="user", parts=[types.Part(text="hello again")])
    told = client.models.generate_content(model=model, contents=[question, thought, more])
    check(f"{model}: thoughts go back, {len(signed)} signed", bool(told.text))
    for chunk in client.models.generate_content_stream(model=model, contents=[question]):
        signed += [part.thought_signature for part in chunk.parts or [] if part.thought_signature]
    check(f"{model}: signatures are bytes", all(isinstance(one, bytes) for one in signed))
    return len(signed)


def refused(what, code, status, call):
    try:
        call()
    except errors.APIError as seen:
        check(what, (seen.code, seen.status) == (code, status))
        return
    raise SystemExit(f"google sdk: FAILED {what}: nothing was raised")


# Of a model that it takes for one of pictures and text together, the SDK makes one request of all contents.
for model, vectors in {"gemini-2.5-flash": 1, "fast": 2, "command-a-03-2025": 2, "llama3.2": 2}.items():
    embedded = client.models.embed_content(
        model=model, contents=["one", "two"], config=types.EmbedContentConfig(task_type="RETRIEVAL_QUERY"))
    check(f"{model}: vectors", len(embedded.embeddings) == vectors and all(e.values for e in embedded.embeddings))
for model in ("gemini-2.5-flash", "careful", "fast"):
    check(f"{model}: tokens counted", client.models.count_tokens(model=model, contents="how long is this?").total_tokens > 0)
listed = {model.name: model for model in client.models.list(config={"page_size": 3})}
check("models in pages", {"models/fast", "models/careful", "models/gemini-2.5-flash"} <= set(listed))
check("one model", client.models.get(model="fast").supported_actions[0] == "generateContent")

for model in os.environ["SDK_TEST_MODELS"].split():
    unary(model)
    stream(model)
    tools(model)
check("somebody signs", sum(thoughts(model) for model in os.environ["SDK_TEST_MODELS"].split()) > 0)

refused("unknown model", 404, "NOT_FOUND", lambda: client.models.generate_content(
    model="no-such-model", contents="hello"))
wrong = connect("wrong")
refused("wrong key", 401, "UNAUTHENTICATED", lambda: wrong.models.generate_content(
    model="fast", contents="hello"))
