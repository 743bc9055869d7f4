import {
  asArray,
  byteLengthOf,
  type DataType,
  type FloatType,
  isFloatType,
  ModelError,
  type NativeArray,
  narrow,
  widen,
} from '../../graph/index.js';
import {
  type ChannelScaling,
  channelScaling,
  convert,
  type FittedPixels,
  fitPixels,
  type PixelArray,
  type PixelGeometry,
  type PixelWindow,
  placePixels,
  type RuntimeTensor,
  resizePixels,
} from '../../runtime/index.js';
import type { Field } from '../types.js';
import type { DatasetOptions, InputSpec } from './options.js';
import { elementsOf } from './rows.js';
import type { Column } from './source.js';

/** A column as a model takes it. */
export interface Prepared {
  readonly field: Field;
  /** Whether windows are cut out of its samples. */
  readonly isImage: boolean;
  /** How images are brought to another size or other channels. */
  readonly note?: string | undefined;
  /** The samples side by side. Windows: one a sample, or none, which takes all of it. */
  read(indices: ArrayLike<number>, windows?: readonly PixelWindow[]): Promise<RuntimeTensor>;
}

/**
 * Brings a column to what a model takes.
 *
 * @throws ModelError where it cannot be brought to it
 */
export function prepareInput(column: Column, spec: InputSpec | undefined, options: DatasetOptions): Prepared {
  const natural = column.pixels;
  const fitted = natural && fitPixels(natural, channelsOf(column, natural), spec?.shape);
  const isReshaped = natural !== undefined && fitted === undefined;
  if (isReshaped && (column.resize !== undefined || !hasElements(spec?.shape, column.shape))) {
    throw new ModelError(
      `the images are ${natural.width} x ${natural.height} pixels of ${column.resize === undefined ? natural.channels : '1 or 3'} channels, which do not become [${text(spec?.shape ?? [])}]`,
    );
  }
  return fitted === undefined
    ? prepareValues(column, spec, options)
    : prepareImages(column, fitted, spec, options);
}

/** How many channels images can have: those of files can be made grey, and grey is made colours. */
function channelsOf(column: Column, natural: PixelGeometry): readonly number[] {
  return column.resize !== undefined || natural.channels === 1 ? [1, 3] : [natural.channels];
}

function hasElements(shape: InputSpec['shape'], of: readonly number[]): boolean {
  return (
    shape?.every((dim) => dim !== undefined) === true && elementsOf(shape as number[]) === elementsOf(of)
  );
}

function prepareImages(
  column: Column,
  { geometry, shape }: FittedPixels,
  spec: InputSpec | undefined,
  options: DatasetOptions,
): Prepared {
  const natural = column.pixels as PixelGeometry;
  const isSameSize =
    geometry.channels === natural.channels &&
    geometry.height === natural.height &&
    geometry.width === natural.width;
  const sized = isSameSize ? column : (column.resize?.(geometry) ?? resized(column, geometry, options));
  const from = sized.pixels as PixelGeometry;
  const type = typeOf(column, spec);
  const isRaw = !isFloatType(type);
  refuseScaling(column, type, options);
  const scaling = isRaw
    ? channelScaling({}, geometry.channels, 1)
    : channelScaling(options, geometry.channels, column.type === 'uint8' ? 1 / 255 : 1);
  const workType = isRaw ? column.type : type === 'float64' ? 'float64' : 'float32';
  const elements = elementsOf(shape);
  return {
    field: { name: spec?.name ?? column.name, type, shape },
    isImage: true,
    note: isSameSize ? undefined : resizing(column, geometry, options),
    read: async (indices, windows) => {
      const data = (await sized.read(indices)) as PixelArray;
      const result = asArray(
        workType,
        new Uint8Array(byteLengthOf(workType, elements * indices.length)),
      ) as PixelArray;
      for (let sample = 0; sample < indices.length; sample += 1) {
        const place = sample * elements;
        placePixels(
          { data, at: place, geometry: from },
          { data: result, at: place, geometry },
          windows?.[sample] ?? WHOLE,
          scaling,
        );
      }
      return convert({ type: workType, shape: [indices.length, ...shape], data: result }, type);
    },
  };
}

