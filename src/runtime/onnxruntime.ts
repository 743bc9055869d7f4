import type * as Ort from 'onnxruntime-node';
import { ModelError, messageOf } from '../graph/index.js';

let loaded: Promise<typeof Ort> | undefined;

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
    const ort = await import('onnxruntime-node');
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
        /(?:[A-Za-z]:)?[\\/][^\s:]*\.(?:cc|h|cpp):\d+ (?:[^()]*?\([^()]*(?:\([^()]*\)[^()]*)*\)(?: const)?(?: \[[^\]]*\])? )?/g,
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
