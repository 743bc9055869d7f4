import type { EpochRecord } from '../../training/events.js';
import { type Column, type Document, grid } from '../text/document.js';
import { meanRatio, type NamedLog } from './page-data.js';
import { groupSeeds } from './seeds.js';

interface Row {
  readonly log: NamedLog;
  readonly group: string;
  readonly record: EpochRecord;
}

const COLUMNS: readonly Column<Row>[] = [
  { key: 'log', header: 'log', value: ({ log }) => log.name },
  { key: 'group', header: 'group', value: ({ group }) => group },
  { key: 'model', header: 'model', value: ({ log }) => log.log.context.model },
  { key: 'optimizer', header: 'optimizer', value: ({ log }) => log.log.plan.optimizer },
  { key: 'seed', header: 'seed', value: ({ log }) => log.log.plan.seed },
  { key: 'epoch', header: 'epoch', value: ({ record }) => record.epoch },
  { key: 'step', header: 'step', value: ({ record }) => record.step },
  { key: 'trainLoss', header: 'training loss', value: ({ record }) => record.training?.loss },
  {
    key: 'trainAccuracy',
    header: 'training accuracy',
    value: ({ record }) => record.training?.accuracy ?? undefined,
  },
  { key: 'validationLoss', header: 'validation loss', value: ({ record }) => record.validation?.loss },
  {
    key: 'validationAccuracy',
    header: 'validation accuracy',
    value: ({ record }) => record.validation?.accuracy ?? undefined,
  },
  { key: 'learningRate', header: 'learning rate', value: ({ record }) => record.learningRate },
  { key: 'gradientNorm', header: 'gradient norm', value: ({ record }) => record.gradientNorm ?? undefined },
  {
    key: 'effectiveRankRatio',
    header: 'mean effective rank / max',
    value: ({ record }) => meanRatio(record.ranks),
  },
  { key: 'best', header: 'best', value: ({ log, record }) => record.epoch === log.log.best },
  { key: 'seconds', header: 'seconds', value: ({ record }) => record.seconds },
];

/** The epochs of trainings as one tidy table: a row for each epoch of each log. Logs of one group differ in the seed alone. */
export function epochsDocument(logs: readonly NamedLog[]): Document {
  const rows = groupSeeds(logs).flatMap(({ members }) =>
    members.flatMap((log) =>
      log.log.records.map((record): Row => ({ log, group: members[0]?.name ?? '', record })),
    ),
  );
  return { kind: 'train-epochs', title: 'Epochs', data: {}, grids: [grid(COLUMNS, rows)], notes: [] };
}
