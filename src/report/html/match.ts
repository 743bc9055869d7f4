import type { RankReport, RankRow } from '../../analysis/report/rank-report.js';
import { isNumbered } from '../../analysis/weights/weight-data.js';
import { printable } from '../text/text.js';
import type { Block, LayerName } from './types.js';

/** One weight in each of the models. */
export interface Layer extends LayerName {
  /** One a model; undefined where a model has no such weight. */
  readonly rows: readonly (RankRow | undefined)[];
}

type NameOf = (row: RankRow) => string | undefined;

/**
 * By what weights are the same, the surest first. Numbers that an exporter gave are the last resort: models of
 * different structure share them by accident.
 */
const MATCHES: readonly NameOf[] = [
  (row) => JSON.stringify([row.weight, row.nodes[0]]),
  (row) => (isNumbered(row.weight) ? undefined : row.weight),
  (row) => (isNumbered(row.weight) ? row.nodes[0] : undefined),
  (row) => (isNumbered(row.weight) ? JSON.stringify([row.weight, row.rows, row.columns]) : undefined),
];

/** The weights of all models, in the order of the first; those that only later models have follow. */
export function matchLayers(reports: readonly RankReport[]): Layer[] {
  const groups: (RankRow | undefined)[][] = [];
  for (const [model, report] of reports.entries()) {
    const rest = new Set(report.rows);
    for (const nameOf of MATCHES) {
      const waiting = new Map<string, (RankRow | undefined)[][]>();
      for (const group of groups) {
        if (group[model] !== undefined) continue;
        for (const name of new Set(group.flatMap((row) => (row && nameOf(row)) ?? []))) {
          waiting.set(name, [...(waiting.get(name) ?? []), group]);
        }
      }
      for (const row of rest) {
        const name = nameOf(row);
        const group =
          name === undefined ? undefined : waiting.get(name)?.find((found) => found[model] === undefined);
        if (group === undefined) continue;
        group[model] = row;
        rest.delete(row);
      }
    }
    for (const row of rest) {
      const group = new Array<RankRow | undefined>(reports.length).fill(undefined);
      group[model] = row;
      groups.push(group);
    }
  }
  const taken = new Map<string, number>();
  return groups.flatMap((rows) => {
    const first = rows.find((row) => row !== undefined);
    if (first === undefined) return [];
    const [node] = first.nodes;
    const isByNode = isNumbered(first.weight) && node !== undefined && node !== '';
    const label = printable((isByNode ? node : first.weight) || '(no name)');
    const count = (taken.get(label) ?? 0) + 1;
    taken.set(label, count);
    return [
      {
        label,
        subtitle: isByNode ? printable(first.weight) : '',
        key: count === 1 ? label : `${label}~${count}`,
        rows,
      },
    ];
  });
}

const DEEPEST = 6;

/**
 * Blocks of the network: neighbours whose names begin alike (layer1, layer2 ...; encoder_layer_0 ...), by the shortest
 * beginning that divides the network into 3 to 40 blocks none of which has most of it. None where no beginning does.
 */
export function blocksOf(labels: readonly string[]): Block[] {
  const paths = labels.map((label) => label.split(/[/.]+/).filter(Boolean));
  for (let depth = 1; depth <= DEEPEST; depth += 1) {
    const blocks: { label: string; name: string; from: number; count: number }[] = [];
    for (const [index, path] of paths.entries()) {
      // The last part names the weight itself.
      const head = path.slice(0, Math.max(1, Math.min(depth, path.length - 1)));
      const name = JSON.stringify(head);
      const last = blocks.at(-1);
      if (last?.name === name) last.count += 1;
      else blocks.push({ label: head.at(-1) ?? '', name, from: index, count: 1 });
    }
    const largest = blocks.reduce((most, { count }) => Math.max(most, count), 0);
    const isUseful =
      blocks.length >= 3 &&
      blocks.length <= 40 &&
      2 * largest <= labels.length + 1 &&
      3 * blocks.length <= 2 * labels.length;
    if (!isUseful) continue;
    const stems = blocks.map(({ label }) => label.replace(/\d+$/, ''));
    return blocks.map(({ label, from, count }, index) => {
      const stem = stems[index] ?? '';
      const isNumbered = stem !== label && stems.filter((other) => other === stem).length >= 3;
      return { label, short: isNumbered ? label.slice(stem.length) : '', from, count };
    });
  }
  return [];
}
