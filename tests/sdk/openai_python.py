"""The official OpenAI Python SDK against the gateway: unary, streaming, tools, errors, models.

Run by tests/sdk/run, which sets SWITCHYARD_BASE_URL and SDK_TEST_KEY.
"""

import os

import openai
from openai import OpenAI

client = OpenAI(base_url=os.environ["SWITCHYARD_BASE_URL"], api_key=os.environ["SDK_TEST_KEY"], max_retries=0)

TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}]


def check(what, truth):
    if not truth:
        raise SystemExit(f"python sdk: FAILED {what}")
    print(f"  ok  {what}")


def unary(model):
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
    check(f"{model}: unary text", bool(answer.choices[0].message.content))
    check(f"{model}: unary finish", answer.choices[0].finish_reason == "stop")
    check(f"{model}: unary usage", answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0)
    return answer.choices[0].message.content


def stream(model):
    chunks = list(client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], stream=True,
        stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    check(f"{model}: stream text", bool(text))
    check(f"{model}: stream role first", chunks[0].choices[0].delta.role == "assistant")
    check(f"{model}: stream one finish", finishes == ["stop"])
    check(f"{model}: stream usage last", chunks[-1].usage is not None and not chunks[-1].choices)
    check(f"{model}: stream one id", len({c.id for c in chunks}) == 1)

    plain = list(client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], stream=True))
    check(f"{model}: no usage unless asked", all(c.usage is None and c.choices for c in plain))


def tools(model):
    asked = client.chat.completions.create(
        model=model, tools=TOOLS, messages=[{"role": "user", "content": "[[tools]] call the tool"}])
    calls = asked.choices[0].message.tool_calls
    check(f"{model}: tool call", bool(calls) and calls[0].function.name == "get_weather")
    check(f"{model}: tool finish", asked.choices[0].finish_reason == "tool_calls")
    history = [{"role": "user", "content": "[[tools]] call the tool"}, asked.choices[0].message.model_dump(exclude_none=True)]
    history += [{"role": "tool", "tool_call_id": c.id, "content": '{"sky":"clear"}'} for c in calls]
    told = client.chat.completions.create(model=model, tools=TOOLS, messages=history)
    check(f"{model}: answer after tool results", bool(told.choices[0].message.content))

    pieces, names, ids = {}, {}, {}
    for chunk in client.chat.completions.create(
            model=model, tools=TOOLS, stream=True, messages=[{"role": "user", "content": "[[tools]] call the tool"}]):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            pieces[call.index] = pieces.get(call.index, "") + (call.function.arguments or "")
            names.setdefault(call.index, call.function.name)
            ids.setdefault(call.index, call.id)
    check(f"{model}: streamed tool name", names.get(0) == "get_weather" and bool(ids.get(0)))
    import json
    check(f"{model}: streamed tool arguments", all(isinstance(json.loads(p), dict) for p in pieces.values()))


def refused(what, error, status, call):
    try:
        call()
    except error as seen:
        check(what, seen.status_code == status and bool(seen.message))
        return
    check(what + " (nothing was raised)", False)


for name in os.environ["SDK_TEST_MODELS"].split():
    unary(name)
    stream(name)
    tools(name)

def vectors(model):
    plain = client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
    packed = client.embeddings.create(model=model, input=["one", "two"])  # base64 on the wire
    check(f"{model}: two vectors", [item.index for item in plain.data] == [0, 1] and plain.usage.prompt_tokens > 0)
    same = all(abs(a - b) < 1e-6 for a, b in zip(plain.data[0].embedding, packed.data[0].embedding))
    check(f"{model}: numbers and base64 agree", same and len(packed.data[0].embedding) == len(plain.data[0].embedding))


def sound():
    with client.audio.speech.with_streaming_response.create(model="fast", voice="alloy", input="hello") as spoken:
        pieces = list(spoken.iter_bytes())
    check("speech", sum(map(len, pieces)) > 0 and spoken.headers["content-type"] == "audio/mpeg")
    song = ("song.mp3", b"ID3\x04\x00\r\n--\r\n\xff\xfb", "audio/mpeg")
    written = client.audio.transcriptions.create(model="fast", file=song)
    check("transcription", bool(written.text) and written.usage.input_tokens > 0)
    plain = client.audio.transcriptions.create(model="fast", file=song, response_format="text")
    check("transcription as text", isinstance(plain, str) and bool(plain.strip()))
    events = list(client.audio.transcriptions.create(model="fast", file=song, stream=True))
    said = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    check("transcription streamed", bool(said) and events[-1].type == "transcript.text.done" and events[-1].text == said)
    check("translation", bool(client.audio.translations.create(model="fast", file=song).text))


def pictures():
    dot = ("dot.png", b"\x89PNG\r\n\x1a\n", "image/png")
    for what, answer in {
        "generated": client.images.generate(model="fast", prompt="a cat"),
        "edited": client.images.edit(model="fast", prompt="a hat", image=[dot, dot]),
        "varied": client.images.create_variation(model="fast", image=dot),
    }.items():
        check(f"picture {what}", bool(answer.data[0].b64_json))


for name in ("fast", "gemini-2.5-flash", "command-a-03-2025", "llama3.2"):
    vectors(name)
refused("no vectors of Anthropic's", openai.BadRequestError, 400, lambda: client.embeddings.create(
    model="careful", input="x"))
sound()
pictures()
check("moderation", client.moderations.create(model="fast", input="hm").results[0].flagged is False)
check("completion", bool(client.completions.create(model="fast", prompt="once").choices[0].text))

check("models lists both pools", {"fast", "careful"} <= {m.id for m in client.models.list()})
check("one model by name", client.models.retrieve("fast").id == "fast")
refused("unknown model is 404", openai.NotFoundError, 404, lambda: client.chat.completions.create(
    model="no-such-model", messages=[{"role": "user", "content": "x"}]))
refused("wrong key is 401", openai.AuthenticationError, 401, lambda: OpenAI(
    base_url=os.environ["SWITCHYARD_BASE_URL"], api_key="sk-wrong", max_retries=0).models.list())
refused("bad number is 400", openai.BadRequestError, 400, lambda: client.chat.completions.create(
    model="fast", messages=[{"role": "user", "content": "x"}], max_tokens=-1))
raw = client.chat.completions.with_raw_response.create(model="fast", messages=[{"role": "user", "content": "x"}])
check("request id header", raw.headers.get("x-request-id", "").startswith("sy-"))
check("attempts header", raw.headers.get("x-switchyard-attempts") == "1")
print("python sdk: passed")