function resizing(column: Column, to: PixelGeometry, { fit = 'cover' }: DatasetOptions): string {
  const from = column.pixels as PixelGeometry;
  const isSame = from.width === to.width && from.height === to.height;
  const which = column.resize === undefined ? '' : ' (the first)';
  const isOther = from.width * to.height !== from.height * to.width;
  const beyond = { cover: 'cut at the sides', contain: 'with black around', fill: 'stretched' }[fit];
  const channels =
    from.channels === to.channels ? '' : from.channels === 1 ? 'grey in three channels' : 'colours as grey';
  const parts = [
    `images of ${from.width} x ${from.height} pixels${which}`,
    ...(isSame
      ? []
      : [
          `are resized to ${to.width} x ${to.height}${isOther || which ? `, ${beyond} where proportions differ` : ''}`,
        ]),
    ...(channels === '' ? [] : [isSame ? `become ${channels}` : channels]),
  ];
  const [first, ...rest] = parts;
  return `${first} ${rest.join(', ')}`;
}

const WHOLE: PixelWindow = { top: 0, left: 0, flip: false };

/** Images of an array in another size, or grey ones in three equal colours. */
function resized(column: Column, to: PixelGeometry, { fit }: DatasetOptions): Column {
  const from = column.pixels as PixelGeometry;
  const isSameSize = from.width === to.width && from.height === to.height;
  if (column.type !== 'uint8' && !isSameSize) {
    throw new ModelError(
      `the images are ${from.width} x ${from.height} pixels of ${column.type}, and only bytes are resized to ${to.width} x ${to.height}`,
    );
  }
  // Planes are resized one by one, for side by side they would run into each other.
  const isPlanar = from.layout === 'chw' || from.channels === 1;
  const planes = isPlanar ? from.channels : 1;
  const channels = (isPlanar ? 1 : from.channels) as 1 | 3;
  const copies = to.channels / from.channels;
  const [before, after] = [from.width * from.height * channels, to.width * to.height * channels];
  return {
    ...column,
    pixels: { ...to, layout: isPlanar ? 'chw' : 'hwc' },
    read: async (indices) => {
      const data = (await column.read(indices)) as PixelArray;
      const all = new Uint8Array(byteLengthOf(column.type, indices.length * planes * copies * after));
      const result = asArray(column.type, all) as PixelArray;
      const size = { width: to.width, height: to.height, fit };
      const one = async (_: unknown, plane: number): Promise<void> => {
        let part = data.subarray(plane * before, (plane + 1) * before) as PixelArray;
        if (!isSameSize) {
          const image = { width: from.width, height: from.height, channels, data: part as Uint8Array };
          part = (await resizePixels(image, size)).data;
        }
        for (let copy = 0; copy < copies; copy += 1) {
          result.set(part as Uint8Array, (plane * copies + copy) * after);
        }
      };
      await Promise.all(Array.from({ length: indices.length * planes }, one));
      return result;
    },
  };
}

/** A column that is no image: elements in their order. */
function prepareValues(column: Column, spec: InputSpec | undefined, options: DatasetOptions): Prepared {
  const type = typeOf(column, spec);
  const shape = fittedShape(column, spec);
  const elements = elementsOf(shape);
  const isScaled =
    options.scale !== undefined ||
    options.mean !== undefined ||
    options.std !== undefined ||
    column.type === 'uint8';
  refuseScaling(column, type, options);
  // Features have a mean each; of other shapes there is one for all.
  const channels = column.shape.length === 1 ? elements : 1;
  const scaling =
    isFloatType(type) && isScaled
      ? channelScaling(options, channels, column.type === 'uint8' ? 1 / 255 : 1)
      : undefined;
  return {
    field: { name: spec?.name ?? column.name, type, shape },
    isImage: false,
    read: async (indices) => {
      const tensor = {
        type: column.type,
        shape: [indices.length, ...shape],
        data: await column.read(indices),
      };
      if (scaling === undefined) return convert(tensor, type);
      return { type, shape: tensor.shape, data: scaledValues(tensor, type as FloatType, scaling) };
    },
  };
}

