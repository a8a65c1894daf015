// The official OpenAI Node SDK against the gateway: unary, streaming, tools, errors.
// Run by tests/sdk/run, which sets SWITCHYARD_BASE_URL and SDK_TEST_KEY.
import OpenAI from "openai";

const baseURL = process.env.SWITCHYARD_BASE_URL;
const client = new OpenAI({ baseURL, apiKey: process.env.SDK_TEST_KEY, maxRetries: 0 });
const tools = [{
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}];

function check(what, truth) {
  if (!truth) {
    console.error(`node sdk: FAILED ${what}`);
    process.exit(1);
  }
  console.log(`  ok  ${what}`);
}

for (const model of ["fast", "careful"]) {
  const hello = [{ role: "user", content: "hello" }];
  const answer = await client.chat.completions.create({ model, messages: hello });
  check(`${model}: unary text`, answer.choices[0].message.content.length > 0);
  check(`${model}: unary usage`, answer.usage.total_tokens > 0);

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

  const asked = client.chat.completions.stream({ model, tools, messages: [{ role: "user", content: "[[tools]] call the tool" }] });
  const final = await asked.finalChatCompletion();
  const call = final.choices[0].message.tool_calls?.[0];
  check(`${model}: streamed tool call`, call?.function?.name === "get_weather");
  check(`${model}: streamed tool arguments`, typeof JSON.parse(call.function.arguments) === "object");
}

try {
  await client.chat.completions.create({ model: "no-such-model", messages: [{ role: "user", content: "x" }] });
  check("unknown model is refused", false);
} catch (error) {
  check("unknown model is 404", error instanceof OpenAI.NotFoundError);
}

const controller = new AbortController();
const aborted = await client.chat.completions.create(
  { model: "fast", messages: [{ role: "user", content: "hello" }], stream: true },
  { signal: controller.signal },
);
for await (const _chunk of aborted) {
  controller.abort();
}
check("an aborted stream ends quietly", true);
console.log("node sdk: passed");
