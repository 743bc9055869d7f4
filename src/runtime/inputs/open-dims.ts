import { type Dimension, type Model, ModelError, type ValueInfo } from '../../graph/index.js';

/** Sizes of open dimensions: of a symbolic one by its name, of any by its place ('x[1]' is the second of input x). */
export type OpenDims = Readonly<Record<string, number>>;

/** Whether a model leaves a dimension open. Some exporters write an unknown size as -1. */
export function isOpen(dim: Dimension): boolean {
  return typeof dim !== 'number' || dim < 0;
}

/**
 * What an open dimension is called in `dims`: its name, or its place where it has none.
 *
 * @example
 * dimKey(input, 1); // 'sequence', or 'x[1]'
 */
export function dimKey(input: Pick<ValueInfo, 'name' | 'shape'>, axis: number): string {
  const dim = input.shape?.[axis];
  return typeof dim === 'string' ? dim : placeOf(input, axis);
}

function placeOf({ name }: Pick<ValueInfo, 'name'>, axis: number): string {
  return `${name}[${axis}]`;
}

function openPlaces(inputs: readonly ValueInfo[]): { readonly input: ValueInfo; readonly axis: number }[] {
  return inputs.flatMap((input) =>
    (input.shape ?? []).flatMap((dim, axis) => (isOpen(dim) ? [{ input, axis }] : [])),
  );
}

/** The size that `dims` gives an open dimension; undefined where it says nothing. */
export function sizeIn(
  dims: OpenDims,
  input: Pick<ValueInfo, 'name' | 'shape'>,
  axis: number,
): number | undefined {
  const key = [placeOf(input, axis), dimKey(input, axis)].find((name) => Object.hasOwn(dims, name));
  return key === undefined ? undefined : dims[key];
}

/**
 * Refuses what does not belong into `dims`.
 *
 * @throws ModelError for a name or a place that no open dimension has, and a size that is no whole number
 */
export function checkDims(model: Model, inputs: readonly ValueInfo[], dims: OpenDims): void {
  const open = openPlaces(inputs);
  const known = new Set(open.map(({ input, axis }) => dimKey(input, axis)));
  const places = new Set(open.map(({ input, axis }) => placeOf(input, axis)));
  for (const [name, size] of Object.entries(dims)) {
    if (!known.has(name) && !places.has(name)) {
      const those = known.size === 0 ? 'there are none' : `those are ${quoted(known)}`;
      throw new ModelError(`no input has an open dimension '${name}'; ${those}`, { file: model.path });
    }
    if (!Number.isInteger(size) || size < 0) {
      throw new ModelError(`the dimension '${name}' cannot be ${size}; it takes a whole number`, {
        file: model.path,
      });
    }
  }
}

export function quoted(names: Iterable<string>): string {
  return [...names].map((name) => `'${name}'`).join(', ');
}
