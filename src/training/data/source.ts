import type { DataType, NativeArray } from '../../graph/index.js';
import type { PixelGeometry } from '../../runtime/index.js';

/** One tensor of all samples, as the files hold it. */
export interface Column {
  readonly name: string;
  readonly type: DataType;
  /** Of one sample. */
  readonly shape: readonly number[];
  /** Where samples are images, how their values lie. */
  readonly pixels?: PixelGeometry | undefined;
  /** The elements of the samples at these indices, one sample after the other. */
  read(indices: ArrayLike<number>): NativeArray | Promise<NativeArray>;
  /** Of images: the same in another size or with other channels, by row, column and channel or as before. */
  resize?(size: { readonly channels: number; readonly height: number; readonly width: number }): Column;
}

/** What a format gives: columns of the same length. */
export interface Source {
  readonly size: number;
  /** All that is no target. */
  readonly inputs: readonly Column[];
  readonly target: Column | undefined;
  readonly classes?: readonly string[] | undefined;
  /** Of targets that are labels at several places of a sample: the axis of the classes in what is predicted. Default 1. */
  readonly classAxis?: number | undefined;
  /** Closes what is open, removes temporary files. */
  dispose?(): void;
  /** What a user may not expect of the data. */
  readonly notes?: readonly string[] | undefined;
  /** What a sample is called in its file or folder: the path of an image. */
  nameOf?(index: number): string;
}

const MOST_SKIPPED = 4;

/** What is told of samples that are left out, each with its reason. */
export function skippedNotes(reasons: readonly string[], of: number, what: string): readonly string[] {
  if (reasons.length === 0) return [];
  const more = reasons.length > MOST_SKIPPED ? `; and ${reasons.length - MOST_SKIPPED} more` : '';
  return [`skipped ${reasons.length} of ${of} ${what}: ${reasons.slice(0, MOST_SKIPPED).join('; ')}${more}`];
}
