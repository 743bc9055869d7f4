import { ModelError } from '../../graph/index.js';
import type { EpochRecord, TrainEvent, TrainPlan, TrainSummary } from '../../training/events.js';

/** Of the format of the log. It grows when a reader of older logs would misread newer ones. */
export const LOG_VERSION = 1;

/** What a log says at its start beyond the plan. */
export interface LogContext {
  /** Version of the tool. */
  readonly tool: string;
  /** ISO 8601. */
  readonly time: string;
  /** Files, as the user named them. */
  readonly model: string;
  readonly data: string;
}

/** A training as its log tells it. */
export interface TrainLog {
  readonly context: LogContext;
  readonly plan: TrainPlan;
  /** The last record of each epoch, in their order. */
  readonly records: readonly EpochRecord[];
  /** The epoch that was the best. */
  readonly best: number | undefined;
  /** How it ended; undefined where the log does not say so. */
  readonly end: LogEnd | undefined;
}

/** How a training ended, for the last line of its log. */
export type LogEnd =
  | Pick<TrainSummary, 'reason' | 'epochs' | 'steps' | 'seconds'>
  | { readonly reason: 'failed'; readonly message: string };

/**
 * The line of an event in a JSONL log: a JSON object whose `event` says what it is, with a line break. Undefined of
 * events that are for a screen only. docs/training.md has the fields.
 *
 * @example
 * const context = { tool: '1.0.0', time: new Date().toISOString(), model: 'model.onnx', data: 'mnist' };
 * for await (const event of train(model, dataset)) process.stdout.write(logLine(event, context) ?? '');
 */
export function logLine(event: TrainEvent, context: LogContext): string | undefined {
  switch (event.kind) {
    case 'progress':
      return undefined;
    case 'start':
      return line('start', {
        version: LOG_VERSION,
        ...context,
        ...event.plan,
        ...(event.resumed && { resumed: event.resumed }),
      });
    case 'epoch':
      return line('epoch', event.record);
    case 'done': {
      const { best, last, ...summary } = event.summary;
      return line('done', { ...summary, best: best?.epoch, last: last?.epoch });
    }
    default: {
      const { kind, ...rest } = event;
      return line(kind, rest);
    }
  }
}

/** The line of a training that failed. */
export function failureLine(message: string): string {
  return line('failed', { message });
}

function line(event: string, fields: object): string {
  return `${JSON.stringify({ event, ...fields })}\n`;
}

/**
 * A training from its log. Of an epoch that was trained again after an interruption the last record counts; a last line that
 * was cut short is passed over.
 *
 * @throws ModelError for what is no such log, with the line
 * @example
 * const { records, best } = readTrainLog(await readFile('train.jsonl', 'utf8'));
 * console.log(best, records.at(-1)?.training?.loss);
 */
export function readTrainLog(text: string): TrainLog {
  const lines = text.split('\n');
  const isWhole = lines.at(-1) === '';
  const records = new Map<number, EpochRecord>();
  let start: (TrainPlan & LogContext) | undefined;
  let best: number | undefined;
  let end: LogEnd | undefined;
  for (const [index, content] of lines.entries()) {
    if (content.trim() === '') continue;
    const event = parsed(content);
    if (event === undefined && index === lines.length - 1 && !isWhole) break;
    if (event === undefined) throw new ModelError(`line ${index + 1} is not an event of a training`);
    if (start === undefined && event.event !== 'start') {
      throw new ModelError('is not the log of a training: it does not begin with its start');
    }
    const { event: kind, ...fields } = event;
    switch (kind) {
      case 'start':
        if (event.version !== LOG_VERSION) {
          throw new ModelError(`line ${index + 1}: logs of version ${event.version} are not known here`);
        }
        // A log that a new training was written behind: that one is shown.
        if (event.resumed === undefined) records.clear();
        start = fields as unknown as TrainPlan & LogContext;
        end = undefined;
        break;
      case 'epoch':
        if (!Number.isSafeInteger(event.epoch) || !Array.isArray(event.ranks)) {
          throw new ModelError(`line ${index + 1} is damaged: an epoch without its number or ranks`);
        }
        records.set(event.epoch as number, fields as unknown as EpochRecord);
        break;
      case 'improved':
        best = event.epoch as number;
        break;
      case 'done':
        end = fields as unknown as LogEnd;
        break;
      case 'failed':
        end = { reason: 'failed', message: String(event.message) };
        break;
    }
  }
  if (start === undefined) throw new ModelError('is not the log of a training: it is empty');
  const { tool, time, model, data, ...plan } = start;
  return {
    context: { tool, time, model, data },
    plan,
    records: [...records.values()].sort((a, b) => a.epoch - b.epoch),
    best: best !== undefined && records.has(best) ? best : undefined,
    end,
  };
}

function parsed(content: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(content);
    const isEvent = typeof value === 'object' && value !== null && 'event' in value;
    return isEvent ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
