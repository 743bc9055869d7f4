import {
  type AttributeProtos,
  DATA_TYPES,
  decodeFragment,
  encodeFragment,
  type Model,
  type Node,
} from '../graph/index.js';

/** The metadata_props key under which each node of a chain says where it belongs. */
const CHAIN_KEY = 'onnx-overparam';

/** What a node of a chain says of itself. Stored as JSON, so that it can be read in any viewer. */
export interface ChainNote {
  /** Name of the node that the chain stands in for ('' where it had none). */
  readonly site: string;
  /** Position in the chain, in the order of application, from 0. */
  readonly factor: number;
  /** Number of factors. */
  readonly of: number;
  /** Name of the weight that the chain multiplies out to. */
  readonly weight: string;
  /** On factor 0 of a chain of kernels: the attributes of the one convolution, a serialized NodeProto, base64. */
  readonly attributes?: string;
  /** On factor 0, where the weight was not a plain initializer: how it was made. */
  readonly source?: WeightSource;
  /** On the last factor, where the site was itself a factor of a chain: its own note. */
  readonly inner?: string;
}

/** The metadata_props key of the factors that stand in for a weight of less rank. */
const FACTORIZED_KEY = 'onnx-overparam.factorized';

/** What a node of a factorized layer says of itself. Unlike a chain it is not to be folded: it is smaller as it is. */
export interface FactorizedNote {
  /** Name of the node that the factors stand in for. */
  readonly site: string;
  readonly form: string;
  readonly ranks: readonly number[];
  /** Position, in the order of application, from 0. */
  readonly factor: number;
  readonly of: number;
}

export function factorizedMetadata(note: FactorizedNote): Record<string, string> {
  return { [FACTORIZED_KEY]: JSON.stringify(note) };
}

/** The factorized layer that a node is of; undefined of others. */
export function factorizedSite(node: Node): string | undefined {
  const text = node.metadata.get(FACTORIZED_KEY);
  if (text === undefined) return undefined;
  try {
    const { site } = JSON.parse(text) as Partial<FactorizedNote>;
    return typeof site === 'string' ? site : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What else stands in a chain: a normalization behind a factor, Transposes around it that bring the units to the axis that it
 * takes for channels and back, a sum with a connection around layers, or a projection in one.
 */
const CHAIN_PARTS = ['norm', 'turn', 'add', 'project'] as const;
export type ChainPart = (typeof CHAIN_PARTS)[number];

/** What a node of a chain that is no factor says of itself. */
export interface PartNote extends Pick<ChainNote, 'site' | 'factor' | 'of' | 'weight'> {
  readonly part: ChainPart;
}

/** How a weight that nodes computed from constants is to be written back. */
export interface WeightSource {
  /** The nodes and their small constants: a serialized GraphProto, base64. */
  readonly fragment: string;
  /** The tensor that held the elements, where the nodes only relabelled or cast them. */
  readonly root?: {
    readonly name: string;
    readonly dataType: string;
    readonly shape: readonly number[];
    /** True where it was the value of a Constant node (which then is the first of the fragment). */
    readonly isConstantNode: boolean;
    /** What a Constant node's tensor calls itself. */
    readonly tensor?: string;
  };
}

/** Attributes as text for a chain's note, so that the one convolution can have its own again. */
export function encodeAttributes(attribute: AttributeProtos): string {
  return Buffer.from(encodeFragment({ node: [{ op_type: 'Conv', attribute }] })).toString('base64');
}

/** Undefined where the text is none. */
export function decodeAttributes(text: string): AttributeProtos | undefined {
  try {
    return decodeFragment(Buffer.from(text, 'base64')).node?.[0]?.attribute ?? [];
  } catch {
    return undefined;
  }
}

/** Whether any node of a model, those of functions included, says that it belongs to a chain. */
export function hasChains(model: Model): boolean {
  for (const node of model.nodes()) if (node.metadata.has(CHAIN_KEY)) return true;
  return false;
}

/** The note of a factor; undefined of other nodes. */
export function readChainNote(node: Node): ChainNote | undefined {
  const note = parsedNote(node);
  if (note === undefined || note.part !== undefined) return undefined;
  const { source, attributes, part: _part, ...rest } = note;
  return {
    ...rest,
    ...(isSource(source) && { source }),
    ...(typeof attributes === 'string' && { attributes }),
  };
}

/** The note of a node that stands in a chain and is no factor; undefined of other nodes. */
export function readPartNote(node: Node): PartNote | undefined {
  const note = parsedNote(node);
  const part = CHAIN_PARTS.find((name) => name === note?.part);
  if (note === undefined || part === undefined) return undefined;
  const { site, factor, of, weight } = note;
  return { site, factor, of, weight, part };
}

/** What the metadata says, where it has what both kinds of notes have. */
function parsedNote(node: Node): (ChainNote & { readonly part?: unknown }) | undefined {
  const text = node.metadata.get(CHAIN_KEY);
  if (text === undefined) return undefined;
  try {
    const note = JSON.parse(text) as Partial<ChainNote>;
    const isNote =
      typeof note.site === 'string' &&
      typeof note.weight === 'string' &&
      note.weight !== '' &&
      Number.isInteger(note.factor) &&
      Number.isInteger(note.of) &&
      Number(note.of) > 1;
    return isNote ? (note as ChainNote) : undefined;
  } catch {
    return undefined;
  }
}

/** A file can say anything under the key. What is no source is none: the weight then becomes an initializer. */
function isSource(source: WeightSource | undefined): source is WeightSource {
  if (typeof source?.fragment !== 'string') return false;
  const { root } = source;
  if (root === undefined) return true;
  return (
    typeof root === 'object' &&
    root !== null &&
    typeof root.name === 'string' &&
    root.name !== '' &&
    Object.hasOwn(DATA_TYPES, root.dataType) &&
    Array.isArray(root.shape) &&
    root.shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0) &&
    typeof root.isConstantNode === 'boolean' &&
    (root.tensor === undefined || typeof root.tensor === 'string')
  );
}

/** The metadata of a factor; `site`, given for the last, may be a factor of a chain itself, and its note is kept. */
export function chainMetadata(note: ChainNote | PartNote, site: Node | undefined): Record<string, string> {
  const inner = site?.metadata.get(CHAIN_KEY);
  return { [CHAIN_KEY]: JSON.stringify({ ...note, ...(inner !== undefined && { inner }) }) };
}

/** The metadata of the node that a chain folds to: what its last factor has, without the note of the chain. */
export function foldedMetadata(last: Node): Record<string, string> {
  const { [CHAIN_KEY]: _note, ...rest } = Object.fromEntries(last.metadata);
  const inner = readChainNote(last)?.inner;
  return inner === undefined ? rest : { ...rest, [CHAIN_KEY]: inner };
}

/** True for a node that says that it is of a chain. */
export function isDeclared(node: Node): boolean {
  return parsedNote(node) !== undefined;
}
