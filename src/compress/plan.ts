import { FORMS } from './factors/forms.js';
import type { PlannedLayer } from './options.js';

/**
 * The plan in a JSON text, as `CompressAccount.plan` has it.
 *
 * @example
 * const plan = parsePlan('[{ "layer": "fc1", "form": "matrices", "ranks": [8] }]');
 * await model.apply(compress({ plan }));
 * @throws RangeError that says what is wrong, and in which entry
 * @example
 * const [first] = parsePlan('[{ "layer": "fc1", "form": "matrices", "ranks": [8] }]');
 * console.log(first?.ranks); // [8]
 */
export function parsePlan(text: string): readonly PlannedLayer[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RangeError(`is not JSON: ${(error as Error).message}`);
  }
  if (!Array.isArray(value))
    throw new RangeError('is not a list of layers: [{ "layer": "fc1", "form": "matrices", "ranks": [8] }]');
  return value.map((entry, index) => plannedLayer(entry, index));
}

function plannedLayer(entry: unknown, index: number): PlannedLayer {
  const what = `entry ${index + 1} of the plan`;
  if (typeof entry !== 'object' || entry === null) throw new RangeError(`${what} is no object`);
  const { layer, form, ranks = [] } = entry as Partial<Record<keyof PlannedLayer, unknown>>;
  if (typeof layer !== 'string') throw new RangeError(`${what} names no layer`);
  const known = [...FORMS, 'keep' as const].find((one) => one === form);
  if (known === undefined)
    throw new RangeError(
      `${what} ('${layer}') has the form ${JSON.stringify(form)}; forms are ${[...FORMS, 'keep'].join(', ')}`,
    );
  const count = known === 'keep' ? 0 : known === 'tucker' ? 2 : 1;
  const isRank = (rank: unknown): rank is number => Number.isSafeInteger(rank) && Number(rank) >= 1;
  if (!Array.isArray(ranks) || !ranks.every(isRank) || (count > 0 && ranks.length !== count))
    throw new RangeError(
      `${what} ('${layer}') needs ${count} ${count === 1 ? 'rank' : 'ranks'} of at least 1, has ${JSON.stringify(ranks)}`,
    );
  return { layer, form: known, ranks: count === 0 ? [] : ranks };
}
