import { ModelError } from '../../graph/index.js';

/** A name that a pickle imports. It stands for itself: nothing is imported or run. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** An object that a pickle makes by calling a global; what the call would give is for the reader to say. */
export class PickleCall {
  readonly callee: string;
  readonly args: readonly unknown[];
  /** What is set on it afterwards. */
  state: unknown;
  constructor(callee: string, args: readonly unknown[]) {
    this.callee = callee;
    this.args = args;
  }
}

/** What lies outside of the pickle: a storage of PyTorch. */
export class PersistentId {
  readonly id: unknown;
  constructor(id: unknown) {
    this.id = id;
  }
}

export interface PickleOptions {
  /** Whether a global may be named; any other one ends the reading. */
  readonly allows: (name: string) => boolean;
}

const MARK = Symbol('mark');
/** Bytes of an integer; longer ones are of no tensor. */
const MOST_INTEGER = 16;

/**
 * Reads a pickle (protocols 0 to 5, Python's pickletools) as data: dictionaries as Map, lists and tuples as arrays, numbers, texts,
 * bytes. A machine for the opcodes that build such data; calls and imports stay what they are, PickleCall and PickleGlobal.
 *
 * @throws ModelError for globals that are not allowed, opcodes that build other things, and damaged pickles
 */
export function readPickle(bytes: Uint8Array, { allows }: PickleOptions): unknown {
  return new Machine(bytes, allows).run();
}

