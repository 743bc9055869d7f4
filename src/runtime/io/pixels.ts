import { ModelError } from '../../graph/index.js';
import type { Normalization, PixelLayout } from './image-options.js';

export {
  NORMALIZATIONS,
  type Normalization,
  type NormalizationName,
  PIXEL_LAYOUTS,
  type PixelLayout,
} from './image-options.js';

/** The size of an image, and the order of its values. */
export interface PixelGeometry {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly layout: PixelLayout;
}

/** The geometry as a shape: [C, H, W] or [H, W, C]. */
export function shapeOf({
  channels,
  height,
  width,
  layout,
}: PixelGeometry): readonly [number, number, number] {
  return layout === 'chw' ? [channels, height, width] : [height, width, channels];
}

/** The size and order in which a model takes images. */
export interface FittedPixels {
  readonly geometry: PixelGeometry;
  /** The geometry as a shape, [H, W] and [C H W] among them. */
  readonly shape: readonly number[];
}

/**
 * The geometry that a model's shape of one image asks for: [C, H, W], [H, W, C], [H, W], or all values in one row.
 *
 * @param natural of the images; taken where the shape leaves a dimension open
 * @param channels how many the images can have
 * @param shape undefined: as the images are, by channel, row and column
 * @param layout of three dimensions; default as the channels tell, first in doubt
 * @returns undefined for a shape of no image
 */
export function fitPixels(
  natural: Omit<PixelGeometry, 'layout'>,
  channels: readonly number[],
  shape: readonly (number | undefined)[] | undefined,
  layout?: PixelLayout,
): FittedPixels | undefined {
  const as = (order: PixelLayout, count?: number, height?: number, width?: number): FittedPixels => {
    const geometry = {
      channels: count ?? natural.channels,
      height: height ?? natural.height,
      width: width ?? natural.width,
      layout: order,
    };
    return { geometry, shape: shapeOf(geometry) };
  };
  if (shape === undefined) return as('chw');
  const isCount = (dim: number | undefined): boolean => dim === undefined || channels.includes(dim);
  const [a, b, c] = shape;
  if (shape.length === 3) {
    const isLast = layout === 'hwc' || (a === undefined && c !== undefined && isCount(c));
    if (isCount(a) && (layout === 'chw' || !isLast)) return as('chw', a, b, c);
    if (isCount(c) && layout !== 'chw') return as('hwc', c, a, b);
  }
  if (shape.length === 2 && channels.includes(1)) {
    const { geometry } = as('chw', 1, a, b);
    return { geometry, shape: [geometry.height, geometry.width] };
  }
  if (shape.length === 1) {
    const count = channels.find((own) => a === undefined || own * natural.height * natural.width === a);
    if (count === undefined) return undefined;
    return { ...as('chw', count), shape: [a ?? count * natural.height * natural.width] };
  }
  return undefined;
}

/** value * gain + offset, for each channel. */
export interface ChannelScaling {
  readonly gain: Float64Array;
  readonly offset: Float64Array;
}

/**
 * A normalization for so many channels.
 *
 * @param scale what it is where the normalization does not say
 * @throws ModelError where it is for another number of channels, or a deviation is 0
 */
export function channelScaling(
  normalization: Normalization,
  channels: number,
  scale: number,
): ChannelScaling {
  const each = (value: number | readonly number[], what: string): readonly number[] => {
    const list = typeof value === 'number' ? [value] : value;
    if (!list.every(Number.isFinite)) throw new ModelError(`${what} must be numbers, not ${list.join(', ')}`);
    if (list.length === 1) return new Array<number>(channels).fill(list[0] as number);
    if (list.length === channels) return list;
    throw new ModelError(
      `${what} has ${list.length} values, but there ${channels === 1 ? 'is 1 channel' : `are ${channels} channels`}; give 1 or ${channels}`,
    );
  };
  const factor = normalization.scale ?? scale;
  if (!Number.isFinite(factor)) throw new ModelError(`scale must be a number, not ${factor}`);
  const mean = each(normalization.mean ?? 0, 'mean');
  const std = each(normalization.std ?? 1, 'std');
  if (std.includes(0)) throw new ModelError('std must not be 0');
  return {
    gain: Float64Array.from(std, (deviation) => factor / deviation),
    offset: Float64Array.from(std, (deviation, channel) => -(mean[channel] as number) / deviation),
  };
}

/** Which part of an image is taken: where it begins (outside the image there are zeros), and whether it is mirrored. */
export interface PixelWindow {
  readonly top: number;
  readonly left: number;
  readonly flip: boolean;
}

export type PixelArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;

/** An image in an array. */
export interface PixelPlace<A extends PixelArray = PixelArray> {
  readonly data: A;
  /** Where it begins. */
  readonly at: number;
  readonly geometry: PixelGeometry;
}

/** Cuts a window of the target's size out of an image, reorders its values and scales them, in one pass. */
export function placePixels(
  source: PixelPlace,
  target: PixelPlace,
  { top, left, flip }: PixelWindow,
  { gain, offset }: ChannelScaling,
): void {
  const { channels, height, width } = target.geometry;
  const from = stridesOf(source.geometry);
  const to = stridesOf(target.geometry);
  const [input, output] = [source.data, target.data];
  // Of the target's columns, counted before mirroring, those that lie within the image.
  const first = Math.max(0, -left);
  const end = Math.min(width, source.geometry.width - left);
  for (let channel = 0; channel < channels; channel += 1) {
    const [factor, shift] = [gain[channel] as number, offset[channel] as number];
    for (let row = 0; row < height; row += 1) {
      const sourceRow = row + top;
      const isInside = sourceRow >= 0 && sourceRow < source.geometry.height;
      const rowAt = target.at + channel * to.channel + row * to.row;
      if (!isInside || first > 0 || end < width) {
        for (let column = 0; column < width; column += 1) output[rowAt + column * to.column] = shift;
      }
      if (!isInside) continue;
      let read = source.at + channel * from.channel + sourceRow * from.row + (first + left) * from.column;
      const step = flip ? -to.column : to.column;
      let write = rowAt + (flip ? width - 1 - first : first) * to.column;
      for (let column = first; column < end; column += 1) {
        output[write] = (input[read] as number) * factor + shift;
        read += from.column;
        write += step;
      }
    }
  }
}

function stridesOf({ channels, height, width, layout }: PixelGeometry): {
  readonly channel: number;
  readonly row: number;
  readonly column: number;
} {
  return layout === 'chw'
    ? { channel: height * width, row: width, column: 1 }
    : { channel: 1, row: width * channels, column: channels };
}
