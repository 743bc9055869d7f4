import type { Estimate } from '../../evaluate/types.js';
import { formatSignificant } from '../text/text.js';

type Form = 'share' | 'number';

/** A figure for people: a share in percent. */
export function figureText(value: number | undefined, format: Form): string {
  if (value === undefined || Number.isNaN(value)) return 'no number';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '-∞';
  return format === 'share' ? `${(100 * value).toFixed(2)}%` : formatSignificant(value);
}

/** A difference with its sign: of shares in points. */
export function differenceText(value: number | undefined, format: Form): string {
  if (value === undefined) return '';
  if (!Number.isFinite(value)) return 'no number';
  const size =
    format === 'share' ? `${(100 * Math.abs(value)).toFixed(2)} points` : formatSignificant(Math.abs(value));
  const isZero = Number.parseFloat(size) === 0;
  return `${isZero ? '' : value < 0 ? '-' : '+'}${size}`;
}

/** Both ends of an interval. */
export function intervalText(estimate: Estimate | undefined, format: Form, isDifference = false): string {
  if (estimate?.interval === undefined) return '';
  const { low, high } = estimate.interval;
  const end = (value: number): string =>
    isDifference
      ? differenceText(value, format).replace(' points', '')
      : figureText(value, format).replace('%', '');
  const unit = format === 'share' ? (isDifference ? ' points' : '%') : '';
  return `${end(low)} to ${end(high)}${unit}`;
}
