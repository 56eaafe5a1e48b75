// OpenAI's and Anthropic's Node clients behind `casemate proxy`, whose address is in CASEMATE_URL: what their users call, and what they catch.
// The first thing that is not as it must be ends this with an error.
"use strict";

const assert = require("node:assert/strict");
const { OpenAI, NotFoundError } = require("openai");
const Anthropic = require("@anthropic-ai/sdk");

const url = process.env.CASEMATE_URL;
const api = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const question = [{ role: "user", content: "What is 2+2? Answer with a number." }];

async function chat(model) {
  const answer = await api.chat.completions.create({ model, messages: question, max_tokens: 24 });
  assert.equal(answer.object, "chat.completion");
  assert.match(answer.choices[0].message.content, /4/);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
}

async function stream(model) {
  const ask = { model, messages: question, max_tokens: 24 };
  const whole = await api.chat.completions.create(ask);
  let text = "";
  for await (const chunk of await api.chat.completions.create({ ...ask, stream: true })) {
    text += chunk.choices[0].delta.content ?? "";
  }
  assert.equal(text, whole.choices[0].message.content);
  const helper = api.chat.completions.stream({ ...ask, stream_options: { include_usage: true } });
  assert.equal((await helper.finalChatCompletion()).choices[0].message.content, text);
}

async function tools(model) {
  const parameters = {
    type: "object",
    properties: { city: { type: "string", maxLength: 24 } },
    required: ["city"],
    additionalProperties: false,
  };
  const answer = await api.chat.completions.create({
    model,
    messages: [{ role: "user", content: "What is the weather in Paris?" }],
    tools: [{ type: "function", function: { name: "get_weather", parameters } }],
    tool_choice: "required",
    max_tokens: 100,
  });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
}

async function completions(model) {
  const answer = await api.completions.create({ model, prompt: "Once upon a", max_tokens: 6 });
  assert.equal(answer.choices[0].finish_reason, "length");
}

async function errors() {
  const wrong = api.chat.completions.create({ model: "other", messages: question });
  await assert.rejects(wrong, (error) => error instanceof NotFoundError && error.code === "request.model.unknown");
}

async function messages(model) {
  const theirs = new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0 });
  const ask = { model, max_tokens: 24, messages: question };
  const whole = await theirs.messages.create(ask);
  assert.match(whole.content[0].text, /4/);
  const streamed = await theirs.messages.stream(ask).finalText();
  assert.equal(streamed, whole.content[0].text);
}

async function main() {
  const listed = (await api.models.list()).data;
  assert.equal(listed.length, 1);
  for (const step of [chat, stream, tools, completions, errors, messages]) {
    await step(listed[0].id);
    console.log(`sdk-test: node ${step.name} ok`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
