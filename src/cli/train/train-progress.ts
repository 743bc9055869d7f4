import { style } from '../../report/text/style.js';
import { formatNumber, formatSignificant, pad, printable, shorten } from '../../report/text/text.js';
import { meanRatio } from '../../report/training/page-data.js';
import { duration } from '../../report/training/summary.js';
import type { EpochRecord, TrainEvent } from '../../training/events.js';
import { hasColour, type Io, writeLive, writeTalk } from '../shell/io.js';

interface Cell {
  readonly header: string;
  readonly width: number;
  text(record: EpochRecord): string;
}

const accuracy = (value: number | undefined): string => formatNumber(value, 'percent');
const loss = (value: number | undefined): string => (value === undefined ? '–' : formatSignificant(value));

/**
 * A training on stderr: one line an epoch, as a table that grows, and on a terminal a line that tells how far the epoch is.
 */
export class TrainProgress {
  readonly #io: Io;
  readonly #isQuiet: boolean;
  readonly #isLive: boolean;
  #cells: readonly Cell[] = [];
  #epochs = 0;
  #best = 0;
  /** The record whose line is not written yet: it may turn out to be the best. */
  #waiting: EpochRecord | undefined;
  #isShown = false;
  #last = 0;

  constructor(io: Io, { quiet }: { readonly quiet: boolean }) {
    this.#io = io;
    this.#isQuiet = quiet;
    this.#isLive = !quiet && io.stderr.isTTY === true;
  }

  take(event: TrainEvent): void {
    if (this.#isQuiet) return;
    if (event.kind === 'improved') this.#best = event.epoch;
    else if (event.kind !== 'checkpoint') this.#flush();
    switch (event.kind) {
      case 'start':
        this.#epochs = event.plan.epochs;
        this.#cells = cellsOf(
          event.plan.loss === 'cross-entropy',
          event.plan.validationSamples > 0,
          event.plan.perplexity === true,
        );
        this.#write(
          style(
            this.#cells.map(({ header, width }) => pad(header, width, 'right')).join('  '),
            'bold',
            this.#hasColour,
          ),
        );
        if (event.resumed !== undefined) {
          for (const record of event.resumed.history) this.#write(this.#line(record));
        }
        break;
      case 'epoch':
        this.#waiting = event.record;
        break;
      case 'improved':
        this.#flush();
        break;
      case 'progress':
        this.#live(event);
        break;
    }
  }

  /** Writes what waits, and takes the line of the epoch away. */
  clear(): void {
    this.#flush();
    if (this.#isShown) writeLive(this.#io);
    this.#isShown = false;
  }

  get #hasColour(): boolean {
    return hasColour(this.#io.stderr, this.#io.env);
  }

  #flush(): void {
    const record = this.#waiting;
    this.#waiting = undefined;
    if (record !== undefined) this.#write(this.#line(record));
  }

  #line(record: EpochRecord): string {
    const cells = this.#cells.map((cell) => pad(cell.text(record), cell.width, 'right')).join('  ');
    return record.epoch > 0 && record.epoch === this.#best
      ? `${cells}  ${style('best', 'green', this.#hasColour)}`
      : cells;
  }

  #write(text: string): void {
    if (this.#isShown) writeLive(this.#io);
    this.#isShown = false;
    void writeTalk(this.#io, `${text}\n`);
  }

  #live(event: Extract<TrainEvent, { kind: 'progress' }>): void {
    const now = Date.now();
    if (!this.#isLive || now - this.#last < 100) return;
    this.#last = now;
    const { epoch, step, steps, samplesPerSecond, secondsLeft } = event;
    const wide = 20;
    const full = Math.round((wide * step) / steps);
    const text = [
      `epoch ${epoch}/${this.#epochs}`,
      `${'━'.repeat(full)}${'╌'.repeat(wide - full)} ${step}/${steps}`,
      `loss ${formatSignificant(event.loss)}`,
      ...(event.accuracy === undefined ? [] : [accuracy(event.accuracy)]),
      `${formatNumber(Math.round(samplesPerSecond), 'count')} samples/s`,
      `${duration(secondsLeft)} left`,
    ].join('  ');
    writeLive(this.#io, shorten(printable(text), (this.#io.stderr.columns ?? 80) - 1, 1));
    this.#isShown = true;
  }
}

function cellsOf(hasClasses: boolean, isValidated: boolean, hasPerplexity: boolean): readonly Cell[] {
  const perplexity = (of: (record: EpochRecord) => { readonly loss: number } | undefined): Cell[] =>
    hasPerplexity
      ? [
          {
            header: 'perplexity',
            width: 10,
            text: (record) => {
              const figures = of(record);
              return loss(figures && Math.exp(figures.loss));
            },
          },
        ]
      : [];
  const right = (header: string, of: (record: EpochRecord) => number | undefined): Cell[] =>
    hasClasses ? [{ header, width: Math.max(6, header.length), text: (record) => accuracy(of(record)) }] : [];
  return [
    { header: 'epoch', width: 5, text: ({ epoch }) => String(epoch) },
    { header: 'train loss', width: 10, text: ({ training }) => loss(training?.loss) },
    ...right('right', ({ training }) => training?.accuracy),
    ...(isValidated
      ? [
          { header: 'val. loss', width: 9, text: ({ validation }: EpochRecord) => loss(validation?.loss) },
          ...right('right', ({ validation }) => validation?.accuracy),
          ...perplexity(({ validation }) => validation),
        ]
      : perplexity(({ training }) => training)),
    {
      header: 'rate',
      width: 8,
      text: ({ learningRate, epoch }) => (epoch === 0 ? '–' : formatSignificant(learningRate)),
    },
    { header: 'eff.rank', width: 8, text: (record) => formatNumber(meanRatio(record.ranks), 'percent') },
    { header: 'time', width: 9, text: ({ seconds }) => duration(seconds) },
  ];
}
