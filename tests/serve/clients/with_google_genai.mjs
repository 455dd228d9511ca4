// @google/genai against a whole server at the address given: `node with_google_genai.mjs URL`.
import assert from "node:assert/strict";

import { ApiError, FunctionCallingConfigMode, GoogleGenAI, Modality, Type } from "@google/genai";

const address = process.argv[2];
const model = "gemini-2.5-flash";
const client = new GoogleGenAI({ apiKey: "any", httpOptions: { baseUrl: address } });
const lights = {
  name: "turn_on_the_lights",
  description: "Turns the lights on or off.",
  parameters: { type: Type.OBJECT, properties: { on: { type: Type.BOOLEAN } }, required: ["on"] },
};
const tools = [{ functionDeclarations: [lights] }];

async function every(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

async function refused(promise, status, words) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof ApiError, error);
    assert.equal(error.status, status);
    assert.match(error.message, words);
    return true;
  });
}

async function text() {
  const config = { systemInstruction: "be brief", temperature: 0.5, topK: 40, seed: 7 };
  const reply = await client.models.generateContent({ model, contents: "hi", config });
  assert.equal(reply.text, "hello");
  assert.equal(reply.modelVersion, "castor-fake");
  assert.equal(reply.candidates[0].finishReason, "STOP");
  const counted = await client.models.countTokens({ model, contents: "hi" });
  assert.equal(counted.totalTokens, 2);
  const listed = await every(await client.models.list());
  assert.deepEqual(listed.map((each) => each.name), ["models/castor-fake"]);
  assert.equal((await client.models.get({ model: listed[0].name })).inputTokenLimit, 1000);
}

async function stream() {
  const chunks = await every(await client.models.generateContentStream({ model, contents: "hi" }));
  assert.deepEqual(chunks.map((chunk) => chunk.text), ["hel", "lo"]);
  assert.equal(chunks.at(-1).candidates[0].finishReason, "STOP");
  assert.equal(chunks.at(-1).usageMetadata.totalTokenCount, 4);
}

async function chat() {
  const talk = client.chats.create({ model });
  assert.equal((await talk.sendMessage({ message: "hi" })).text, "hello");
  const chunks = await every(await talk.sendMessageStream({ message: "and?" }));
  assert.equal(chunks.map((chunk) => chunk.text).join(""), "hello");
  assert.equal((await talk.sendMessage({ message: "once more?" })).text, "hello");
}

async function functions() {
  const contents = [{ role: "user", parts: [{ text: "lights" }] }];
  const functionCallingConfig = { mode: FunctionCallingConfigMode.ANY };
  const config = { tools, toolConfig: { functionCallingConfig } };
  const called = await client.models.generateContent({ model, contents, config });
  const [call] = called.functionCalls;
  assert.equal(call.name, lights.name);
  assert.deepEqual(call.args, { on: true });
  const functionResponse = { id: call.id, name: call.name, response: { result: "ok" } };
  contents.push(called.candidates[0].content, { role: "user", parts: [{ functionResponse }] });
  const reply = await client.models.generateContent({ model, contents, config: { tools } });
  assert.equal(reply.text, "done");
}

async function automaticFunctions() {
  const called = [];
  const callable = {
    tool: async () => tools[0],
    callTool: async (calls) => {
      called.push(...calls.map((call) => call.name));
      return calls.map(({ name }) => ({ functionResponse: { name, response: { result: "ok" } } }));
    },
  };
  const config = { tools: [callable] };
  const reply = await client.models.generateContent({ model, contents: "lights", config });
  assert.equal(reply.text, "done");
  assert.deepEqual(called, [lights.name]);
}

async function schemas() {
  const contents = "hi";
  const properties = { name: { type: Type.STRING }, size: { type: Type.INTEGER } };
  const responseMimeType = "application/json";
  for (const schema of [
    { responseSchema: { type: Type.OBJECT, properties } },
    { responseJsonSchema: { type: "object", properties: { name: { type: "string" } } } },
  ]) {
    const config = { responseMimeType, ...schema };
    const reply = await client.models.generateContent({ model, contents, config });
    assert.equal(JSON.parse(reply.text).name, "word");
  }
}

async function pictures() {
  const data = Buffer.from("\xff\xef\xbf\x00png", "latin1").toString("base64");
  const contents = [{ inlineData: { mimeType: "image/png", data } }, "what is this?"];
  const seen = await client.models.generateContent({ model, contents });
  const details = seen.usageMetadata.promptTokensDetails;
  assert.deepEqual(details.map((each) => each.modality).sort(), ["IMAGE", "TEXT"]);
  const config = { responseModalities: [Modality.TEXT, Modality.IMAGE] };
  const reply = await client.models.generateContent({ model, contents: "a star", config });
  const [said, drawn] = reply.candidates[0].content.parts;
  assert.equal(said.text, "here: ");
  assert.equal(drawn.inlineData.mimeType, "image/png");
  assert.match(Buffer.from(drawn.inlineData.data, "base64").toString("latin1"), /^\x89PNG/);
}

