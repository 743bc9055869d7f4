import { basename, dirname } from 'node:path';
import { ModelError, OpenFiles, Scratch } from '../../graph/index.js';
import type { Dataset } from '../types.js';
import { openCifar } from './cifar.js';
import { datasetOf } from './dataset.js';
import { openFolder, subfolders } from './folder.js';
import { openIdx } from './idx.js';
import { openNpy, openNpz, type SampleArray, sourceOfArrays, splitsOf } from './numpy.js';
import { checkDatasetOptions, type DatasetOptions, MEMORY, SPLITS, type Split } from './options.js';
import { type Found, type Recognized, recognize, tokenFile } from './recognize.js';
import type { Source } from './source.js';
import { openTokens } from './tokens.js';

/**
 * The parts that the data at a path comes in; none where it is in one piece.
 *
 * @throws ModelError as openDataset does
 * @example
 * datasetSplits('data/mnist'); // ['train', 'test']
 */
export function datasetSplits(path: string, options: Pick<DatasetOptions, 'tokens'> = {}): readonly Split[] {
  if (options.tokens !== undefined) return [];
  const data = recognize(path);
  if (data.format === 'parts') return SPLITS.filter((split) => data.parts[split] !== undefined);
  if (data.format === 'own') return data.definition.splits?.(path) ?? [];
  return splitsOf(arrayNames(data));
}

function arrayNames(found: Found): readonly string[] {
  using files = new OpenFiles();
  if (found.format === 'npz') return [...openNpz(found.file, { memory: 0, files }).keys()];
  return found.format === 'npy' ? found.files.map((file) => basename(file, '.npy')) : [];
}

/**
 * Opens data to train on. What it is, its content and names tell:
 *
 * - IDX, as MNIST comes: a folder with `train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]`, and `t10k-` or `test-`
 * - CIFAR-10 and CIFAR-100 in binary: the folder with `data_batch_1.bin` or `train.bin`
 * - .npz with arrays `x` and `y` (or the names of the model's inputs; `x_train`, `x_test`), or a folder of .npy files of these names
 * - CSV (.csv, .tsv, .gz): numbers, the last or a named column the target; or a folder with `train.csv` and `test.csv`
 * - images: a folder with one folder a class, or `train`, `val` and `test` folders of such
 * - with `tokens` token numbers, .npy or .bin
 * - what defineFormat added, which is asked first
 *
 * Files up to `options.memory` are held in memory, of larger ones the samples are read that are asked for.
 *
 * @throws OptionError for options out of range; ModelError naming the file and the line or byte, for data that is damaged, does
 *   not belong together or does not fit the model
 * @example
 * await using data = await openDataset('data/mnist', { split: 'train', inputs: [{ name: 'x', shape: [784] }] });
 * const { inputs, target } = await data.batch([0, 1, 2]);
 */
export async function openDataset(path: string, options: DatasetOptions = {}): Promise<Dataset> {
  checkDatasetOptions(options);
  const { tokens, memory = MEMORY } = options;
  const data = tokens === undefined ? recognize(path) : undefined;
  const found = data && partOf(data, path, options.split);
  const files = new OpenFiles();
  try {
    const source =
      found === undefined || data === undefined
        ? openTokens(tokenFile(path), { length: tokens ?? 1, inputs: options.inputs, memory, files })
        : await openSource(found, { ...options, classNames: options.classNames ?? classesOf(data) }, files);
    const opened = options.unlabeled ? { ...source, target: undefined } : source;
    return datasetOf({ ...opened, dispose: () => files[Symbol.dispose]() }, options, path);
  } catch (error) {
    files[Symbol.dispose]();
    if (!(error instanceof ModelError) || error.where.file !== undefined) throw error;
    throw new ModelError(error.message, { file: path }, { cause: error });
  }
}

function partOf(data: Recognized, path: string, split: Split | undefined): Found {
  if (data.format === 'parts') {
    const parts = SPLITS.filter((name) => data.parts[name] !== undefined);
    const found = data.parts[split ?? 'train'];
    if (found !== undefined) return found;
    throw new ModelError(`has no ${split ?? 'train'} part; it has ${parts.join(', ')}`, { file: path });
  }
  if (split === undefined) return data;
  const parts = data.format === 'own' ? (data.definition.splits?.(path) ?? []) : splitsOf(arrayNames(data));
  if (parts.includes(split)) return data;
  const what =
    parts.length > 0 ? `it has ${parts.join(', ')}` : 'it is in one piece, of which splitDataset makes parts';
  throw new ModelError(`has no ${split} part; ${what}`, { file: path });
}

/** The folders of the training images number the classes of all parts. */
function classesOf(data: Recognized): readonly string[] | undefined {
  if (data.format !== 'parts' || data.parts.train?.format !== 'images') return undefined;
  const folders = subfolders(data.parts.train.folder);
  return folders.length > 0 ? folders : undefined;
}

async function openSource(found: Found, options: DatasetOptions, files: OpenFiles): Promise<Source> {
  const { memory = MEMORY } = options;
  const scratch = files.add(new Scratch());
  switch (found.format) {
    case 'idx':
      return await openIdx(found.images, found.labels, { memory, scratch, files });
    case 'cifar':
      return openCifar(found.files, found.kind, { memory, files, target: options.target });
    case 'csv':
      // The parser loads with the first table.
      return await (await import('./csv.js')).openCsv(found.file, { ...options, memory, scratch });
    case 'own': {
      const { split, target } = options;
      return await found.definition.open(found.path, { split, target, memory });
    }
    case 'images':
      return await openFolder(found.folder, { ...options, memory });
    case 'npz':
      return sourceOfArrays(openNpz(found.file, { ...options, memory, files }), {
        ...options,
        file: found.file,
      });
    case 'npy': {
      const open = (file: string) => (): SampleArray =>
        openNpy(file, basename(file, '.npy'), { ...options, memory, files });
      const arrays = new Map(found.files.map((file) => [basename(file, '.npy'), open(file)]));
      return sourceOfArrays(arrays, { ...options, file: dirname(found.files[0] ?? '') });
    }
  }
}
