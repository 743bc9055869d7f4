// A process of its own: a provider that brings the process down, or writes to its output, does so here.
import { messageOf } from '../../graph/index.js';
import { proveWork } from './proof.js';
import { ProviderError } from './provider-failure.js';
import { EXECUTION_PROVIDERS } from './providers.js';

const [, , name, device] = process.argv;
const provider = EXECUTION_PROVIDERS.find((known) => known === name) ?? 'cpu';
try {
  const proof = await proveWork(provider, device === undefined ? undefined : Number(device));
  console.log(JSON.stringify({ proof }));
} catch (error) {
  const failure = error instanceof ProviderError ? error.failure : { reason: messageOf(error) };
  console.log(JSON.stringify({ failure }));
}
