import type { PackedError } from '../../training/engine/engine-messages.js';
import type { Outcome, RunContext, Settings } from '../study.js';

/** What a thread of a sweep is started with. */
export interface WorkerStart {
  /** The URL of onnxruntime-node. */
  readonly onnxruntime: string;
}

/** A run that a thread is asked to make. */
export interface RunRequest {
  readonly id: number;
  readonly study: string;
  readonly settings: Settings;
  readonly context: RunContext;
  /** The plan of a custom study. */
  readonly custom?: unknown;
}

export type RunAnswer = { readonly id: number } & (
  | { readonly outcome: Outcome; readonly seconds: number }
  | { readonly error: PackedError }
);
