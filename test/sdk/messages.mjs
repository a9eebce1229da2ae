// Calls of Anthropic's SDK for TypeScript.
import { base, modules, seen, tried, user } from './seen.mjs';

const Anthropic = modules('@anthropic-ai/sdk').default;
const client = new Anthropic({ baseURL: base, apiKey: 'sk-ant-test' });
const kw = { model: 'claude-sonnet-4-5', max_tokens: 100 };
const tools = [{ name: 'weather', description: 'the weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }];

async function stream(content, more = {}) {
  for await (const event of client.messages.stream({ ...kw, ...more, messages: user(content) })) seen('event', event);
}

await tried('message', async () => {
  const { data, response, request_id } = await client.messages.create({ ...kw, messages: user('hi') }).withResponse();
  return { data, request_id, status: response.status, headers: Object.fromEntries(response.headers) };
});
for (const prompt of ['hi', '[[fake: thinking unknown redacted text=\'after it\']]', '[[fake: server_tool]]', '[[fake: crlf ping_every=2 tokens=40 split=11]]', 'Zażółć gęślą jaźń 😀']) {
  await tried('stream', () => stream(prompt));
}
await tried('count', () => client.messages.countTokens({ model: kw.model, messages: user('hello there') }));
await tried('models', async () => (await client.models.list({ limit: 3 })).data);

const prompt = '[[fake: tool=weather input=\'{"city":"Oslo"}\']]';
await tried('tool', async () => {
  const asked = await client.messages.create({ ...kw, tools, messages: user(prompt) });
  seen('tool use', asked);
  const call = asked.content.find((b) => b.type === 'tool_use');
  return client.messages.create({ ...kw, tools, messages: [...user(prompt), { role: 'assistant', content: asked.content }, ...user([{ type: 'tool_result', tool_use_id: call.id, content: 'rain' }])] });
});
await tried('streamed tool', () => stream(prompt, { tools }));
await tried('retried', () => client.messages.create({ ...kw, messages: user('[[fake: error=529 times=2 text=ok retry_after_ms=1]]') }));
for (const status of [400, 401, 403, 404, 413]) {
  await tried('error', () => client.messages.create({ ...kw, messages: user(`[[fake: error=${status}]]`) }));
}
await tried('refusal', () => client.messages.create({ ...kw, messages: user('[[fake: refusal]]') }));
await tried('error in a stream', () => stream('[[fake: tokens=9 midstream_error after=3]]'));
await tried('stream that is cut', () => stream('[[fake: tokens=9 cut after=3]]'));