function scaledValues(
  { type, data }: { readonly type: DataType; readonly data: NativeArray },
  to: FloatType,
  { gain, offset }: ChannelScaling,
): NativeArray {
  const values = isFloatType(type) ? widen(type, data as never) : data;
  const result = to === 'float64' ? new Float64Array(values.length) : new Float32Array(values.length);
  for (let index = 0; index < values.length; index += 1) {
    const channel = index % gain.length;
    result[index] = Number(values[index]) * (gain[channel] as number) + (offset[channel] as number);
  }
  return narrow(to, result);
}

function refuseScaling(column: Column, type: DataType, { scale, mean, std }: DatasetOptions): void {
  if (isFloatType(type) || (scale === undefined && mean === undefined && std === undefined)) return;
  throw new ModelError(`'${column.name}' goes to the model as ${type}, which takes no scale, mean or std`);
}

/** The element type that a model is fed. */
function typeOf(column: Column, spec: InputSpec | undefined): DataType {
  if (spec?.type !== undefined) return spec.type;
  return isFloatType(column.type) || column.type === 'uint8' ? 'float32' : column.type;
}

function fittedShape({ name, shape }: Column, spec: InputSpec | undefined): readonly number[] {
  const wanted = spec?.shape;
  if (wanted === undefined) return shape;
  if (wanted.length === shape.length && wanted.every((dim, axis) => dim === undefined || dim === shape[axis]))
    return shape;
  const open = wanted.filter((dim) => dim === undefined).length;
  const known = elementsOf(wanted.map((dim) => dim ?? 1));
  const total = elementsOf(shape);
  if (open === 0 && known === total) return wanted as readonly number[];
  if (open === 1 && known > 0 && total % known === 0) return wanted.map((dim) => dim ?? total / known);
  throw new ModelError(
    `'${name}' is [${shape.join(', ')}] a sample, which does not become [${text(wanted)}]`,
  );
}

function text(shape: readonly (number | undefined)[]): string {
  return shape.map((dim) => dim ?? '?').join(', ');
}

/**
 * What is to be predicted: whole numbers are labels (int64), everything else float32.
 *
 * @param describe which sample of which file an index is, for errors
 * @throws ModelError from `read`, for a label that no class has
 */
export function prepareTarget(column: Column, options: DatasetOptions): Prepared {
  const isWhole = !isFloatType(column.type);
  const isLabel = options.targetType === undefined ? isWhole : options.targetType === 'label';
  // A label in a list of one, as Keras has them.
  const shape = isLabel && elementsOf(column.shape) === 1 ? [] : column.shape;
  const type = isLabel ? 'int64' : 'float32';
  const { classes } = options;
  return {
    field: { name: column.name, type, shape },
    isImage: false,
    read: async (indices) => {
      const data = await column.read(indices);
      const fit = [indices.length, ...shape];
      if (!isLabel) return convert({ type: column.type, shape: fit, data }, 'float32');
      const labels = isWhole ? data : wholeNumbers(column, data);
      const tensor = convert({ type: isWhole ? column.type : 'int64', shape: fit, data: labels }, 'int64');
      if (classes !== undefined) checkLabels(tensor.data as BigInt64Array, indices, shape, classes);
      return tensor;
    },
  };
}

function wholeNumbers({ type, name }: Column, data: NativeArray): BigInt64Array {
  const values = widen(type as FloatType, data as never);
  return BigInt64Array.from(values as Float32Array as unknown as ArrayLike<bigint>, (value) => {
    if (Number.isSafeInteger(Number(value))) return BigInt(Number(value));
    throw new ModelError(`the target '${name}' has ${value}, which is no label`);
  });
}

function checkLabels(
  labels: BigInt64Array,
  indices: ArrayLike<number>,
  shape: readonly number[],
  classes: number,
): void {
  const each = elementsOf(shape);
  for (const [at, label] of labels.entries()) {
    if (label >= 0n && label < BigInt(classes)) continue;
    throw new ModelError(
      `sample ${indices[Math.floor(at / each)]} has the label ${label}, but the model has ${classes} classes (0–${classes - 1})`,
    );
  }
}
