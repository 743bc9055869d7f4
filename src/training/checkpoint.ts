import { readdir, readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  atomicWrite,
  type ByteSource,
  FileSource,
  MemorySource,
  ModelError,
  makeFolder,
  messageOf,
} from '../graph/index.js';
import { sha256 } from '../graph/io/digest.js';
import { type RuntimeTensor, readSafetensors, safetensors } from '../runtime/index.js';
import type { EpochRecord } from './events.js';
import type { TrainingState } from './types.js';

const KIND = 'onnx-overparam checkpoint';
const VERSION = 2;
const INDEX = 'checkpoint.json';
const PIECE = 8 << 20;
const STATE = /^state-\d+\.safetensors$/;
const BEST = /^best-\d+\.safetensors$/;

/** Sums over the steps of an epoch that is under way. */
export interface Tally {
  /** The epoch, from 1. */
  readonly epoch: number;
  /** Its steps that are done. */
  readonly step: number;
  readonly loss: number;
  readonly correct: number;
  readonly hasClasses: boolean;
  readonly gradientNorm: number;
  /** Of the losses of each part of the epoch, for the curve: sum and count. */
  readonly parts: readonly (readonly [sum: number, count: number])[];
  /** Seconds that it took so far. */
  readonly seconds: number;
}

/** Everything that a training needs to go on, but for the model, the data and the options. */
export interface Checkpoint {
  /** What decides the bits of the result; a training that goes on must have the same. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly tally: Tally;
  readonly history: readonly EpochRecord[];
  /** The epoch that is the best so far. */
  readonly best:
    | { readonly epoch: number; readonly value: number; readonly weights: ReadonlyMap<string, RuntimeTensor> }
    | undefined;
  readonly state: TrainingState;
}

interface Index {
  readonly kind: typeof KIND;
  readonly version: typeof VERSION;
  readonly step: number;
  readonly settings: Checkpoint['settings'];
  readonly tally: Tally;
  readonly best: { readonly epoch: number; readonly value: number; readonly file: string } | undefined;
  readonly state: string;
  /** SHA-256 of each file with tensors. */
  readonly digests: { readonly state: string; readonly best: string | undefined };
  readonly history: readonly EpochRecord[];
  /** SHA-256 of the rest: a counter that is out of its range would train something else, or without end. */
  readonly digest?: string;
}

/**
 * Writes a checkpoint into a directory: weights and the optimizer's state as safetensors, the rest as checkpoint.json,
 * which is written last and names the files that belong to it. An interrupted write leaves the checkpoint before.
 *
 * @throws ModelError where it cannot be written
 * @example
 * await writeCheckpoint('copy', await readCheckpoint('checkpoint'));
 */
export async function writeCheckpoint(directory: string, checkpoint: Checkpoint): Promise<void> {
  const { settings, tally, history, best, state } = checkpoint;
  makeFolder(directory, 'a checkpoint');
  const tensors = new Map([
    ...[...state.weights].map(([name, tensor]) => [`weights/${name}`, tensor] as const),
    ...[...state.slots].map(([name, tensor]) => [`slots/${name}`, tensor] as const),
  ]);
  const stateFile = `state-${state.step}.safetensors`;
  const bestFile = best && `best-${best.epoch}.safetensors`;
  const metadata = { kind: KIND, step: String(state.step) };
  const stateBytes = safetensors(tensors, metadata);
  const bestBytes = best && safetensors(best.weights, { kind: KIND });
  await atomicWrite(join(directory, stateFile), stateBytes, { overwrite: true });
  if (bestBytes !== undefined && bestFile !== undefined) {
    await atomicWrite(join(directory, bestFile), bestBytes, { overwrite: true });
  }
  const index: Index = {
    kind: KIND,
    version: VERSION,
    step: state.step,
    settings,
    tally,
    best:
      best && bestFile !== undefined ? { epoch: best.epoch, value: best.value, file: bestFile } : undefined,
    state: stateFile,
    digests: { state: digestOf(stateBytes), best: bestBytes && digestOf(bestBytes) },
    history,
  };
  const text = JSON.stringify({ ...index, digest: digestOfText(textOf(index)) }, undefined, 1);
  await atomicWrite(join(directory, INDEX), new MemorySource(new TextEncoder().encode(`${text}\n`)), {
    overwrite: true,
  });
  const old = (await readdir(directory)).filter(
    (name) => (STATE.test(name) && name !== stateFile) || (BEST.test(name) && name !== bestFile),
  );
  await Promise.all(old.map((name) => rm(join(directory, name), { force: true })));
}

