import { extent } from 'd3-array';
import { type ScaleContinuousNumeric, scaleLinear, scaleLog } from 'd3-scale';

export interface Axis {
  readonly log: boolean;
  readonly from: number;
  readonly to: number;
  readonly label: string;
  readonly unit?: 'percent' | undefined;
  /** Marks at whole numbers only. */
  readonly isWhole?: boolean;
}

export type Scale = ScaleContinuousNumeric<number, number>;

/** A mark of an axis; those of a logarithmic one between its powers may have no text. */
export interface Tick {
  readonly at: number;
  readonly text: string;
}

/** From values to pixels. */
export function scaleOf({ log, from, to }: Axis, start: number, end: number): Scale {
  const scale: Scale = log ? scaleLog() : scaleLinear();
  return scale.domain([from, to]).range([start, end]);
}

/** Marks of an axis, some `most` of them. */
export function ticksOf(axis: Axis, most: number): readonly Tick[] {
  return axis.log ? logTicks(axis, most) : linearTicks(axis, most);
}

function linearTicks(axis: Axis, most: number): readonly Tick[] {
  const scale = scaleOf(axis, 0, 1);
  const ticks = scale.ticks(most).filter((at) => axis.isWhole !== true || Number.isInteger(at));
  const size = Math.max(Math.abs(axis.from), Math.abs(axis.to));
  const kind = axis.unit === 'percent' ? '%' : size >= 1e5 || size < 1e-3 ? 'e' : 'f';
  // As many digits as tell the marks apart.
  const format = scale.tickFormat(most, `~${kind}`);
  const text = (at: number): string => (at === 0 && kind !== '%' ? '0' : format(at).replace('e+', 'e'));
  return ticks.map((at) => ({ at, text: text(at) }));
}

/** All that d3 marks; texts where there is room for some `most`, at the front of each decade. */
function logTicks({ from, to }: Axis, most: number): readonly Tick[] {
  const marks = scaleLog().domain([from, to]).ticks(most);
  // A small part of a decade is nearly linear.
  const ticks = marks.length < 2 ? scaleLinear().domain([from, to]).ticks(Math.max(4, most)) : marks;
  const room = (10 * most) / Math.max(1, ticks.length);
  const front = room < 3 ? 1 : room;
  const isFront = (at: number): boolean => Number(at.toExponential(6).split('e')[0]) <= front;
  // Where the axis is all behind the front of one decade, no text would be left.
  const hasTexts = ticks.filter(isFront).length >= 2;
  return ticks.map((at) => ({ at, text: !hasTexts || isFront(at) ? logText(at) : '' }));
}

function logText(at: number): string {
  const [factor = '', exponent = ''] = at.toExponential(3).split('e');
  const power = Number(exponent);
  if (power >= -2 && power <= 3) return String(Number(at.toPrecision(4)));
  return Number(factor) === 1 ? powerText(power) : `${Number(factor)}·${powerText(power)}`;
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

function powerText(exponent: number): string {
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[Number(digit)]).join('');
  return `10${exponent < 0 ? '⁻' : ''}${digits}`;
}

/** Room for the values of a curve, with some space around them; from 0 where they come near it. */
export function axisAround(
  values: readonly number[],
  label: string,
  { unit, log = false }: { readonly unit?: 'percent' | undefined; readonly log?: boolean } = {},
): Axis {
  const [least = 0, most = 1] = extent(log ? values.filter((value) => value > 0) : values);
  if (log) return { log: true, from: least * 0.9, to: Math.max(most * 1.1, least * 1.2), label };
  const room = (most - least || Math.abs(most) || 1) * 0.06;
  if (unit === 'percent') {
    return { log: false, from: Math.max(0, least - room), to: Math.min(1, most + room), label, unit };
  }
  const isNearZero = least > 0 && least - room < 0.25 * most;
  return { log: false, from: isNearZero ? 0 : least - room, to: most + room, label };
}

/** Values whose largest is this many times the smallest are read on a logarithmic axis. */
const WIDE = 50;

/** From 0 to the largest value; where values differ by orders of magnitude, whole decades. */
export function axisFromZero(values: readonly number[], label: string, isPercent: boolean): Axis {
  const [least = 0, most = 1] = extent(values);
  if (isPercent) return { log: false, from: 0, to: 1, label, unit: 'percent' };
  if (least > 0 && most / least > WIDE) {
    return {
      log: true,
      from: 10 ** Math.floor(Math.log10(least)),
      to: 10 ** Math.ceil(Math.log10(most) + 1e-9),
      label,
    };
  }
  const to = Math.max(0, most * 1.06) || (least < 0 ? 0 : 1);
  return { log: false, from: Math.min(0, least), to, label };
}
