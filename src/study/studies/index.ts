import { OptionError } from '../../graph/option-descriptors.js';
import type { StudyPlan } from '../custom/plan.js';
import { customStudy } from '../custom/study.js';
import type { Study } from '../study.js';
import { collapseRankStudy } from './collapse-rank.js';
import { diversityStudy } from './diversity.js';
import { initStudy } from './init.js';
import { initializationsStudy } from './initializations.js';
import { optimizersStudy } from './optimizers.js';
import { overparamStudy } from './overparam.js';
import { simplicityStudy } from './simplicity.js';
import { svtStudy } from './svt.js';
import { trainStudy } from './train.js';
import { trpStudy } from './trp.js';
import { wdStudy } from './wd.js';

/** All studies, in the order of the list. */
export const STUDIES: readonly Study[] = [
  initStudy,
  trainStudy,
  optimizersStudy,
  initializationsStudy,
  overparamStudy,
  collapseRankStudy,
  simplicityStudy,
  diversityStudy,
  svtStudy,
  wdStudy,
  trpStudy,
];

/**
 * The study of a name.
 *
 * @param custom the plan, where the study is 'custom'
 * @throws OptionError for a name that none has
 */
export function studyOf(name: string, custom?: unknown): Study {
  if (name === 'custom' && custom !== undefined) return customStudy(custom as StudyPlan);
  const study = STUDIES.find((one) => one.name === name);
  if (study !== undefined) return study;
  throw new OptionError('study', `must be one of ${STUDIES.map((one) => one.name).join(', ')}, is '${name}'`);
}
