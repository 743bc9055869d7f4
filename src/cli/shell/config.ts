import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  checkOption,
  isObject,
  type OptionDescriptors,
  OptionError,
} from '../../graph/option-descriptors.js';
import { flagOf } from './described.js';
import { UsageError } from './errors.js';
import { nearest } from './suggest.js';

/** Read from the working directory, never from where a model lies: a download must not set options. */
const NAME = '.onnx-overparam.yaml';
const MOST_BYTES = 2 ** 20;

/**
 * The options that a file has for a command, by key, checked as those of the command line.
 *
 * @param path what `--config` names; default the file of the working directory, where there is one
 */
export async function configuredOptions(
  command: string,
  descriptors: OptionDescriptors,
  path: string | undefined,
  directory = process.cwd(),
): Promise<Readonly<Record<string, unknown>>> {
  const file = path ?? join(directory, NAME);
  if (!existsSync(file)) {
    if (path === undefined) return {};
    throw new UsageError(`--config ${path}: no such file`);
  }
  if (statSync(file).size > MOST_BYTES) throw new UsageError(`${file}: larger than ${MOST_BYTES} bytes`);
  const [{ parse }, { readText }] = await Promise.all([import('yaml'), import('../../graph/index.js')]);
  let all: unknown;
  try {
    all = parse(await readText(file)) ?? {};
  } catch (error) {
    if (error instanceof Error && error.message.startsWith(file))
      throw new UsageError(error.message, { cause: error });
    throw new UsageError(`${file}: ${(error as Error).message.split('\n', 1).join()}`, { cause: error });
  }
  if (!isObject(all)) throw new UsageError(`${file}: must hold options by command`);
  const own = all[command] ?? {};
  if (!isObject(own)) throw new UsageError(`${file}: ${command} must hold options by name`);
  const keys = new Map(
    Object.entries(descriptors).flatMap(
      ([key, one]) =>
        [
          [key, key],
          [flagOf(key, one), key],
        ] as const,
    ),
  );
  return Object.fromEntries(
    Object.entries(own).map(([name, value]) => {
      const key = keys.get(name);
      const descriptor = key === undefined ? undefined : descriptors[key];
      if (key === undefined || descriptor === undefined) {
        const meant = nearest(name, [...keys.keys()]);
        throw new UsageError(
          `${file}: ${command} has no option '${name}'${meant === undefined ? '' : `; did you mean '${meant}'?`}`,
        );
      }
      // Where to write, and over what.
      if (descriptor.writes === true) throw new UsageError(`${file}: '${name}' is of the command line alone`);
      try {
        return [key, checkOption(descriptor, value, name)];
      } catch (error) {
        if (!(error instanceof OptionError)) throw error;
        throw new UsageError(`${file}: ${command}: ${name} ${error.problem}`, { cause: error });
      }
    }),
  );
}
