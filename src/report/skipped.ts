import type { Note } from './text/document.js';
import { counted, printable } from './text/text.js';

/** A node that was left alone, and why. */
export interface Left {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/**
 * What was left alone, those of one operator and one kind of reason in one line. Reasons are of one kind when they
 * differ only in the names that they quote.
 */
export function leftNotes(
  left: readonly Left[],
  options: {
    readonly verb: string;
    readonly each: boolean /** Nodes, where some are in the list twice. */;
    readonly count?: number;
  },
): Note[] {
  if (left.length === 0) return [];
  const count = options.count ?? left.length;
  const title: Note = { text: `${capital(options.verb)}: ${counted(count, 'node')}`, tone: 'warning' };
  if (options.each) {
    return [title, ...left.map(({ node, op, reason }) => ({ text: `  ${op} ${node}: ${reason}` }))];
  }
  const groups = new Map<string, Left[]>();
  for (const item of left) {
    const kind = `${item.op}: ${brief(item.reason).replace(/'[^']*'/g, "'…'")}`;
    groups.set(kind, [...(groups.get(kind) ?? []), item]);
  }
  const lines = [...groups]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([kind, group]): Note => {
      const [first] = group;
      if (group.length > 1 || first === undefined) return { text: `  ${group.length} ${kind}` };
      return { text: `  ${first.op} ${first.node}: ${brief(first.reason)}` };
    });
  const more =
    left.length > lines.length ? [{ text: '  `verbose: true` lists each.', tone: 'aside' as const }] : [];
  return [title, ...lines, ...more];
}

/** A reason without the reasons of its reason. */
function brief(reason: string): string {
  const text = printable(reason);
  let depth = 0;
  for (const character of text) {
    depth += character === '(' ? 1 : character === ')' ? -1 : 0;
    if (depth > 1) return text.slice(0, text.indexOf(' ('));
  }
  return text;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