/**
 * Reads the checkpoint of a directory.
 *
 * @throws ModelError where there is none, or it is damaged
 * @example
 * const { history, best } = await readCheckpoint('checkpoint');
 * console.log(history.length, best?.epoch);
 */
export async function readCheckpoint(directory: string): Promise<Checkpoint> {
  const file = join(directory, INDEX);
  const damaged = (what: string, cause?: unknown): ModelError =>
    new ModelError(`is damaged: ${what}`, { file }, { cause });
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const missing = ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
    if (missing)
      throw new ModelError('has no checkpoint to go on from', { file: directory }, { cause: error });
    throw new ModelError(`cannot be read: ${messageOf(error)}`, { file }, { cause: error });
  }
  let index: Index;
  try {
    index = JSON.parse(text) as Index;
  } catch (error) {
    throw damaged('it is not JSON', error);
  }
  if (index?.kind !== KIND) throw new ModelError('is no checkpoint of onnx-overparam', { file });
  if (index.version !== VERSION) {
    throw new ModelError(`is a checkpoint of version ${index.version}, and only ${VERSION} is known`, {
      file,
    });
  }
  const { settings, tally, best, history, state, step, digests } = index;
  if (typeof state !== 'string' || !STATE.test(state)) throw damaged('it names no state');
  const isCount = (value: unknown, least: number): boolean =>
    Number.isSafeInteger(value) && (value as number) >= least;
  if (!isCount(tally?.epoch, 1) || !isCount(tally.step, 0) || !isCount(step, 0) || !Array.isArray(history)) {
    throw damaged('it has no position');
  }
  if (best !== undefined && !isCount(best.epoch, 0)) throw damaged('its best epoch is none');
  const { digest, ...rest } = index;
  if (digest !== digestOfText(textOf(rest)))
    throw damaged('it was changed after it was written; go back to a copy, or start again');
  const weights = new Map<string, RuntimeTensor>();
  const slots = new Map<string, RuntimeTensor>();
  for (const [name, tensor] of tensorsOf(directory, state, digests?.state)) {
    if (name.startsWith('weights/')) weights.set(name.slice('weights/'.length), tensor);
    else if (name.startsWith('slots/')) slots.set(name.slice('slots/'.length), tensor);
  }
  if (best !== undefined && !BEST.test(best.file)) throw damaged('it names no best weights');
  return {
    settings: settings ?? {},
    tally,
    history,
    best: best && {
      epoch: best.epoch,
      value: best.value,
      weights: tensorsOf(directory, best.file, digests?.best),
    },
    state: { step, weights, slots },
  };
}

/** Whether a file of that name in the directory of a checkpoint belongs to the checkpoint. */
export function isOfCheckpoint(name: string): boolean {
  return name === INDEX || STATE.test(name) || BEST.test(name);
}

/** Removes the checkpoint of a directory and, where nothing else is in it, the directory. */
export async function removeCheckpoint(directory: string): Promise<void> {
  // The index goes first: without it the rest is no checkpoint.
  await rm(join(directory, INDEX), { force: true });
  const own = (await readdir(directory).catch(() => [])).filter(isOfCheckpoint);
  await Promise.all(own.map((name) => rm(join(directory, name), { force: true })));
  // What is not empty stays.
  await rmdir(directory).catch(() => undefined);
}

function textOf(index: Index): string {
  return JSON.stringify(index, undefined, 1);
}

function digestOfText(text: string): string {
  return sha256().update(text).digest('hex');
}

/** One piece at a time, so that a large state needs no second copy in memory. */
function digestOf(source: ByteSource): string {
  const hash = sha256();
  for (let at = 0; at < source.length; at += PIECE) {
    hash.update(source.read(at, Math.min(PIECE, source.length - at)));
  }
  return hash.digest('hex');
}

function tensorsOf(
  directory: string,
  name: string,
  digest: string | undefined,
): ReadonlyMap<string, RuntimeTensor> {
  const file = join(directory, name);
  try {
    using source = new FileSource(file);
    const { tensors } = readSafetensors(source);
    if (digestOf(source) !== digest) {
      throw new ModelError('is damaged or of another checkpoint: its digest is not the one that was saved');
    }
    return tensors;
  } catch (error) {
    if (!(error instanceof ModelError) || error.where.file !== undefined) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}
