import { type Model, modelToBytes, type NodeSpec, ValueInfo } from '../../graph/index.js';
import { sha256 } from '../../graph/io/digest.js';
import type { RuntimeTensor, Session, SessionOptions } from '../types.js';
import { openSession } from './session.js';
import { buildModel } from './small-model.js';

/**
 * Sessions of small graphs, by what they compute, the least recently used first. Each has a thread pool of its own, so
 * their number is bounded.
 */
const sessions = new Map<string, Promise<Session>>();
const SESSION_LIMIT = 32;

/**
 * The session of a kernel, built at its first use. Memory is given back after each run, and threads sleep at once: those
 * of one session would spin beside the next one's, or beside the kernels in WebAssembly (eigenvectors of order 4096 in
 * turn with products: 7.1 s, or 6.3 s so).
 */
export async function kernel(
  key: string,
  build: () => Model | Uint8Array,
  options: SessionOptions = {},
): Promise<Session> {
  let session = sessions.get(key);
  if (session === undefined) {
    session = openSession(build(), { arena: false, yielding: true, ...options });
    // A graph that onnxruntime refuses is not kept.
    session.catch(() => sessions.delete(key));
    while (sessions.size >= SESSION_LIMIT) await dispose(sessions.keys().next().value as string);
  }
  sessions.delete(key);
  sessions.set(key, session);
  return session;
}

/** Frees the sessions of matmul, gram, batchedMatmul and runGraph; a later call builds them again. */
export async function disposeKernels(): Promise<void> {
  for (const key of [...sessions.keys()]) await dispose(key);
}

async function dispose(key: string): Promise<void> {
  const session = sessions.get(key);
  sessions.delete(key);
  const opened = await session?.catch(() => undefined);
  await opened?.[Symbol.asyncDispose]();
}

/**
 * Computes a few operators on tensors: element-wise work on millions of numbers, say, which onnxruntime spreads
 * over its threads. The session is kept, so the same nodes run again at once, on tensors of any sizes of the same
 * rank.
 *
 * @param nodes in topological order
 * @param inputs what the nodes read, by name
 * @param outputs names of the values to return
 * @param opset version of the standard operator set; default 17
 * @throws ModelError for whatever onnxruntime refuses
 * @example
 * const { y } = await runGraph(
 *   [{ opType: 'Mul', inputs: ['x', 'scale'], outputs: ['y'] }],
 *   { x, scale },
 *   ['y'],
 * );
 */
export async function runGraph(
  nodes: readonly NodeSpec[],
  inputs: Readonly<Record<string, RuntimeTensor>>,
  outputs: readonly string[],
  opset = 17,
): Promise<Record<string, RuntimeTensor>> {
  const unknownSizes = (tensor: RuntimeTensor): undefined[] => tensor.shape.map(() => undefined);
  const bytes = modelToBytes(
    buildModel({
      nodes,
      inputs: Object.entries(inputs).map(([name, tensor]) =>
        ValueInfo.tensor(name, tensor.type, unknownSizes(tensor)),
      ),
      outputs,
      opset,
    }),
  );
  const key = `graph ${sha256().update(bytes).digest('base64')}`;
  const session = await kernel(key, () => bytes);
  return session.run(inputs);
}

/**
 * Runs a model once and forgets it.
 *
 * @throws ModelError as openSession and Session.run do
 * @example
 * const { logits } = await evaluate(model, randomInputs(model));
 */
export async function evaluate(
  model: Model | string | Uint8Array,
  feeds: Readonly<Record<string, RuntimeTensor>>,
): Promise<Record<string, RuntimeTensor>> {
  await using session = await openSession(model);
  return await session.run(feeds);
}
