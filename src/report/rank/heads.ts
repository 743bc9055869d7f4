import type { RankReport, RankRow } from '../../analysis/report/rank-report.js';
import { figureOf } from '../../analysis/spectra/descriptors.js';
import type { MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { type Column, type Grid, grid } from '../text/document.js';
import { ASCII_LEVELS, BAR_LEVELS, levelsOf } from '../text/levels.js';
import { formatNumber } from '../text/text.js';

interface Layer {
  readonly name: string;
  readonly qk: readonly (number | undefined)[];
  readonly ov: readonly (number | undefined)[];
}

/** A picture of attention heads: a line a layer, a bar a head, from the least to the most of all. */
export function headsGrid(
  { rows }: RankReport,
  { key, header, format }: MetricDescriptor,
  glyph: 'unicode' | 'ascii',
): Grid {
  const layers = new Map<string, { qk: (number | undefined)[]; ov: (number | undefined)[] }>();
  for (const row of rows) {
    const { name, kind } = headOf(row);
    const layer = layers.get(name) ?? { qk: [], ov: [] };
    layers.set(name, layer);
    layer[kind].push(figureOf(row, key));
  }
  const column = (kind: 'qk' | 'ov', title: string): Column<Layer> => {
    const all = [...layers.values()].flatMap((layer) => layer[kind]);
    const known = all.filter((value) => value !== undefined);
    const [least, most] = [Math.min(...known), Math.max(...known)];
    const levels = glyph === 'ascii' ? ASCII_LEVELS : BAR_LEVELS;
    return {
      key: `${kind}_heads`,
      header: `${title}, ${formatNumber(least, format)} to ${formatNumber(most, format)}`,
      only: 'text',
      value: () => undefined,
      text: (layer) => levelsOf(layer[kind], { levels, least, most }),
    };
  };
  const lines = [...layers].map(([name, layer]) => ({ name, ...layer }));
  return grid(
    [
      { key: 'layer', header: 'layer', shrink: 20, value: ({ name }) => name },
      column('qk', 'W_Q W_K by head'),
      column('ov', 'W_V W_O by head'),
    ],
    lines,
    { title: `${header} by layer and head` },
  );
}

function headOf({ weight }: RankRow): { readonly name: string; readonly kind: 'qk' | 'ov' } {
  const [, name = weight, kind = 'qk'] = /^(.*)\[(qk|ov),\d+\]$/.exec(weight) ?? [];
  return { name, kind: kind as 'qk' | 'ov' };
}
