// A process of its own, which reads this as a bundled text (scripts/bundle-threads.ts): a provider that brings the process down, or writes to its output, does so here.
import { messageOf } from '../../graph/index.js';
import { findOnnxruntime } from '../session/onnxruntime.js';
import { proveWork } from './proof.js';
import { ProviderError } from './provider-failure.js';
import { EXECUTION_PROVIDERS } from './providers.js';

const [, , place = '', name, device] = process.argv;
const provider = EXECUTION_PROVIDERS.find((known) => known === name) ?? 'cpu';

async function tryIt(): Promise<void> {
  findOnnxruntime(place);
  try {
    const proof = await proveWork(provider, device === undefined ? undefined : Number(device));
    console.log(JSON.stringify({ proof }));
  } catch (error) {
    const failure = error instanceof ProviderError ? error.failure : { reason: messageOf(error) };
    console.log(JSON.stringify({ failure }));
  }
}

void tryIt();
