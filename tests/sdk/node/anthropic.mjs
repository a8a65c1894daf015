// Anthropic's official Node SDK, whoever provides the model.
import Anthropic from "@anthropic-ai/sdk";
import { apiKey, check, failure, models, root } from "./check.mjs";

const client = new Anthropic({ baseURL: root, apiKey, maxRetries: 0 });
const tools = [{
  name: "get_weather",
  description: "The weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
}];
const hello = [{ role: "user", content: "hello" }];
const question = { role: "user", content: "[[tools:2]] call the tool" };
const usesIn = (message) => message.content.filter((block) => block.type === "tool_use");
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

for (const model of models) {
  const answer = await client.messages.create({ model, max_tokens: 200, system: "Be brief.", messages: hello });
  check(`${model}: text`, textOf(answer).length > 0 && answer.stop_reason === "end_turn");
  check(`${model}: usage`, answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);

  // The SDK builds the message from the events itself, and complains when they come in another order.
  let deltas = "";
  const stream = client.messages.stream({ model, max_tokens: 200, messages: hello });
  stream.on("text", (delta) => { deltas += delta; });
  const streamed = await stream.finalMessage();
  check(`${model}: stream text`, deltas.length > 0 && textOf(streamed) === deltas);
  check(`${model}: stream end`, streamed.stop_reason === "end_turn" && streamed.usage.output_tokens > 0);

  const asked = await client.messages.stream({ model, max_tokens: 200, tools, messages: [question] }).finalMessage();
  const uses = usesIn(asked);
  check(`${model}: two streamed uses`, uses.length === 2 && uses[0].id !== uses[1].id && asked.stop_reason === "tool_use");
  check(`${model}: their input`, uses.every((use) => use.name === "get_weather" && use.input.city));
  const results = uses.map((use) => ({ type: "tool_result", tool_use_id: use.id, content: "dry" }));
  const told = await client.messages.create({
    model, max_tokens: 200, tools,
    messages: [question, { role: "assistant", content: asked.content }, { role: "user", content: results }],
  });
  check(`${model}: answer after results`, textOf(told).length > 0 && told.stop_reason === "end_turn");

  const thinking = await client.messages.stream({
    model, max_tokens: 4000, thinking: { type: "enabled", budget_tokens: 1024 },
    messages: [{ role: "user", content: "[[think]] why?" }],
  }).finalMessage();
  const thought = thinking.content.find((block) => block.type === "thinking");
  check(`${model}: a streamed thought`, thought?.thinking === "let me think");
  const again = await client.messages.create({
    model, max_tokens: 4000, thinking: { type: "enabled", budget_tokens: 1024 },
    messages: [...hello, { role: "assistant", content: thinking.content }, ...hello],
  });
  check(`${model}: a thought goes back`, textOf(again).length > 0);
  const counted = await client.messages.countTokens({ model, messages: hello });
  check(`${model}: tokens counted`, counted.input_tokens > 0);
}

const unknown = await failure("unknown model", () =>
  client.messages.create({ model: "no-such-model", max_tokens: 10, messages: hello }));
check("unknown model is 404", unknown instanceof Anthropic.NotFoundError && unknown.error.type === "error");
const wrong = new Anthropic({ baseURL: root, apiKey: "wrong", maxRetries: 0 });
const refused = await failure("wrong key", () =>
  wrong.messages.create({ model: models[0], max_tokens: 10, messages: hello }));
check("wrong key is 401", refused instanceof Anthropic.AuthenticationError);