async function embeddings() {
  const config = { outputDimensionality: 2 };
  const contents = ["a", "bcd"];
  const told = await client.models.embedContent({ model: "gemini-embedding-001", contents, config });
  assert.deepEqual(told.embeddings.map((each) => each.values.length), [2, 2]);
}

async function files() {
  const config = { displayName: "A note", mimeType: "text/plain" };
  const long = "a line of a long text\n".repeat(400_000); // sent in two pieces of at most 8 MiB
  for (const content of ["note", long]) {
    const file = await client.files.upload({ file: new Blob([content]), config });
    assert.equal(file.displayName, "A note");
    assert.equal(Number(file.sizeBytes), content.length);
    assert.equal((await client.files.get({ name: file.name })).state, "ACTIVE");
    const names = (await every(await client.files.list())).map((each) => each.name);
    assert.ok(names.includes(file.name));
    if (content === "note") {
      const contents = [{ fileData: { fileUri: file.uri, mimeType: file.mimeType } }, "!"];
      assert.equal((await client.models.generateContent({ model, contents })).text, "hello");
    }
    await client.files.delete({ name: file.name });
    await refused(client.files.get({ name: file.name }), 403, /do not have permission/);
  }
}

async function caches() {
  const config = { contents: "a long begin", systemInstruction: "be brief", ttl: "60s" };
  const { name, expireTime } = await client.caches.create({ model, config });
  const contents = "hi";
  const asked = { model, contents, config: { cachedContent: name } };
  const reply = await client.models.generateContent(asked);
  assert.equal(reply.usageMetadata.promptTokenCount, 22);
  await client.caches.update({ name, config: { ttl: "600s" } });
  assert.ok((await client.caches.get({ name })).expireTime > expireTime);
  assert.ok((await every(await client.caches.list())).some((each) => each.name === name));
  await client.caches.delete({ name });
  await refused(client.caches.get({ name }), 403, /CachedContent not found/);
}

async function batches() {
  const src = [{ contents: [{ role: "user", parts: [{ text: "a" }] }] }];
  let job = await client.batches.create({ model, src, config: { displayName: "one" } });
  for (let waited = 0; job.state !== "JOB_STATE_SUCCEEDED" && waited < 600; waited += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    job = await client.batches.get({ name: job.name });
  }
  const [answer] = job.dest.inlinedResponses;
  assert.equal(answer.response.candidates[0].content.parts.map((p) => p.text).join(""), "hello");
  assert.ok((await every(await client.batches.list())).some((each) => each.name === job.name));
  await client.batches.cancel({ name: job.name });
  await client.batches.delete({ name: job.name });
}

async function interactions() {
  const told = await client.interactions.create({ model, input: "hi" });
  assert.equal(told.output_text, "hello");
  const asked = { model, input: "x", previous_interaction_id: told.id };
  assert.equal((await client.interactions.create(asked)).usage.total_input_tokens, 8);
  const events = await every(await client.interactions.create({ ...asked, stream: true }));
  const deltas = events.filter((event) => event.event_type === "step.delta");
  assert.equal(deltas.map((event) => event.delta.text).join(""), "hello");
  assert.equal(events.at(-1).event_type, "interaction.completed");
  assert.equal((await client.interactions.get(told.id)).output_text, "hello");
  await client.interactions.delete(told.id);
  await assert.rejects(client.interactions.get(told.id), { status: 404 });
}

async function refusals() {
  const unknown = client.models.generateContent({ model: "nope", contents: "hi" });
  await refused(unknown, 404, /models\/nope is not found/);
  const long = client.models.generateContentStream({ model, contents: "x".repeat(1001) });
  await refused(long, 400, /exceeds the maximum number of tokens/);
  await refused(client.authTokens.create({ config: { uses: 1 } }), 501, /is not implemented/);
}

async function live() {
  const heard = [];
  let wake = () => {};
  const session = await client.live.connect({
    model: "gemini-live-2.5-flash-preview",
    config: { responseModalities: [Modality.TEXT], tools },
    callbacks: {
      onmessage: (message) => {
        heard.push(message);
        wake();
      },
      onerror: (error) => assert.fail(error),
    },
  });
  session.sendClientContent({ turns: "lights" });
  let said = "";
  for (let over = false; !over; ) {
    while (!heard.length) await new Promise((resolve) => (wake = resolve));
    const message = heard.shift();
    said += message.text ?? "";
    for (const { id, name, args } of message.toolCall?.functionCalls ?? []) {
      assert.deepEqual(args, { on: true });
      session.sendToolResponse({ functionResponses: [{ id, name, response: { result: "ok" } }] });
    }
    over = message.serverContent?.turnComplete ?? false;
  }
  session.close();
  assert.equal(said, "done");
}

const checks = [text, stream, chat, functions, automaticFunctions, schemas, pictures, embeddings];
checks.push(files, caches, batches, interactions, refusals, live);
for (const check of checks) {
  await check().catch((error) => {
    throw new Error(check.name, { cause: error });
  });
}
