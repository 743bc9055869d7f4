import { STUDIES } from '../../study/studies/index.js';
import type { Study } from '../../study/study.js';
import type { StudyRunOptions } from '../../study/study-options.js';
import { settleStudy, studySeconds } from '../../study/sweep/run-study.js';
import { type Column, type Document, grid } from '../text/document.js';

interface Listed {
  readonly study: Study;
  readonly runs: number;
  readonly seeds: number;
  readonly seconds: number;
}

const COLUMNS: readonly Column<Listed>[] = [
  { key: 'study', header: 'study', value: ({ study }) => study.name },
  { key: 'question', header: 'asks', value: ({ study }) => study.question, shrink: 40 },
  { key: 'runs', header: 'runs', align: 'right', value: ({ runs }) => runs },
  { key: 'seeds', header: 'seeds', align: 'right', value: ({ seeds }) => seeds },
  {
    key: 'seconds',
    header: 'time',
    align: 'right',
    value: ({ seconds }) => Math.round(seconds),
    text: ({ seconds }) =>
      seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`,
  },
  { key: 'criterion', header: 'holds when', value: ({ study }) => study.criterion, priority: 3, shrink: 40 },
  { key: 'source', header: 'source', value: ({ study }) => study.source, only: 'data' },
];

/** The studies: what each asks, how many runs it is, and about how long they take here. */
export function studyListDocument(options: StudyRunOptions): Document {
  const rows = STUDIES.map((study): Listed => {
    const settled = settleStudy(study.name, options);
    return {
      study,
      runs: settled.plan.length,
      seeds: settled.header.seeds,
      seconds: studySeconds(settled),
    };
  });
  return {
    kind: 'study-list',
    title: 'Studies',
    data: {
      studies: rows.map(({ study, runs, seeds, seconds }) => ({
        study: study.name,
        title: study.title,
        question: study.question,
        source: study.source,
        criterion: study.criterion,
        metrics: study.metrics,
        runs,
        seeds,
        seconds,
      })),
    },
    grids: [grid(COLUMNS, rows)],
    notes: [
      {
        text: 'study custom plan.yaml runs a plan of your own; study report draws runs again.',
        tone: 'aside',
      },
    ],
  };
}
