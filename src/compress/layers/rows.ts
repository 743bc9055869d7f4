import type { CompressedLayer } from '../account.js';
import { type Cut, multiplyAddsOf, parametersOf } from '../factors/forms.js';
import type { Candidate, Outcome } from './candidate.js';

/** What was decided for each candidate. */
export function outcomesOf(candidates: readonly Candidate[], picks: readonly number[]): Outcome[] {
  return candidates.map((candidate, i) => {
    const choice = candidate.choices[picks[i] as number];
    return { ...candidate, cut: choice?.cut, predicted: choice?.error ?? 0 };
  });
}

/** The row of the account. */
export function rowOf({
  layer,
  size,
  cut,
  predicted,
  choices,
  conditioned,
  spectrum,
  microseconds,
  kept,
}: Outcome): CompressedLayer {
  const costs = (wanted: Cut | undefined): readonly number[] =>
    choices.find((one) => one.cut === wanted)?.costs ?? [
      parametersOf(size, wanted),
      multiplyAddsOf(size, wanted),
    ];
  const [before, after] = [costs(undefined), costs(cut)];
  return {
    layer: layer.name,
    op: layer.site.op,
    nodes: layer.sites.map(({ node }) => node.label),
    rows: layer.rows,
    columns: layer.columns,
    form: cut?.form ?? 'keep',
    ranks: cut?.ranks ?? [],
    rankBefore: Math.min(layer.rows, layer.columns),
    predicted,
    parametersBefore: before[0] as number,
    parametersAfter: after[0] as number,
    multiplyAddsBefore: before[1] as number,
    multiplyAddsAfter: after[1] as number,
    microsecondsBefore: microseconds?.before,
    microsecondsAfter: microseconds && (cut === undefined ? microseconds.before : microseconds.after),
    reason: cut === undefined ? kept : undefined,
    conditioned,
    spectrum,
  };
}
