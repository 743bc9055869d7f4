import { findMetric } from '../spectra/descriptors.js';
import type { MetricKey } from '../spectra/metrics.js';

/** A number: arithmetic over figures of weights. */
export type Arithmetic =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'size'; readonly name: SizeName }
  /** The first figure of the comparison, of the same weight in the baseline. */
  | { readonly kind: 'before' }
  | { readonly kind: 'figure'; readonly metric: MetricKey; readonly weights: string }
  | { readonly kind: 'negative'; readonly of: Arithmetic }
  | {
      readonly kind: 'binary';
      readonly op: '+' | '-' | '*' | '/';
      readonly a: Arithmetic;
      readonly b: Arithmetic;
    };

/** A statement about weights. */
export type Assertion =
  | { readonly kind: 'compare'; readonly op: Comparison; readonly a: Arithmetic; readonly b: Arithmetic }
  | { readonly kind: 'and' | 'or'; readonly a: Assertion; readonly b: Assertion };

export const COMPARISONS = ['<=', '>=', '==', '!=', '<', '>'] as const;
/** Operator of a comparison, as it is written in an assertion. */
export type Comparison = (typeof COMPARISONS)[number];

/** Of the matrix that the figures of a comparison are about; min and max of rows and columns. */
export const SIZE_NAMES = ['min', 'max', 'rows', 'columns'] as const;
/** Name of a size of the matrix, as it is written in an assertion. */
export type SizeName = (typeof SIZE_NAMES)[number];

const BEFORE = 'before';

/** What is wrong with the text of an assertion, and where. */
export class AssertionSyntaxError extends Error {
  readonly code = 'ERR_ASSERTION_SYNTAX';
  override readonly name = 'AssertionSyntaxError';
  /** Characters before it. */
  readonly position: number;
  /** The name that is no metric, where that is what is wrong. */
  readonly metric: string | undefined;

  constructor(message: string, position: number, metric?: string) {
    super(message);
    this.position = position;
    this.metric = metric;
  }
}

/**
 * Reads an assertion about the figures of a report:
 *
 *     or         = and { "or" and }
 *     and        = comparison { "and" comparison }
 *     comparison = "(" or ")" | sum ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) sum
 *     sum        = product { ( "+" | "-" ) product }
 *     product    = factor { ( "*" | "/" ) factor }
 *     factor     = "-" factor | number | size | "before" | metric "(" weights ")" | "(" sum ")"
 *     size       = "min" | "max" | "rows" | "columns"
 *     metric     = the key of a metric
 *     before     is what the first metric of the comparison is of the same weight in a baseline
 *     weights    = a glob on the names of weights and nodes, as it is, or between ' or " (doubled to stand for itself)
 *
 * `weights` ends at the parenthesis that closes it; one that holds unbalanced parentheses goes between quotes.
 *
 * @throws AssertionSyntaxError
 * @example
 * parseAssertion('effectiveRank(conv1.weight) < 0.5 * min and numericalRank(fc*) == rows');
 */
export function parseAssertion(text: string): Assertion {
  return new Parser(text).parse();
}

