import { dirname, resolve } from 'node:path';
import { ModelError, messageOf, readText } from '../../graph/index.js';
import {
  checkOption,
  checkOptions,
  defaultsOf,
  isObject,
  type OptionDescriptor,
  OptionError,
} from '../../graph/option-descriptors.js';
import { TRAINER_NAMES } from '../../training/choices.js';
import { ACTIVATIONS, INITIALIZATIONS, NETWORK_KINDS, type NetworkKind } from '../options.js';
import type { SettingValue } from '../study.js';

/** What a plan says of all runs. */
const PLAN_OPTIONS = {
  title: { kind: 'text', default: 'A plan of your own', help: 'heading of the report' },
  model: {
    kind: 'text',
    help: 'an ONNX file; its weights are where runs begin, unless settings draw them anew',
  },
  network: { kind: 'choice', choices: NETWORK_KINDS, help: 'a network that is made, in place of a file' },
  data: { kind: 'text', help: 'labelled data with a part to test on, as train reads it' },
  seeds: { kind: 'integer', min: 1, default: 5, help: 'runs of each setting' },
  samples: { kind: 'integer', min: 1, default: 8192, help: 'to train on, at most; each seed draws its own' },
  tests: { kind: 'integer', min: 2, max: 2048, default: 256, help: 'to test on, at most' },
} as const;

/** What may vary from run to run: lists of values. */
export const PLAN_SETTINGS = {
  activation: { kind: 'choice', choices: ACTIVATIONS, help: 'of a network that is made' },
  initialization: { kind: 'choice', choices: INITIALIZATIONS, help: 'of a network that is made' },
  depth: { kind: 'integer', min: 1, max: 1000, help: 'of a network that is made' },
  width: { kind: 'integer', min: 1, help: 'of a network that is made' },
  chainDepth: { kind: 'integer', min: 1, help: 'linear layers in place of each one; 1 leaves it' },
  optimizer: { kind: 'choice', choices: TRAINER_NAMES, help: 'of train' },
  learningRate: { kind: 'number', above: 0, help: 'the highest, which falls to 0 by a cosine' },
  momentum: { kind: 'number', min: 0, below: 1, help: 'of sgd' },
  weightDecay: { kind: 'number', min: 0, help: 'of the weights that linear layers multiply by' },
  batch: { kind: 'integer', min: 1, help: 'samples a step' },
  epochs: { kind: 'integer', min: 1, help: 'passes over the data' },
} as const satisfies Readonly<Record<string, OptionDescriptor>>;

/** What may vary in a plan. */
export type PlanSetting = keyof typeof PLAN_SETTINGS;

/** Of settings that a plan does not name. */
export const PLAN_DEFAULTS = {
  chainDepth: 1,
  optimizer: 'adam',
  learningRate: 0.001,
  momentum: 0,
  weightDecay: 0,
  batch: 64,
  epochs: 5,
} as const satisfies Partial<Record<PlanSetting, SettingValue>>;

/** What is claimed: a metric falls, or rises, with a setting that is a number. */
export interface PlanClaim {
  readonly metric: string;
  readonly over: PlanSetting;
  readonly direction: 'falls' | 'rises';
}

/** A plan, checked; its paths are absolute. */
export interface StudyPlan {
  readonly title: string;
  readonly model?: string | undefined;
  readonly network?: NetworkKind | undefined;
  readonly data: string;
  readonly seeds: number;
  readonly samples: number;
  readonly tests: number;
  readonly settings: Readonly<Partial<Record<PlanSetting, readonly SettingValue[]>>>;
  readonly claims: readonly PlanClaim[];
}

/**
 * A plan as a value, checked; paths in it are from a folder.
 *
 * @throws OptionError naming the key that is wrong
 * @example
 * const plan = checkStudyPlan({ network: 'mlp', data: 'mnist', settings: { depth: [2, 4] } }, '.');
 * const { report } = await runStudy('custom', { custom: plan });
 */
