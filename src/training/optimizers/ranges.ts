import { checkOption } from '../../graph/option-descriptors.js';

/** @throws OptionError unless 0 <= value < 1 */
export function checkShare(value: number, option: string): void {
  checkOption({ kind: 'number', min: 0, below: 1, help: '' }, value, option);
}

/** @throws OptionError unless the number is finite and above 0 */
export function checkPositive(value: number, option: string): void {
  checkOption({ kind: 'number', above: 0, help: '' }, value, option);
}

/** @throws OptionError unless the number is finite and at least 0 */
export function checkNotNegative(value: number, option: string): void {
  checkOption({ kind: 'number', min: 0, help: '' }, value, option);
}

/** @throws OptionError unless the number is an integer of at least `min` */
export function checkCount(value: number, option: string, min: number): void {
  checkOption({ kind: 'integer', min, help: '' }, value, option);
}
