/** Colours and dashes of the models: no common divisor, so that the pairs of both repeat as late as possible. */
export const COLOURS = 12;
const DASHES = 5;

/** Classes of what is drawn of one model: distinct for 60 of them, and not told apart by colour alone. */
export function seriesClass(model: number): string {
  return `series m${model % COLOURS} d${model % DASHES}`;
}
