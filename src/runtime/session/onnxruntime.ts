import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as Ort from 'onnxruntime-node';
import { ModelError, messageOf } from '../../graph/index.js';

// From 1.30 on onnxruntime writes down how it is used, in ~/.cache/Microsoft, and sends it where it can, unless this is set when it
// is loaded. Whoever wants that sets it to 0. It counts in the thread that the process began with alone, so not in load().
process.env.ORT_DISABLE_TELEMETRY ??= '1';

const NAME = 'onnxruntime-node';

let loaded: Promise<typeof Ort> | undefined;
let place: string | undefined;

/** Lets a thread or process whose script is a text, and so lies nowhere, load what onnxruntimePlace() gave. */
export function findOnnxruntime(url: string): void {
  place = url;
}

/** The URL of onnxruntime-node as this module finds it. */
export function onnxruntimePlace(): string {
  return pathToFileURL(packages().resolve(NAME)).href;
}

/** Finds packages from where this module lies, be it in a bundle; one of CommonJS has no import.meta. */
function packages(): NodeJS.Require {
  const url = import.meta.url as string | undefined;
  const file = typeof __filename === 'string' ? __filename : join(process.cwd(), 'index.js');
  return createRequire(place ?? url ?? file);
}

/**
 * The onnxruntime-node module, loaded when it is first needed: its native library takes some 50 ms that a
 * command which runs no model should not pay.
 *
 * @throws ModelError where the platform has no binary of it
 */
export function onnxruntime(): Promise<typeof Ort> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<typeof Ort> {
  try {
    const ort = place === undefined ? await import('onnxruntime-node') : (packages()(NAME) as typeof Ort);
    // What goes wrong is thrown, so its own log would only say it again (and warn of things that are not wrong).
    ort.env.logLevel = 'fatal';
    return ort;
  } catch (error) {
    throw new ModelError(
      `onnxruntime-node does not load on ${process.platform}-${process.arch}: ${readable(messageOf(error))}`,
      {},
      { cause: error },
    );
  }
}

/** The version of onnxruntime-node, without loading it. */
export function onnxruntimeVersion(): string {
  const { version } = packages()(`${NAME}/package.json`) as { readonly version: string };
  return version;
}

/** Where onnxruntime-node is installed. */
export interface Installation {
  /** The folder of its native libraries for this platform, where optional providers go too. */
  readonly libraries: string;
  /** The script that fetches the providers which are not in the package. */
  readonly installer: string;
}

export function installation(): Installation {
  const directory = dirname(packages().resolve(`${NAME}/package.json`));
  return {
    libraries: join(directory, 'bin', 'napi-v6', process.platform, process.arch),
    installer: join(directory, 'script', 'install.js'),
  };
}

/**
 * onnxruntime's message in one line: without error codes, source locations and C++ names.
 *
 * @example
 * readable('Load model from x.onnx failed:Protobuf parsing failed.'); // 'Protobuf parsing failed.'
 */
export function readable(message: string): string {
  return (
    message
      .replace(/\s+/g, ' ')
      .replace(/^(?:Error: )?/, '')
      // `[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : …`
      .replace(/\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : /g, '')
      // `/onnxruntime_src/onnxruntime/core/graph/model.cc:182 onnxruntime::Model::Model(…) …`
      .replace(
        /(?:\b[A-Za-z]:)?[\\/][^\s:]*\.(?:cc|h|cpp):\d+ (?:[^()]*?\([^()]*(?:\([^()]*\)[^()]*)*\)(?: const)?(?: \[[^\]]*\])? )?/g,
        '',
      )
      .replace(/^Load model from .*? failed: ?/, '')
      .replace(
        /^Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: /,
        (_, type: string, name: string) => (name === '' ? `${type}: ` : `${type} '${name}': `),
      )
      .replace(/^(?:Exception during initialization|Exception): /, '')
      .trim()
  );
}