export function checkStudyPlan(value: unknown, folder: string): StudyPlan {
  if (!isObject(value)) throw new OptionError('plan', 'must be keys with values: model, data, settings …');
  const known = [...Object.keys(PLAN_OPTIONS), 'settings', 'claims'];
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw new OptionError(unknown, `is no key of a plan; these are: ${known.join(', ')}`);
  const given = { ...defaultsOf(PLAN_OPTIONS), ...checkOptions(PLAN_OPTIONS, value) };
  const { title, model, network, data, seeds, samples, tests } = given;
  if (data === undefined) throw new OptionError('data', 'is missing: labelled data, as train reads it');
  if ((model === undefined) === (network === undefined))
    throw new OptionError('model', 'or network must be given, and not both');
  const settings = settingsOf(value.settings);
  const ofNetwork = ['activation', 'initialization', 'depth', 'width'] as const;
  const stray = model === undefined ? undefined : ofNetwork.find((key) => settings[key] !== undefined);
  if (stray !== undefined)
    throw new OptionError(
      `settings.${stray}`,
      'goes with a network that is made: name `network`, not `model`',
    );
  return {
    title: title as string,
    ...(model === undefined ? { network } : { model: resolve(folder, model) }),
    data: resolve(folder, data),
    seeds: seeds as number,
    samples: samples as number,
    tests: tests as number,
    settings,
    claims: claimsOf(value.claims, settings),
  };
}

function settingsOf(value: unknown): StudyPlan['settings'] {
  if (value === undefined) return {};
  if (!isObject(value))
    throw new OptionError('settings', 'must be names with lists of values: depth: [2, 4]');
  const names = Object.keys(PLAN_SETTINGS);
  return Object.fromEntries(
    Object.entries(value).map(([name, list]) => {
      const at = `settings.${name}`;
      if (!names.includes(name)) throw new OptionError(at, `is no setting; these are: ${names.join(', ')}`);
      const values = [list].flat();
      if (values.length === 0) throw new OptionError(at, 'has no values');
      const checked = values.map((one) => checkOption(PLAN_SETTINGS[name as PlanSetting], one, at));
      if (new Set(checked).size < checked.length) throw new OptionError(at, 'has a value twice');
      return [name, checked as SettingValue[]];
    }),
  );
}

function claimsOf(value: unknown, settings: StudyPlan['settings']): readonly PlanClaim[] {
  if (value === undefined) return [];
  return [value].flat().map((claim: unknown, index) => {
    const at = `claims[${index}]`;
    if (!isObject(claim) || typeof claim.metric !== 'string')
      throw new OptionError(
        at,
        'must be metric, over and direction: { metric: cosineEntropy, over: depth, direction: falls }',
      );
    const { metric, over, direction } = claim;
    const values = settings[over as PlanSetting] ?? [];
    if (values.length < 2 || typeof values[0] !== 'number')
      throw new OptionError(`${at}.over`, `must be a setting of several numbers, is '${String(over)}'`);
    if (direction !== 'falls' && direction !== 'rises')
      throw new OptionError(`${at}.direction`, `must be falls or rises, is '${String(direction)}'`);
    return { metric, over: over as PlanSetting, direction };
  });
}

/**
 * A plan from a YAML or JSON file.
 *
 * @throws ModelError naming the file, for what is no YAML and what is wrong with the plan
 * @example
 * const { report } = await runStudy('custom', { custom: await readStudyPlan('plan.yaml') });
 */
export async function readStudyPlan(file: string): Promise<StudyPlan> {
  const text = await readText(file);
  const { parse } = await import('yaml');
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 100 });
  } catch (error) {
    throw new ModelError(`is no YAML: ${messageOf(error).split('\n')[0]}`, { file }, { cause: error });
  }
  try {
    return checkStudyPlan(value, dirname(file));
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}
