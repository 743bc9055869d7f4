import { asArray, byteLengthOf, type Dimension, isFloatType, ModelError } from '../../graph/index.js';
import type { RuntimeTensor, SessionValue } from '../types.js';
import { type Image, type ImageFit, type ReadImageOptions, readImage } from './image.js';
import {
  channelScaling,
  type FittedPixels,
  fitPixels,
  type Normalization,
  type PixelArray,
  type PixelLayout,
  placePixels,
} from './pixels.js';
import { convert } from './values.js';

/** Options of imageTensor. */
export interface ImageInputOptions extends Normalization {
  /** How images of other proportions come to the model's size; default 'cover'. */
  readonly fit?: ImageFit | undefined;
  /** The order in which the model takes the values; default as its input's shape tells, by channel first in doubt. */
  readonly layout?: PixelLayout | undefined;
}

/** What is known of an input before a model is loaded. */
export type ImageInput = Pick<SessionValue, 'name' | 'type' | 'shape'>;

/**
 * Images as the batch that an input of a model takes: decoded, resized to it, scaled to (value / 255 - mean) / std. An
 * integer input gets the bytes as they are.
 *
 * @param files one image each, in the order of the batch
 * @param input of shape [N, C, H, W], [N, H, W, C], [N, H, W], [N, C H W], or without N for one image. Where it leaves the
 *   size open, that of the first image is taken, and all must have it
 * @throws ModelError naming the file that is no image, and for an input that takes no images
 * @example
 * const { mean, std } = NORMALIZATIONS.imagenet;
 * const x = await imageTensor(['cat.jpg'], { name: 'x', type: 'float32', shape: ['N', 3, 224, 224] }, { mean, std });
 */
export async function imageTensor(
  files: readonly string[],
  input: ImageInput,
  options: ImageInputOptions = {},
): Promise<RuntimeTensor> {
  const { name, type } = input;
  const [path] = files;
  if (path === undefined) throw new ModelError(`there is no image for input '${name}'`);
  const first = await readImage(path);
  const place = placeOf(first, input, options.layout);
  if (type === undefined || type === 'string' || type === 'bool' || place === undefined) {
    throw new ModelError(`input '${name}' takes no image: it is ${type}[${shapeText(input.shape)}]`, {
      file: path,
    });
  }
  const { geometry, shape } = place.fitted;
  const [count] = place.batch;
  if (place.batch.length === 0 ? files.length > 1 : typeof count === 'number' && count !== files.length) {
    throw new ModelError(
      `input '${name}' takes ${place.batch.length === 0 ? 1 : count} at a time: it is ${type}[${shapeText(input.shape)}], but there are ${files.length} images`,
      { file: path },
    );
  }
  const isSize = typeof input.shape.at(geometry.layout === 'chw' ? -1 : -2) === 'number';
  const { width, height, channels } = geometry;
  const size: ReadImageOptions = isSize ? { width, height, fit: options.fit } : {};
  const isRaw = !isFloatType(type);
  if (isRaw && (options.mean !== undefined || options.std !== undefined || options.scale !== undefined)) {
    throw new ModelError(
      `input '${name}' is ${type}: it takes the bytes of an image as they are, without scale, mean or std`,
    );
  }
  const scaling = isRaw ? channelScaling({}, channels, 1) : channelScaling(options, channels, 1 / 255);
  const workType = isRaw ? 'uint8' : type === 'float64' ? 'float64' : 'float32';
  const elements = width * height * channels;
  const data = asArray(
    workType,
    new Uint8Array(byteLengthOf(workType, elements * files.length)),
  ) as PixelArray;
  for (const [index, file] of files.entries()) {
    const image = await readImage(file, { ...size, channels: channels === 1 ? 1 : 3 });
    if (image.width !== width || image.height !== height) {
      throw new ModelError(
        `is ${image.width} x ${image.height} pixels, but the first image is ${width} x ${height}, and input '${name}' leaves the size open`,
        { file },
      );
    }
    const pixels = { data: image.data, at: 0, geometry: { width, height, channels, layout: 'hwc' as const } };
    placePixels(pixels, { data, at: index * elements, geometry }, { top: 0, left: 0, flip: false }, scaling);
  }
  const batch = place.batch.length === 0 ? [] : [files.length];
  return convert({ type: workType, shape: [...batch, ...shape], data }, type);
}

interface Place {
  readonly fitted: FittedPixels;
  /** The dimension that counts the images, if there is one. */
  readonly batch: readonly Dimension[];
}

function placeOf(image: Image, { shape }: ImageInput, layout: PixelLayout | undefined): Place | undefined {
  const sizes = shape.map((dim) => (typeof dim === 'number' && dim >= 0 ? dim : undefined));
  const take = (own: readonly (number | undefined)[]): Place | undefined => {
    const fitted = fitPixels(image, [1, 3], own, layout);
    return fitted && { fitted, batch: sizes.length === own.length ? [] : [shape[0]] };
  };
  const [first, second, third] = sizes;
  switch (sizes.length) {
    case 4:
      return take(sizes.slice(1));
    case 3:
      // An open dimension before two known ones counts the images: [N, H, W].
      if (first === undefined && second !== undefined && third !== undefined && third !== 3)
        return take(sizes.slice(1));
      return take(sizes) ?? take(sizes.slice(1));
    case 2:
      return take(sizes.slice(1)) ?? (first === undefined ? undefined : take(sizes));
    default:
      return undefined;
  }
}

function shapeText(shape: readonly Dimension[]): string {
  return shape.map((dim) => dim ?? '?').join(', ');
}
