import { ModelError, type NativeArray } from '../../graph/index.js';
import { type PixelWindow, Random, type RuntimeTensor } from '../../runtime/index.js';
import type { Batch, BatchOptions, Dataset, Field } from '../types.js';
import { arrayInMemory, sourceOfArrays } from './numpy.js';
import { type Augmentation, checkDatasetOptions, type DatasetOptions } from './options.js';
import { type Prepared, prepareInput, prepareTarget } from './prepare.js';
import type { Source } from './source.js';

/** Samples of files, as a model takes them. */
class SourceDataset implements Dataset {
  readonly inputs: readonly Field[];
  readonly target: Field | undefined;
  readonly size: number;
  readonly classes: readonly string[] | undefined;
  readonly classAxis: number | undefined;
  readonly notes: readonly string[];
  readonly path: string | undefined;
  readonly #source: Source;
  readonly #inputs: readonly Prepared[];
  readonly #target: Prepared | undefined;
  readonly #augment: Augmentation;
  #isOpen = true;

  constructor(source: Source, options: DatasetOptions, path: string | undefined) {
    checkDatasetOptions(options);
    const { inputs: specs, augment = {}, limit = source.size } = options;
    if (specs !== undefined && specs.length !== source.inputs.length) {
      const names = specs.map(({ name }) => `'${name}'`).join(', ') || '(none)';
      throw new ModelError(
        `the data has ${source.inputs.length} tensors a sample, but the model takes ${names}; give each as an array of a .npz file`,
      );
    }
    this.#source = source;
    this.#inputs = source.inputs.map((column, index) => prepareInput(column, specs?.[index], options));
    this.#target = source.target && prepareTarget(source.target, options);
    this.#augment = checked(augment, this.#inputs, this.#target);
    this.inputs = this.#inputs.map(({ field }) => field);
    this.target = this.#target?.field;
    this.size = Math.min(limit, source.size);
    this.classes = source.classes;
    this.classAxis = source.classAxis;
    this.path = path;
    this.notes = [...(source.notes ?? []), ...this.#inputs.flatMap(({ note }) => note ?? [])];
  }

  async batch(indices: ArrayLike<number>, options: BatchOptions = {}): Promise<Batch> {
    const chosen = this.#chosen(indices);
    const windows = options.augment ? Array.from(chosen, (index) => this.#draw(index, options)) : undefined;
    const inputs = await Promise.all(this.#inputs.map((input) => input.read(chosen, windows)));
    return {
      inputs: Object.fromEntries(inputs.map((tensor, index) => [this.inputs[index]?.name ?? '', tensor])),
      target: await this.#target?.read(chosen),
    };
  }

  async targets(indices: ArrayLike<number>): Promise<RuntimeTensor | undefined> {
    return await this.#target?.read(this.#chosen(indices));
  }

  #chosen(indices: ArrayLike<number>): Float64Array {
    if (!this.#isOpen) throw new ModelError('the dataset is disposed');
    return Float64Array.from(indices, (index) => {
      if (!Number.isInteger(index) || index < 0 || index >= this.size) {
        throw new RangeError(`there is no sample ${index}; there are ${this.size}`);
      }
      return this.numberOf(index);
    });
  }

  numberOf(index: number): number {
    return Math.floor((index * this.#source.size) / this.size);
  }

  nameOf(index: number): string | undefined {
    return this.#source.nameOf?.(this.numberOf(index));
  }

  /** Of a sample's own stream of random numbers, so that it does not matter which batch it is in. */
  #draw(index: number, { seed = 0, epoch = 0 }: BatchOptions): PixelWindow {
    const { crop = 0, shift = 0, flip = false } = this.#augment;
    const random = new Random(seed, `augment/${epoch}/${index}`);
    const move = (): number => {
      const cropped = crop > 0 ? random.integer(2 * crop + 1) - crop : 0;
      return shift > 0 ? cropped + random.integer(2 * shift + 1) - shift : cropped;
    };
    const [top, left] = [move(), move()];
    return { top, left, flip: flip && random.integer(2) === 1 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#source.dispose?.();
  }
}

function checked(
  augment: Augmentation,
  inputs: readonly Prepared[],
  target: Prepared | undefined,
): Augmentation {
  const { crop = 0, shift = 0, flip = false } = augment;
  if (crop === 0 && shift === 0 && !flip) return augment;
  if (!inputs.some(({ isImage }) => isImage)) {
    const shapes = inputs.map(({ field }) => `[${field.shape.join(', ')}]`).join(', ');
    throw new ModelError(`crop, flip and shift are for images, but a sample is ${shapes}`);
  }
  if (target !== undefined && target.field.shape.length > 1) {
    throw new ModelError(
      'crop, flip and shift would move the images, but not their targets, which are images too',
    );
  }
  return augment;
}

/** Samples of a source as a model takes them; the dataset disposes the source. */
export function datasetOf(source: Source, options: DatasetOptions = {}, path?: string): Dataset {
  return new SourceDataset(source, options, path);
}

/**
 * Tensors in memory as a dataset: their first dimension counts the samples.
 *
 * @param tensors inputs by the names of `options.inputs` or any others, and a target named y, labels, label, targets or target
 *   or as `options.target` says
 * @throws OptionError for options out of range; ModelError where the tensors have different numbers of samples, and as openDataset does
 * @example
 * const data = tensorDataset({ x: { type: 'float32', shape: [100, 4], data: x }, y: { type: 'int64', shape: [100], data: y } });
 */
export function tensorDataset(
  tensors: Readonly<Record<string, RuntimeTensor>>,
  options: DatasetOptions = {},
): Dataset {
  const arrays = new Map(
    Object.entries(tensors).map(([name, { type, shape, data }]) => {
      if (Array.isArray(data)) throw new ModelError(`'${name}' has strings; number the classes`);
      const tensor = { type, shape, data: data as NativeArray };
      return [name, () => arrayInMemory(name, tensor, options.layout)];
    }),
  );
  return datasetOf(sourceOfArrays(arrays, { ...options, split: undefined, file: 'the tensors' }), options);
}
