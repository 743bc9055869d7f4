import { ModelError, type Node, valuesRead } from '../../graph/index.js';
import { ruleOf, throughInputs } from './rules/index.js';
import type { Rule } from './types.js';

/** A node that the gradient passes through. */
export interface ActiveNode {
  readonly node: Node;
  readonly rule: Rule;
}

export interface Activity {
  /** In topological order. */
  readonly nodes: readonly ActiveNode[];
  /** Values that depend on what is differentiated by. */
  readonly dependent: ReadonlySet<string>;
  /** Values that depend on it and that the loss depends on. */
  readonly active: ReadonlySet<string>;
}

/** A node that stands between the loss and a weight, and whose gradient is not built. */
export interface Unsupported {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/** All that a model has in the gradient's way, found before any work is done. */
export class GradientError extends ModelError {
  override readonly code: string = 'ERR_GRADIENT';
  readonly unsupported: readonly Unsupported[];

  /** @param what is said; default the nodes and the reasons */
  constructor(unsupported: readonly Unsupported[], file: string | undefined, what?: string) {
    const list = unsupported.map(({ node, reason }) => `'${node}': ${reason}`);
    const shown = list.slice(0, 8).join('; ');
    const more = list.length > 8 ? `; and ${list.length - 8} more` : '';
    super(
      what ?? `the gradient cannot pass through ${list.length === 1 ? 'node' : 'nodes'} ${shown}${more}`,
      { file },
    );
    this.unsupported = unsupported;
  }
}

/** All that is differentiated by lies before nodes whose output does not change with small changes of it. */
export class ZeroGradientError extends GradientError {
  override readonly code = 'ERR_ZERO_GRADIENT';
  constructor(nodes: readonly Node[], file: string | undefined) {
    const [first] = nodes;
    const unsupported = nodes.map((node) => ({
      node: node.label,
      op: node.opType,
      reason: 'its derivative is zero',
    }));
    super(
      unsupported,
      file,
      first === undefined
        ? 'the loss depends on none of the weights that are to be trained'
        : `no gradient flows through ${first.opType} '${first.label}': its derivative is zero${nodes.length > 1 ? `; nor through ${nodes.length - 1} more` : ''}; remove it for the training, or train without gradients (cma-es)`,
    );
  }
}

/**
 * The values of `wrt` that the gradient does not reach though `target` depends on them, and of each the node that stops it.
 *
 * @param nodes in topological order, those that `target` depends on
 */
export function stoppingNodes(
  nodes: readonly Node[],
  wrt: readonly string[],
  target: string,
): ReadonlyMap<string, Node> {
  const stops = new Set(nodes.filter((node) => ruleOf(node) === 'stops'));
  if (stops.size === 0) return new Map();
  const reached = new Set([target]);
  for (const node of nodes.toReversed()) {
    if (stops.has(node) || !node.outputs.some((output) => reached.has(output))) continue;
    for (const value of valuesRead(node.proto)) reached.add(value);
  }
  const found = new Map<string, Node>();
  for (const name of wrt) {
    if (reached.has(name)) continue;
    const dependent = new Set([name]);
    const stop = nodes.find((node) => {
      if (![...valuesRead(node.proto)].some((value) => dependent.has(value))) return false;
      for (const output of node.outputs) dependent.add(output);
      return stops.has(node);
    });
    if (stop !== undefined) found.set(name, stop);
  }
  return found;
}

/**
 * What the gradient has to pass through: forward, what depends on `wrt`; backward, what `target` depends on.
 *
 * @param nodes in topological order
 * @throws GradientError naming every node in between that has no gradient
 */
export function findActivity(
  nodes: readonly Node[],
  wrt: Iterable<string>,
  target: string,
  file?: string,
): Activity {
  const dependent = new Set(wrt);
  const rules = new Map<Node, Rule | { readonly reason: string }>();
  for (const node of nodes) {
    const hits = [...valuesRead(node.proto)].filter((value) => dependent.has(value));
    if (hits.length === 0) continue;
    const rule = ruleOf(node);
    if (rule === 'stops') continue;
    if (!('reason' in rule) && isIgnored(node, rule, dependent)) continue;
    rules.set(node, 'reason' in rule ? rule : (astray(node, rule, dependent) ?? rule));
    const inert = 'reason' in rule ? [] : (rule.inert ?? []);
    for (const [index, output] of node.outputs.entries()) {
      if (output !== '' && !inert.includes(index)) dependent.add(output);
    }
  }
  const reached = new Set([target]);
  const active: ActiveNode[] = [];
  const unsupported: Unsupported[] = [];
  for (const node of nodes.toReversed()) {
    const rule = rules.get(node);
    if (rule === undefined || !node.outputs.some((output) => reached.has(output))) continue;
    if ('reason' in rule) unsupported.push({ node: node.label, op: node.opType, reason: rule.reason });
    else active.push({ node, rule });
    for (const value of valuesRead(node.proto)) if (dependent.has(value)) reached.add(value);
  }
  if (unsupported.length > 0) throw new GradientError(unsupported.reverse(), file);
  return {
    nodes: active.reverse(),
    dependent,
    active: new Set([...reached].filter((value) => dependent.has(value))),
  };
}

/** True where all that depends on a weight goes into inputs that do not matter. */
function isIgnored(node: Node, rule: Rule, dependent: ReadonlySet<string>): boolean {
  const ignored = rule.ignores?.(node) ?? [];
  if (ignored.length === 0) return false;
  return node.inputs.every((input, index) => ignored.includes(index) || !dependent.has(input));
}

/** The reason where a weight reaches an input whose gradient the rule does not give. */
function astray(
  node: Node,
  rule: Rule,
  dependent: ReadonlySet<string>,
): { readonly reason: string } | undefined {
  const through = [...throughInputs(rule, node), ...(rule.ignores?.(node) ?? [])];
  const index = node.inputs.findIndex((input, place) => dependent.has(input) && !through.includes(place));
  return index < 0
    ? undefined
    : { reason: `${node.opType} has no gradient in its input ${index} ('${node.inputs[index]}')` };
}
