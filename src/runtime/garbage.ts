type Collector = (options?: { readonly type: 'minor' }) => void;
type Transfer = (this: ArrayBuffer, length: number) => ArrayBuffer;

const INTERVAL = 16 << 20;
/** A minor collection takes 0.4 ms and finds what died young, a full one 5 ms: each so many of them is a full one. */
const MINOR = 6;

let isCollecting = false;
let collector: Collector | undefined;
let transfer: Transfer | undefined;
let since = 0;
let collections = 0;

/**
 * Lets countGarbage force collections in this thread from here on. A program's choice, not a library's: the command line makes it,
 * and threads of our own do.
 */
export function collectGarbage(): void {
  isCollecting = true;
}

/**
 * Counts bytes of array buffers that are about to be allocated, or were and are garbage already, and collects when they
 * add up, in a thread that called collectGarbage. Where they are many at once, what they take the place of is large and was held for long: a weight, the memory of
 * the kernels; then the collection is a full one.
 *
 * V8 hardly sees the memory behind array buffers and WebAssembly memories: without this, buffers that nobody holds any
 * more piled up to some 400 MB while one 4096 x 4096 matrix was decomposed.
 */
export function countGarbage(bytes: number): void {
  if (!isCollecting) return;
  since += bytes;
  if (since < INTERVAL) return;
  since = 0;
  collections += 1;
  collector ??= exposedCollector();
  if (bytes >= INTERVAL || collections % MINOR === 0) collector();
  else collector({ type: 'minor' });
}

/**
 * Gives memory back at once, without a collection: each array is empty afterwards, and so are others of the same buffer. Only
 * for what nobody else can have.
 */
export function release(...arrays: readonly (ArrayBufferView | undefined)[]): void {
  transfer ??= exposedTransfer();
  for (const array of arrays) {
    if (array?.buffer instanceof ArrayBuffer && array.byteLength > 0) transfer.call(array.buffer, 0);
  }
}

function exposedCollector(): Collector {
  if (typeof globalThis.gc === 'function') return globalThis.gc as Collector;
  return exposed('--expose-gc', '--no-expose-gc', 'gc') as Collector;
}

/** ArrayBuffer.prototype.transfer, which Node 20 has behind a flag. */
function exposedTransfer(): Transfer {
  const own = (ArrayBuffer.prototype as { readonly transfer?: Transfer }).transfer;
  if (own !== undefined) return own;
  const flag = 'harmony-rab-gsab-transfer';
  return exposed(`--${flag}`, `--no-${flag}`, 'ArrayBuffer.prototype.transfer') as Transfer;
}

/** What V8 has behind a flag, from a context of its own: nothing becomes visible to the program. */
function exposed(flag: string, undo: string, what: string): unknown {
  // Loaded when needed: most commands never are that large.
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  const { runInNewContext } = process.getBuiltinModule('node:vm');
  setFlagsFromString(flag);
  const found = runInNewContext(what) as unknown;
  setFlagsFromString(undo);
  return found;
}
