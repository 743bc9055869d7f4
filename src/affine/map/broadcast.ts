import { type AxisLayout, type Digit, joined, tiled } from './layout.js';
import { isOne, isSame, ONE, type Size, times } from './size.js';

/**
 * The layout of a value of which another one is made: its axes by those of the other, which so becomes the one that
 * everything is told by. `layout` is the other's; undefined where its axes do not show.
 *
 * @param channel the axis of the other that is mixed
 */
export function inverseLayout({ sizes, axes }: AxisLayout, channel: number): AxisLayout | undefined {
  const found: { readonly own: Digit; readonly other: Digit }[] = axes.flatMap((digits, axis) => {
    let weight = ONE;
    return [...digits].reverse().map((own) => {
      const other = { axis, weight, size: own.size };
      weight = times(weight, own.size);
      return { own, other };
    });
  });
  const inverse: Digit[][] = [];
  for (const [axis, size] of sizes.entries()) {
    const own = found.filter((pair) => pair.own.axis === axis);
    const order = tiled(own.map((pair) => pair.own));
    if (order === undefined || (order.length === 0 && !isOne(size))) return undefined;
    inverse.push(
      joined(order.flatMap((digit) => own.filter((pair) => pair.own === digit).map((pair) => pair.other))),
    );
  }
  if ((axes[channel] ?? []).length === 0) return undefined;
  const whole = axes.map((digits) => digits.reduce((product, { size }) => times(product, size), ONE));
  return { sizes: whole, channel, axes: inverse };
}

/**
 * Of a constant that is broadcast to a value, for each channel the place of the element that meets it; undefined where
 * the constant differs along anything but channels.
 *
 * @param shape of the constant, counted from the value's last axis
 * @param channels how many there are: where sizes of the value are not known they follow from it
 */
export function placesInBroadcast(
  layout: AxisLayout,
  shape: readonly number[],
  channels: number,
): number[] | undefined {
  const { axes, sizes, channel } = layout;
  if (shape.length > axes.length || channels < 1) return undefined;
  const whole = sizes[channel] ?? ONE;
  let places = new Array<number>(channels).fill(0);
  for (const [i, dim] of shape.entries()) {
    if (dim === 1) continue;
    const digits = axes[i + axes.length - shape.length] ?? [];
    let product = 1;
    for (const digit of digits) {
      const size = known(digit.size) ?? (digits.length === 1 ? dim : undefined);
      if (digit.axis !== channel || size === undefined) return undefined;
      const isFirst = isSame(times(digit.weight, digit.size), whole);
      const weight = known(digit.weight) ?? (isFirst ? channels / size : undefined);
      if (weight === undefined || !Number.isInteger(weight)) return undefined;
      places = places.map((place, at) => place * size + (Math.floor(at / weight) % size));
      product *= size;
    }
    if (product !== dim) return undefined;
  }
  return places;
}

function known({ factor, symbols }: Size): number | undefined {
  return symbols.length === 0 ? factor : undefined;
}
