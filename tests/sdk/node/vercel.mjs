// The Vercel AI SDK by each of its providers a gateway can stand in for, whoever provides the model.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateObject, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";
import { apiKey, baseURL, check, failure, models, root } from "./check.mjs";

// It has its own thoughts about models it does not know.
globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ baseURL, apiKey });
const anthropic = createAnthropic({ baseURL, apiKey });
const google = createGoogleGenerativeAI({ baseURL: `${root}/v1beta`, apiKey });
const compatible = createOpenAICompatible({
  name: "switchyard", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const speakers = {
  "openai responses": (model) => openai.responses(model),
  "openai chat": (model) => openai.chat(model),
  "openai-compatible": (model) => compatible(model),
  "anthropic": (model) => anthropic(model),
  "google": (model) => google(model),
};
const city = z.object({ city: z.string() });

for (const [name, speak] of Object.entries(speakers)) {
  for (const id of models) {
    const model = speak(id);
    const as = `${name}, ${id}`;
    const plain = await generateText({ model, instructions: "Be brief.", prompt: "hello", maxRetries: 0 });
    check(`${as}: text`, plain.text.length > 0 && plain.finishReason === "stop");
    check(`${as}: usage`, plain.usage.inputTokens > 0 && plain.usage.outputTokens > 0);

    const heard = [];
    const tools = {
      get_weather: tool({
        description: "The weather of a city",
        inputSchema: city,
        execute: async ({ city }) => { heard.push(city); return { sky: "clear" }; },
      }),
    };
    let trouble;
    const result = streamText({
      model, tools, prompt: "[[tools:2]] call the tool", maxRetries: 0, stopWhen: isStepCount(3),
      // Else the second step names items of the first, which only a provider that stores them knows.
      providerOptions: { openai: { store: false } },
      onError: ({ error }) => { trouble = error; },
    });
    const text = await result.text.catch((error) => { trouble ??= error; });
    if (trouble) console.error(trouble);
    check(`${as}: no error`, !trouble);
    const steps = await result.steps;
    check(`${as}: two steps`, steps.length === 2 && steps[0].finishReason === "tool-calls");
    check(`${as}: two calls, run here`, heard.length === 2 && heard.every((one) => one === "Köln"));
    check(`${as}: text of the second step`, text.length > 0 && steps[1].finishReason === "stop");

    const shaped = () => generateObject({ model, schema: city, prompt: "where?", maxRetries: 0 });
    if (name === "anthropic" && id === "llama3.2") {
      // It asks for an object by a call it forces, which Ollama has no word for.
      const told = await failure(`${as}: a forced call`, shaped);
      check(`${as}: a forced call is refused by name`, told.statusCode === 400 && told.responseBody.includes("tool_choice"));
    } else {
      check(`${as}: an object`, (await shaped()).object.city.length > 0);
    }
  }
  const unknown = await failure("unknown model", () =>
    generateText({ model: speak("no-such-model"), prompt: "hello", maxRetries: 0 }));
  check(`${name}: unknown model is 404`, APICallError.isInstance(unknown) && unknown.statusCode === 404);
}