const DEEPEST = 200;

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Assertion {
    const result = this.#or();
    this.#space();
    if (this.#at < this.#text.length)
      throw this.#error(`expected 'and', 'or' or the end, found ${this.#found()}`);
    return result;
  }

  #or(): Assertion {
    let a = this.#and();
    while (this.#word('or')) a = { kind: 'or', a, b: this.#and() };
    return a;
  }

  #and(): Assertion {
    let a = this.#comparison();
    while (this.#word('and')) a = { kind: 'and', a, b: this.#comparison() };
    return a;
  }

  #comparison(): Assertion {
    this.#space();
    // A parenthesis opens an assertion or a sum; what follows what it closes tells which.
    if (this.#text[this.#at] === '(') {
      const start = this.#at;
      const inner = this.#attempt(() => {
        this.#take('(');
        const result = this.#nested(() => this.#or());
        if (!this.#take(')')) throw this.#error(`expected ')', found ${this.#found()}`);
        return result;
      });
      if (!(inner instanceof AssertionSyntaxError)) return inner;
      this.#at = start;
      const other = this.#attempt(() => this.#compared());
      if (!(other instanceof AssertionSyntaxError)) return other;
      // Of two readings that fail, the one that got further is what was meant.
      throw inner.position > other.position ? inner : other;
    }
    return this.#compared();
  }

  #compared(): Assertion {
    const a = this.#sum();
    const op = COMPARISONS.find((candidate) => this.#take(candidate));
    if (op === undefined)
      throw this.#error(`expected a comparison (${COMPARISONS.join(' ')}), found ${this.#found()}`);
    return { kind: 'compare', op, a, b: this.#sum() };
  }

  #sum(): Arithmetic {
    let a = this.#product();
    for (;;) {
      const op = this.#take('+') ? '+' : this.#take('-') ? '-' : undefined;
      if (op === undefined) return a;
      a = { kind: 'binary', op, a, b: this.#product() };
    }
  }

  #product(): Arithmetic {
    let a = this.#factor();
    for (;;) {
      const op = this.#take('*') ? '*' : this.#take('/') ? '/' : undefined;
      if (op === undefined) return a;
      a = { kind: 'binary', op, a, b: this.#factor() };
    }
  }

  #factor(): Arithmetic {
    if (this.#take('-')) return { kind: 'negative', of: this.#nested(() => this.#factor()) };
    if (this.#take('(')) {
      const inner = this.#nested(() => this.#sum());
      if (!this.#take(')')) throw this.#error(`expected ')', found ${this.#found()}`);
      return inner;
    }
    const number = this.#match(/(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?/iy);
    if (number !== undefined) return { kind: 'number', value: Number(number) };
    const start = this.#at;
    const word = this.#match(/[A-Za-z_]\w*/y);
    if (word === undefined)
      throw this.#error(`expected a number, a metric or a size, found ${this.#found()}`);
    const size = SIZE_NAMES.find((name) => name === word);
    if (this.#take('(')) {
      if (size !== undefined || word === BEFORE) {
        throw new AssertionSyntaxError(
          `'${word}' takes no name: it is of the weight that the comparison names`,
          start,
        );
      }
      const metric = findMetric(word);
      if (metric === undefined) throw new AssertionSyntaxError(`no metric '${word}'`, start, word);
      return { kind: 'figure', metric: metric.key, weights: this.#weights() };
    }
    if (size !== undefined) return { kind: 'size', name: size };
    if (word === BEFORE) return { kind: 'before' };
    const isMetric = findMetric(word) !== undefined;
    throw new AssertionSyntaxError(
      isMetric
        ? `'${word}' needs a weight: ${word}(name)`
        : `'${word}' is neither a size (${SIZE_NAMES.join(', ')}), '${BEFORE}', nor a metric of a weight, metric(name)`,
      start,
    );
  }

  /** Up to and with the parenthesis that closes it. */
  #weights(): string {
    this.#space();
    const start = this.#at;
    const quote = this.#text[this.#at];
    if (quote === "'" || quote === '"') {
      const quoted = this.#match(quote === "'" ? /'(?:[^']|'')*'/y : /"(?:[^"]|"")*"/y);
      if (quoted === undefined) throw this.#error(`the quote is not closed`);
      if (!this.#take(')')) throw this.#error(`expected ')', found ${this.#found()}`);
      return this.#filled(quoted.slice(1, -1).replaceAll(quote + quote, quote), start);
    }
    for (let open = 1; this.#at < this.#text.length; this.#at += 1) {
      const character = this.#text[this.#at];
      open += character === '(' ? 1 : character === ')' ? -1 : 0;
      if (open > 0) continue;
      const name = this.#text.slice(start, this.#at).trim();
      this.#at += 1;
      return this.#filled(name, start);
    }
    throw new AssertionSyntaxError("expected ')' after the name of a weight", start);
  }

  #filled(name: string, start: number): string {
    if (name === '') throw new AssertionSyntaxError('expected the name of a weight', start);
    return name;
  }

  #nested<T>(work: () => T): T {
    this.#depth += 1;
    if (this.#depth > DEEPEST) throw this.#error(`more than ${DEEPEST} parentheses`);
    const result = work();
    this.#depth -= 1;
    return result;
  }

  #attempt(work: () => Assertion): Assertion | AssertionSyntaxError {
    const depth = this.#depth;
    try {
      return work();
    } catch (error) {
      if (!(error instanceof AssertionSyntaxError)) throw error;
      this.#depth = depth;
      return error;
    }
  }

  #space(): void {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at += 1;
  }

  /** Takes these characters if they come next. */
  #take(characters: string): boolean {
    this.#space();
    if (!this.#text.startsWith(characters, this.#at)) return false;
    this.#at += characters.length;
    return true;
  }

  #word(word: string): boolean {
    this.#space();
    const start = this.#at;
    if (this.#match(/[A-Za-z_]\w*/y)?.toLowerCase() === word) return true;
    this.#at = start;
    return false;
  }

  #match(pattern: RegExp): string | undefined {
    this.#space();
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #found(): string {
    this.#space();
    const [word] = /^(?:\w+|[<>=!]+|.)/su.exec(this.#text.slice(this.#at)) ?? [];
    return word === undefined ? 'the end' : `'${word}'`;
  }

  #error(message: string): AssertionSyntaxError {
    return new AssertionSyntaxError(message, this.#at);
  }
}

