import type { FitEnum } from 'sharp';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';

/** How the values of an image follow each other: by channel, row, column, or by row, column, channel. */
export const PIXEL_LAYOUTS = ['chw', 'hwc'] as const;
/** Order of the values of an image: channels before rows ('chw') or behind columns ('hwc'). */
export type PixelLayout = (typeof PIXEL_LAYOUTS)[number];

/** How an image of other proportions comes to a size: cut at the centre, padded with black, or distorted. */
export const IMAGE_FITS = ['cover', 'contain', 'fill'] as const satisfies readonly (keyof FitEnum)[];
/** How an image of other proportions comes to a size: an element of IMAGE_FITS. */
export type ImageFit = (typeof IMAGE_FITS)[number];

/** How the values of pixels become what a model takes: (value * scale - mean) / std. */
export interface Normalization {
  /** Default 1/255 for bytes, 1 for everything else. */
  readonly scale?: number | undefined;
  /** After scaling; one number, or one a channel. Default 0. */
  readonly mean?: number | readonly number[] | undefined;
  /** After scaling; one number, or one a channel. Default 1. */
  readonly std?: number | readonly number[] | undefined;
}

/** Means and deviations of well-known data, of values from 0 to 1. */
export const NORMALIZATIONS = {
  /** What torchvision's models were trained with. */
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  cifar10: { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] },
  cifar100: { mean: [0.5071, 0.4865, 0.4409], std: [0.2673, 0.2564, 0.2762] },
  mnist: { mean: [0.1307], std: [0.3081] },
} as const satisfies Record<string, Normalization>;
export type NormalizationName = keyof typeof NORMALIZATIONS;

/** How images become tensors. */
export const IMAGE_OPTIONS = {
  mean: {
    kind: 'numbers',
    help: 'images: mean to subtract from values from 0 to 1, one number or one per channel: 0.485,0.456,0.406',
  },
  std: { kind: 'numbers', help: 'images: deviation to divide by after that, one number or one per channel' },
  scale: {
    kind: 'number',
    above: 0,
    defaultHelp: '1/255',
    help: 'images: factor of the bytes, applied first',
  },
  layout: {
    kind: 'choice',
    choices: PIXEL_LAYOUTS,
    defaultHelp: "from the input's shape",
    help: 'images: order of the values',
  },
  fit: {
    kind: 'choice',
    choices: IMAGE_FITS,
    default: 'cover',
    help: 'images of other proportions: crop, pad or distort',
  },
} as const satisfies OptionDescriptors;

/** The mean and deviation of a well-known data set, by its name. */
export const NORMALIZE_OPTION = {
  kind: 'choice',
  choices: Object.keys(NORMALIZATIONS) as NormalizationName[],
  defaultHelp: 'none, values from 0 to 1',
  help: 'images: the mean and deviation of a well-known data set',
} as const;
