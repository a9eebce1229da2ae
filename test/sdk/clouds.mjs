// Calls of the SDKs for Bedrock and Vertex, and of AWS's own, which speaks HTTP/2 without TLS.
import { base, modules, seen, tried, user } from './seen.mjs';

const { AnthropicBedrock } = modules('@anthropic-ai/bedrock-sdk');
const { AnthropicVertex } = modules('@anthropic-ai/vertex-sdk');
const { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand, InvokeModelCommand, InvokeModelWithResponseStreamCommand } = modules('@aws-sdk/client-bedrock-runtime');

async function read(what, events) {
  for await (const event of events) seen(what, event);
}

const bedrock = new AnthropicBedrock({ baseURL: base, awsRegion: 'eu-central-1', awsAccessKey: 'AKIDCLIENT', awsSecretKey: 'of the client' });
let kw = { model: 'eu.anthropic.claude-x-v1:0', max_tokens: 100 };
await tried('bedrock', () => bedrock.messages.create({ ...kw, messages: user('hi') }));
await tried('bedrock stream', async () => read('bedrock event', await bedrock.messages.create({ ...kw, stream: true, messages: user('hi') })));
await tried('bedrock error', () => bedrock.messages.create({ ...kw, messages: user('[[fake: error=400]]') }));

const token = { getRequestHeaders: async () => new Headers({ authorization: 'Bearer t' }), projectId: 'p-1' };
const vertex = new AnthropicVertex({ baseURL: base + '/v1', region: 'europe-west1', projectId: 'p-1', authClient: token });
kw = { model: 'claude-x@20250929', max_tokens: 100 };
await tried('vertex', () => vertex.messages.create({ ...kw, messages: user('hi') }));
await tried('vertex stream', async () => read('vertex event', await vertex.messages.create({ ...kw, stream: true, messages: user('hi') })));

const runtime = new BedrockRuntimeClient({ endpoint: base, region: 'eu-central-1', credentials: { accessKeyId: 'AKIDCLIENT', secretAccessKey: 'of the client' } });
const modelId = 'arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc';
const say = (text) => user([{ text }]);
const body = JSON.stringify({ anthropic_version: 'bedrock-2023-05-31', max_tokens: 100, messages: user('hi') });
await tried('converse', () => runtime.send(new ConverseCommand({ modelId, messages: say('hi') })));
await tried('converse stream', async () => read('converse event', (await runtime.send(new ConverseStreamCommand({ modelId, messages: say('hi') }))).stream));
await tried('converse error', () => runtime.send(new ConverseCommand({ modelId, messages: say('[[fake: error=400]]') })));
await tried('error in a converse stream', async () => read('converse event', (await runtime.send(new ConverseStreamCommand({ modelId, messages: say('[[fake: tokens=9 midstream_error after=3]]') }))).stream));
await tried('invoke', () => runtime.send(new InvokeModelCommand({ modelId: 'anthropic.claude-x-v1:0', contentType: 'application/json', body })));
await tried('invoke of no content type', () => runtime.send(new InvokeModelCommand({ modelId: 'anthropic.claude-x-v1:0', body })));
await tried('invoke stream', async () => read('invoke event', (await runtime.send(new InvokeModelWithResponseStreamCommand({ modelId: 'anthropic.claude-x-v1:0', contentType: 'application/json', body }))).body));
runtime.destroy();
