import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constantTensor, type Graph, type Model, messageOf, type Node } from '../../graph/index.js';
import { clearTemporaries, temporaryName } from '../../graph/io/temporary.js';
import { type Placement, type ProfileEvent, placementOf, unknownPlacement } from './placement.js';

/** Where the profile of a session goes, or why there is none. */
export type ProfilePlace =
  | { readonly directory: string; readonly problem?: undefined }
  | { readonly directory?: undefined; readonly problem: string };

/** A temporary directory for the profile of a model's runs. Those that killed processes left are removed. */
export async function placeProfile(model: Model | undefined): Promise<ProfilePlace> {
  const problem = model === undefined ? undefined : unboundedEvents(model);
  if (problem !== undefined) return { problem };
  try {
    return { directory: await temporaryDirectory('profile') };
  } catch (error) {
    return { problem: `there is no room for onnxruntime's profile: ${messageOf(error)}` };
  }
}

/** A directory that the next process removes where this one is killed. */
export async function temporaryDirectory(purpose: string): Promise<string> {
  await clearTemporaries(tmpdir());
  const directory = temporaryName(join(tmpdir(), `onnx-overparam-${purpose}`));
  await mkdir(directory, { mode: 0o700 });
  return directory;
}

/** A larger profile is not read. */
const MOST_BYTES = 256 * 2 ** 20;

/** Reads the profile that onnxruntime left in a directory. It is an aside to a run, so what is wrong with it is told, not thrown. */
export async function readProfile(directory: string): Promise<Placement> {
  try {
    const [name] = (await readdir(directory)).filter((entry) => entry.endsWith('.json'));
    if (name === undefined) return unknownPlacement('onnxruntime wrote no profile');
    const path = join(directory, name);
    const { size } = await stat(path);
    if (size > MOST_BYTES) return unknownPlacement(`onnxruntime's profile is too large, ${size} bytes`);
    const events = parseProfile(await readFile(path, 'utf8'));
    return events.length > 0 ? placementOf(events) : unknownPlacement("onnxruntime's profile is empty");
  } catch (error) {
    return unknownPlacement(`onnxruntime's profile cannot be read: ${messageOf(error)}`);
  }
}

const EVENT = /"cat" : "Node",.*?"dur" :(\d+),.*?"name" :"(.*)","args" : \{(.*)/s;

/**
 * The events of nodes in a profile. It is JSON, but for the names, which onnxruntime writes as they are: with quotes, backslashes and
 * line breaks. So it is taken apart by what stands around them. The last event may be cut off where the disk was full.
 */
export function parseProfile(text: string): ProfileEvent[] {
  return text.split(/^\{(?="cat" : ")/m).flatMap((event) => {
    const [, duration, name, args = ''] = EVENT.exec(event) ?? [];
    const argument = (key: string): string | undefined => new RegExp(`"${key}" : "([^"]*)"`).exec(args)?.[1];
    if (name === undefined) return [];
    return [
      {
        cat: 'Node',
        name,
        dur: Number(duration),
        args: {
          provider: argument('provider'),
          op_name: argument('op_name'),
          node_index: argument('node_index'),
        },
      },
    ];
  });
}

/** Events that a run may note: each takes some 3 KB of memory until the profile is written. */
const MOST_EVENTS = 100_000;

/** Why a run of a model should not be noted, node by node: its loops may take too many steps. */
function unboundedEvents(model: Model): string | undefined {
  const loops = (graph: Graph): boolean =>
    graph.nodes.some((node) => node.subgraphs.length > 0 && !node.is('If'));
  const count = model.functions.some(loops) ? Number.POSITIVE_INFINITY : eventsOf(model.graph);
  if (count <= MOST_EVENTS) return undefined;
  return Number.isFinite(count)
    ? `its loops take ${count} steps of nodes`
    : 'how many steps its loops take is not known beforehand';
}

function eventsOf(graph: Graph): number {
  return graph.nodes.reduce((sum, node) => {
    const inside = node.subgraphs.reduce((total, body) => total + eventsOf(body), 0);
    return sum + 1 + (inside === 0 ? 0 : inside * stepsOf(node));
  }, 0);
}

/** How often a node runs its bodies. */
function stepsOf(node: Node): number {
  if (node.is('If')) return 1;
  const steps = node.is('Loop') ? constantTensor(node.graph, node.inputs[0] ?? '') : undefined;
  return steps === undefined ? Number.POSITIVE_INFINITY : Math.max(0, Number(steps.array()[0]));
}
