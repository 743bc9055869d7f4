import type { DataType, FileRange } from '../../graph/index.js';

/** Bytes that are read by range, from this machine or another one. A ByteSource is one. */
export interface RangeReader {
  readonly length: number;
  /** Exactly `length` bytes from `offset`. */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
  /** Where these bytes stand in one file of this machine; undefined where they do not, or the method is missing. */
  inFile?(offset: number, length: number): FileRange | undefined;
}

/** A tensor of a checkpoint, which is not read yet. */
export interface StoredTensor {
  readonly name: string;
  readonly dataType: DataType;
  readonly shape: readonly number[];
  /** Tensors of one owner and key are the same numbers: two names of one weight. */
  readonly owner: unknown;
  readonly key: string;
  /** Bytes `start` to `start + length` of its elements, row-major and little-endian; all of them unless given. */
  bytes(start?: number, length?: number): Promise<Uint8Array>;
  /** Where these bytes stand in a file as `bytes` gives them. */
  inFile?(start: number, length: number): FileRange | undefined;
}

/** What the JSON beside the tensors says (config.json, adapter_config.json). */
export type Config = Readonly<Record<string, unknown>>;

/** Tensors by name, without a graph that says what they are for. */
export interface Checkpoint extends Disposable {
  /** As it was asked for. */
  readonly path: string;
  readonly format: 'safetensors' | 'pytorch' | 'onnx_adapter';
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Of the model's architecture: config.json beside it. */
  readonly config: Config | undefined;
  /** Of a PEFT adapter: adapter_config.json beside it. */
  readonly adapter: Config | undefined;
  /** What was left out, and why. */
  readonly notes: readonly string[];
  /** Files of this machine that it is read from. */
  readonly files: readonly string[];
}
