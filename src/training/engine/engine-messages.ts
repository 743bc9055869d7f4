import { ModelError, type Where } from '../../graph/index.js';
import { GradientError, type Unsupported } from '../../passes/gradient/index.js';
import { ProviderError, type ProviderFailure } from '../../runtime/providers/provider-failure.js';
import type { Batch, Chunk, TrainingState } from '../types.js';
import type { EngineSpec } from './engine-spec.js';

/** What the thread of an engine is asked. */
export type Request = { readonly id: number } & (
  | { readonly kind: 'open'; readonly source: ModelSource; readonly spec: EngineSpec }
  | { readonly kind: 'run'; readonly chunk: Chunk }
  | { readonly kind: 'evaluate'; readonly weights: 'current' | 'ema' }
  | { readonly kind: 'state' }
  | { readonly kind: 'restore'; readonly state: TrainingState }
  | { readonly kind: 'dispose' }
);

/** What the thread is started with. */
export interface EngineStart {
  /** The URL of onnxruntime-node. */
  readonly onnxruntime: string;
}

export type ModelSource = { readonly path: string } | { readonly bytes: Uint8Array };

/** Not an answer to a request: the next batch that an evaluation wanted, or the end. */
export interface NextBatch {
  readonly kind: 'batch';
  readonly batch: Batch | undefined;
}

/** What it says. */
export type Answer = { readonly id: number } & (
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly error: PackedError }
  | { readonly kind: 'want' }
);

/** An error on its way between threads, which know no classes. */
export interface PackedError {
  readonly message: string;
  readonly stack: string | undefined;
  /** Of a ModelError. */
  readonly where: Where | undefined;
  /** What errors of other classes are made of. */
  readonly unsupported?: readonly Unsupported[] | undefined;
  readonly failure?: ProviderFailure | undefined;
}

export function packError(error: unknown): PackedError {
  if (!(error instanceof Error)) return { message: String(error), stack: undefined, where: undefined };
  const { message, stack } = error;
  return {
    message,
    stack,
    where: error instanceof ModelError ? error.where : undefined,
    unsupported: error instanceof GradientError ? error.unsupported : undefined,
    failure: error instanceof ProviderError ? error.failure : undefined,
  };
}

export function unpackError({ message, stack, where, unsupported, failure }: PackedError): Error {
  const error =
    failure !== undefined
      ? new ProviderError(failure)
      : unsupported !== undefined
        ? new GradientError(unsupported, undefined, message)
        : where === undefined
          ? new Error(message)
          : new ModelError(message);
  // The message has its place in it already.
  if (where !== undefined) Object.defineProperty(error, 'where', { value: where, enumerable: true });
  if (stack !== undefined) error.stack = stack;
  return error;
}
