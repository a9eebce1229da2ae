// What the scripts share. They make calls of an SDK against a base URL and print all that the SDK gives: the
// same calls made direct have to print the same.
//   node script.mjs BASE_URL MODULES
import { createRequire } from 'node:module';

export const base = process.argv[2];
export const modules = createRequire(process.argv[3] + '/');

// Of the moment, and so of no two calls the same.
const moment = new Set(['date', 'x-envoy-upstream-service-time', 'attempts', 'totalRetryDelay', 'connection', 'keep-alive']);

const plain = (key, value) => {
  if (moment.has(key) || key.startsWith('anthropic-ratelimit')) return undefined;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  return value;
};

export const seen = (what, value) => console.log(what, JSON.stringify(value, plain));

// tried prints what a call gives, or the error that the SDK raises.
export async function tried(what, call) {
  try {
    seen(what, await call());
  } catch (e) {
    seen(what + ' failed', { kind: e.constructor.name, name: e.name, status: e.status ?? e.$metadata?.httpStatusCode, message: e.message, error: e.error, id: e.requestID ?? e.$metadata?.requestId });
  }
}

export const user = (content) => [{ role: 'user', content }];
