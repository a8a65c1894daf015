// The official OpenAI Node SDK, chat completions, whoever provides the model.
import OpenAI from "openai";
import { apiKey, baseURL, check, failure, models } from "./check.mjs";

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const tools = [{
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}];
const hello = [{ role: "user", content: "hello" }];
const question = { role: "user", content: "[[tools:2]] call the tool" };

for (const model of models) {
  const answer = await client.chat.completions.create({ model, messages: hello });
  check(`${model}: text`, answer.choices[0].message.content.length > 0);
  check(`${model}: usage`, answer.usage.total_tokens > 0);

  let text = "";
  let finishes = 0;
  let usage;
  const stream = await client.chat.completions.create({
    model, messages: hello, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    finishes += chunk.choices[0]?.finish_reason ? 1 : 0;
    usage = chunk.usage ?? usage;
  }
  check(`${model}: stream text`, text.length > 0);
  check(`${model}: stream one finish`, finishes === 1);
  check(`${model}: stream usage`, usage?.total_tokens > 0);

  const asked = client.chat.completions.stream({ model, tools, messages: [question] });
  const said = (await asked.finalChatCompletion()).choices[0].message;
  const calls = said.tool_calls ?? [];
  check(`${model}: two streamed calls`, calls.length === 2 && calls[0].id !== calls[1].id);
  check(`${model}: their arguments`, calls.every((call) => JSON.parse(call.function.arguments).city));
  const results = calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "dry" }));
  const told = await client.chat.completions.create({ model, tools, messages: [question, said, ...results] });
  check(`${model}: answer after results`, told.choices[0].message.content.length > 0);
}

const unknown = await failure("unknown model", () =>
  client.chat.completions.create({ model: "no-such-model", messages: hello }));
check("unknown model is 404", unknown instanceof OpenAI.NotFoundError);
const wrong = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
const refused = await failure("wrong key", () =>
  wrong.chat.completions.create({ model: models[0], messages: hello }));
check("wrong key is 401", refused instanceof OpenAI.AuthenticationError);

const controller = new AbortController();
const aborted = await client.chat.completions.create(
  { model: models[0], messages: hello, stream: true },
  { signal: controller.signal },
);
for await (const _chunk of aborted) {
  controller.abort();
}
check("an aborted stream ends quietly", true);
