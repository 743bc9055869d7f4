import type { DataType } from '../../graph/index.js';
import { checkOptions, type DescriptorsFor, type OptionDescriptors } from '../../graph/option-descriptors.js';
import type { ImageFit, Normalization, PixelLayout } from '../../runtime/index.js';

/** Parts that data sets are delivered in. */
export const SPLITS = ['train', 'validation', 'test'] as const;
/** Part of a dataset: an element of SPLITS. */
export type Split = (typeof SPLITS)[number];

/** What a model takes, as far as it says so. Samples are brought to this. */
export interface InputSpec {
  readonly name: string;
  /** Default: float32 of bytes and floats, and whatever other integers are. */
  readonly type?: DataType | undefined;
  /**
   * Of one sample, undefined where the model leaves a dimension open: [1, 28, 28], [28, 28, 1], [784]. An image is
   * resized to it; everything else keeps its elements and their order.
   */
  readonly shape?: readonly (number | undefined)[] | undefined;
}

/** What is drawn anew for each sample and epoch. Applies to images. */
export interface Augmentation {
  /** Pixels of black around the image, out of which one of the model's size is cut at random (He et al. 2016: 4 on CIFAR). */
  readonly crop?: number | undefined;
  /** Mirror every second image, by chance, left to right. */
  readonly flip?: boolean | undefined;
  /** Move by up to this many pixels along each axis; black comes in. */
  readonly shift?: number | undefined;
}

/** Options of openDataset. */
export interface DatasetOptions extends Normalization {
  /** Of data that comes in parts; default 'train'. */
  readonly split?: Split | undefined;
  /** What a model is fed: names, types and shapes. Default: as the data has it. */
  readonly inputs?: readonly InputSpec[] | undefined;
  /**
   * What is to be predicted. CSV: name of the column, or its index from 0, from the end where negative (default the
   * last). NPZ: name of the array (default: y, labels, label, target, targets). CIFAR-100: 'fine' (default) or 'coarse'.
   */
  readonly target?: string | number | undefined;
  /** 'value' takes whole numbers for quantities: the target is float32 then, not an int64 label. Default: by their type. */
  readonly targetType?: 'label' | 'value' | undefined;
  /** There is no target: everything is input. For training by a teacher. */
  readonly unlabeled?: boolean | undefined;
  /** Names of the classes in the order of their labels, so that two parts of the data number them alike. Default: sorted. */
  readonly classNames?: readonly string[] | undefined;
  /** How many classes the model has: labels beyond are refused. */
  readonly classes?: number | undefined;
  /** How images of NPY and NPZ files lie; default by their shape: the channels are the 1 or 3. */
  readonly layout?: PixelLayout | undefined;
  /** How images of other proportions are resized; default 'cover'. */
  readonly fit?: ImageFit | undefined;
  /** What `batch` does with `augment`. Default nothing. */
  readonly augment?: Augmentation | undefined;
  /** Use this many samples, picked at equal distances, so that sorted data keeps all of its classes. Default all. */
  readonly limit?: number | undefined;
  /**
   * Leave out images that cannot be decoded and lines of a CSV file that have no number where one belongs, or too few or too
   * many fields; `notes` tells which. Default: they are an error.
   */
  readonly skipBad?: boolean | undefined;
  /** CSV: whether the first line has names. Default: it has where one of its features is no number. */
  readonly header?: boolean | undefined;
  /** CSV: what stands between fields; default comma, semicolon or tab, whichever is in the first line. */
  readonly delimiter?: string | undefined;
  /** The file holds token numbers: a sample is so many, its target those that follow. See openTokens. */
  readonly tokens?: number | undefined;
  /** Bytes up to which a file, and decoded images, are held in memory; beyond, they are read again each time. Default 256 MiB. */
  readonly memory?: number | undefined;
}

/** Default of DatasetOptions.memory. */
export const MEMORY = 256 * 2 ** 20;

/** The options of `openDataset` that one value describes. */
export const DATA_OPTIONS = {
  split: {
    kind: 'choice',
    choices: SPLITS,
    default: 'train',
    help: 'which part of the data, if it has several',
  },
  target: {
    kind: 'text',
    help: 'where the labels are: a column of a CSV file, an array of an .npz file',
  },
  targetType: {
    kind: 'choice',
    choices: ['label', 'value'],
    help: 'whether integers are classes or quantities',
  },
  unlabeled: { kind: 'flag', help: 'the data has no target: all of it is input' },
  limit: { kind: 'integer', min: 1, help: 'use at most this many samples' },
  skipBad: {
    kind: 'flag',
    flag: 'skip-bad-samples',
    help: 'leave out damaged images and lines of a CSV file that are no numbers, and tell which',
  },
  header: { kind: 'flag', help: 'the first line of a CSV file has names' },
  delimiter: { kind: 'text', help: 'what separates the fields of a CSV file' },
  tokens: {
    kind: 'integer',
    min: 1,
    max: 1_000_000,
    help: 'the data is token numbers (.npy, or .bin of uint16): a sample is this many, its target those that follow',
  },
  memory: { kind: 'integer', min: 0, default: MEMORY, help: 'bytes of data to hold in memory' },
} as const satisfies OptionDescriptors;

/** What is done to training images at random. */
export const AUGMENT_OPTIONS = {
  crop: {
    kind: 'integer',
    min: 0,
    max: 4096,
    help: 'random crop after padding each side by this many pixels',
  },
  flip: { kind: 'flag', help: 'mirror every second image' },
  shift: { kind: 'integer', min: 0, max: 4096, help: 'random shift by up to this many pixels' },
} as const satisfies DescriptorsFor<Augmentation>;

/** @throws OptionError for options of `openDataset` that are out of range */
export function checkDatasetOptions({ augment = {}, target, ...options }: DatasetOptions): void {
  // An index is as good as a name.
  checkOptions(DATA_OPTIONS, { ...options, target: Number.isSafeInteger(target) ? undefined : target });
  checkOptions(AUGMENT_OPTIONS, augment);
}