/**
 * The text of an assertion, with no more parentheses than it needs: parsing it gives the assertion again.
 *
 * @example
 * printAssertion(parseAssertion('(stableRank(fc1)>2)')); // 'stableRank(fc1) > 2'
 */
export function printAssertion(assertion: Assertion): string {
  if (assertion.kind === 'compare') {
    return `${printArithmetic(assertion.a)} ${assertion.op} ${printArithmetic(assertion.b)}`;
  }
  const { kind, a, b } = assertion;
  const left = kind === 'and' && a.kind === 'or' ? `(${printAssertion(a)})` : printAssertion(a);
  const isBare = b.kind === 'compare' || (kind === 'or' && b.kind === 'and');
  return `${left} ${kind} ${isBare ? printAssertion(b) : `(${printAssertion(b)})`}`;
}

/** The text of a number, with no more parentheses than it needs. */
export function printArithmetic(value: Arithmetic): string {
  switch (value.kind) {
    case 'number':
      return String(value.value).replace('+', '');
    case 'size':
      return value.name;
    case 'before':
      return BEFORE;
    case 'figure':
      return `${value.metric}(${quotedWeights(value.weights)})`;
    case 'negative':
      return value.of.kind === 'binary' ? `-(${printArithmetic(value.of)})` : `-${printArithmetic(value.of)}`;
    case 'binary': {
      const { op, a, b } = value;
      const isProduct = op === '*' || op === '/';
      const isSum = (side: Arithmetic): boolean =>
        side.kind === 'binary' && (side.op === '+' || side.op === '-');
      const left = isProduct && isSum(a) ? `(${printArithmetic(a)})` : printArithmetic(a);
      const isBare = b.kind !== 'binary' || (!isProduct && !isSum(b));
      return `${left} ${op} ${isBare ? printArithmetic(b) : `(${printArithmetic(b)})`}`;
    }
  }
}

function quotedWeights(name: string): string {
  let open = 0;
  for (const character of name) {
    open += character === '(' ? 1 : character === ')' ? -1 : 0;
    if (open < 0) break;
  }
  const isPlain = open === 0 && name.trim() === name && !/^['"]/.test(name);
  return isPlain ? name : `'${name.replaceAll("'", "''")}'`;
}