class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #allows: (name: string) => boolean;
  #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  #at = 0;

  constructor(bytes: Uint8Array, allows: (name: string) => boolean) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#allows = allows;
  }

  run(): unknown {
    try {
      for (;;) {
        const opcode = String.fromCharCode(this.#byte());
        if (opcode === '.') return this.#pop();
        this.#step(opcode);
      }
    } catch (error) {
      if (error instanceof RangeError) throw damaged('it is cut short');
      throw error;
    }
  }

  #step(opcode: string): void {
    switch (opcode) {
      // Protocol and frames say nothing about the data.
      case '\x80':
        this.#skip(1);
        return;
      case '\x95':
        this.#skip(8);
        return;
      case '(':
        this.#push(MARK);
        return;
      case 'N':
        this.#push(null);
        return;
      case '\x88':
        this.#push(true);
        return;
      case '\x89':
        this.#push(false);
        return;
      case 'K':
        this.#push(this.#byte());
        return;
      case 'M':
        this.#push(this.#view.getUint16(this.#skip(2), true));
        return;
      case 'J':
        this.#push(this.#view.getInt32(this.#skip(4), true));
        return;
      case '\x8a':
        this.#push(this.#integer(this.#byte()));
        return;
      case '\x8b':
        this.#push(this.#integer(this.#uint32()));
        return;
      case 'I':
        this.#push(booleanOrInteger(this.#line()));
        return;
      case 'L':
        this.#push(Number(this.#line().replace(/L$/, '')));
        return;
      case 'F':
        this.#push(Number(this.#line()));
        return;
      case 'G':
        this.#push(this.#view.getFloat64(this.#skip(8), false));
        return;
      case 'X':
        this.#push(this.#text(this.#uint32()));
        return;
      case '\x8c':
        this.#push(this.#text(this.#byte()));
        return;
      case '\x8d':
        this.#push(this.#text(this.#uint64()));
        return;
      case 'V':
        this.#push(this.#line());
        return;
      case 'T':
      case 'B':
        this.#push(this.#raw(this.#uint32()));
        return;
      case 'U':
      case 'C':
        this.#push(this.#raw(this.#byte()));
        return;
      case '\x8e':
        this.#push(this.#raw(this.#uint64()));
        return;
      default:
        this.#build(opcode);
    }
  }

  /** Opcodes that work on what is there. */
  #build(opcode: string): void {
    switch (opcode) {
      case ')':
      case ']':
      case '\x8f':
        this.#push([]);
        return;
      case '}':
        this.#push(new Map());
        return;
      case 't':
      case 'l':
      case '\x91':
        this.#push(this.#toMark());
        return;
      case 'd':
        this.#push(put(new Map(), this.#toMark()));
        return;
      case '\x85':
      case '\x86':
      case '\x87': {
        const count = opcode.charCodeAt(0) - 0x84;
        this.#push(this.#take(count));
        return;
      }
      case 'a':
      case 'e':
      case '\x90': {
        const items = opcode === 'a' ? [this.#pop()] : this.#toMark();
        const list = this.#top();
        if (!Array.isArray(list)) throw damaged('it adds items to what is no list');
        for (const item of items) list.push(item);
        return;
      }
      case 's':
      case 'u': {
        const items = opcode === 's' ? this.#take(2) : this.#toMark();
        const target = this.#top();
        if (target instanceof Map) put(target, items);
        else if (!(target instanceof PickleCall)) throw damaged('it sets items of what is no dictionary');
        return;
      }
      case '0':
        this.#pop();
        return;
      case '1':
        this.#toMark();
        return;
      case '2':
        this.#push(this.#top());
        return;
      case 'q':
        this.#memo.set(this.#byte(), this.#top());
        return;
      case 'r':
        this.#memo.set(this.#uint32(), this.#top());
        return;
      case 'p':
        this.#memo.set(Number(this.#line()), this.#top());
        return;
      case '\x94':
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 'h':
        this.#get(this.#byte());
        return;
      case 'j':
        this.#get(this.#uint32());
        return;
      case 'g':
        this.#get(Number(this.#line()));
        return;
      case 'c':
        this.#global(this.#line(), this.#line());
        return;
      case '\x93': {
        const [module, name] = this.#take(2);
        this.#global(String(module), String(name));
        return;
      }
      case 'Q':
        this.#push(new PersistentId(this.#pop()));
        return;
      case 'R':
      case '\x81': {
        const [callee, args] = this.#take(2);
        if (!(callee instanceof PickleGlobal) || !Array.isArray(args))
          throw damaged('it calls what is no function');
        this.#push(made(callee.name, args));
        return;
      }
      case 'b': {
        const state = this.#pop();
        const target = this.#top();
        if (target instanceof PickleCall) target.state = state;
        return;
      }
      default:
        throw new ModelError(
          `its pickle has the opcode 0x${opcode.charCodeAt(0).toString(16)}, which builds nothing that a tensor needs; nothing was run`,
        );
    }
  }

  #global(module: string, name: string): void {
    const full = `${module}.${name}`;
    if (!this.#allows(full)) {
      throw new ModelError(
        `its pickle asks for ${JSON.stringify(full)}, which no tensor needs; nothing was run. Save the tensors alone: torch.save(model.state_dict(), …), or as safetensors`,
      );
    }
    this.#push(new PickleGlobal(full));
  }

  #get(index: number): void {
    if (!this.#memo.has(index)) throw damaged(`it reads entry ${index}, which it never wrote`);
    this.#push(this.#memo.get(index));
  }

  #push(value: unknown): void {
    this.#stack.push(value);
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw damaged('it takes more than it made');
    const value = this.#stack.pop();
    if (value === MARK) throw damaged('a mark is where a value belongs');
    return value;
  }

  #top(): unknown {
    const value = this.#pop();
    this.#stack.push(value);
    return value;
  }

  #take(count: number): unknown[] {
    return Array.from({ length: count }, () => this.#pop()).reverse();
  }

  #toMark(): unknown[] {
    const at = this.#stack.lastIndexOf(MARK);
    if (at < 0) throw damaged('a mark is missing');
    const items = this.#stack.splice(at);
    return items.slice(1);
  }

  #byte(): number {
    return this.#view.getUint8(this.#skip(1));
  }

  #uint32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  #uint64(): number {
    return Number(this.#view.getBigUint64(this.#skip(8), true));
  }

  /** The place of the next `count` bytes, behind which reading goes on. */
  #skip(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) throw damaged('it is cut short');
    this.#at += count;
    return at;
  }

  #raw(length: number): Uint8Array {
    const at = this.#skip(length);
    return this.#bytes.subarray(at, at + length);
  }

  #text(length: number): string {
    return new TextDecoder().decode(this.#raw(length));
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw damaged('it is cut short');
    const text = this.#text(end - this.#at);
    this.#at = end + 1;
    return text;
  }

  #integer(length: number): number {
    if (length > MOST_INTEGER) throw damaged(`it has an integer of ${length} bytes`);
    const bytes = this.#raw(length);
    let value = 0n;
    for (const [place, byte] of bytes.entries()) value |= BigInt(byte) << BigInt(8 * place);
    return Number(BigInt.asIntN(8 * Math.max(1, length), value));
  }
}

function booleanOrInteger(line: string): number | boolean {
  return line === '00' ? false : line === '01' ? true : Number(line);
}

/** An ordered dictionary is one, whose items come next; all else stays a call. */
function made(callee: string, args: readonly unknown[]): unknown {
  return callee === 'collections.OrderedDict' ? new Map() : new PickleCall(callee, args);
}

function put(map: Map<unknown, unknown>, items: readonly unknown[]): Map<unknown, unknown> {
  if (items.length % 2 !== 0) throw damaged('a key has no value');
  for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  return map;
}

function damaged(what: string): ModelError {
  return new ModelError(`its pickle is damaged: ${what}`);
}
