import { chain, type Expressed, expressSegment, type Measure, type Segment } from '../map/expression.js';
import type { AxisLayout } from '../map/layout.js';
import type { Frame } from '../map/place.js';
import { isSame, type Size } from '../map/size.js';
import { isRefusal, type Refusal } from '../refusal.js';
import { Frames, type SourceFrame } from './frames.js';
import { type Candidate, Group, type Judgement } from './group.js';

/** The longest group that is tried in a run of so many segments at most, and in a longer one: all groups of n would be n². */
export const GROUP_LIMIT = 64;
const GROUP_LIMIT_OF_LONG = 16;

/** Windows that a group reaches beyond what cannot be composed from the front, in case it can from behind. */
const LOOKAHEAD = 3;

/** Groups that begin with a segment, by how many they take in: as candidates, or why they are none. */
export type Groups = readonly (readonly [count: number, Candidate | Refusal])[];

/** A segment as it was expressed, of a source that lies so. */
interface Known {
  readonly frame: Frame;
  readonly layout: AxisLayout | undefined;
  readonly channels: number | undefined;
  readonly made: Expressed | Refusal;
}

/** Looks for groups of consecutive segments that one node can stand in for. */
export class Candidates {
  readonly #judgement: Judgement;
  readonly #frames: Frames;
  /** Groups overlap: each segment is expressed once for each way in which it is looked at. */
  readonly #known = new WeakMap<Segment, Known[]>();
  /** What segments were joined of. */
  readonly #joined = new WeakMap<Segment, readonly Segment[]>();
  /** Segments with which no group begins, with those behind them: in a long run they are asked about in each round. */
  readonly #barren = new WeakMap<Segment, readonly Segment[]>();

  constructor(judgement: Omit<Judgement, 'sources'>) {
    this.#frames = new Frames(judgement.affine);
    this.#judgement = { ...judgement, sources: this.#frames.sources };
  }

  /** The groups that begin with a segment. */
  groups(segments: readonly Segment[], start: number): Groups {
    const limit = segments.length > GROUP_LIMIT ? GROUP_LIMIT_OF_LONG : GROUP_LIMIT;
    const ahead = segments.slice(start, start + limit);
    const [first] = ahead;
    if (first === undefined) return [];
    const before = this.#barren.get(first);
    if (before?.length === ahead.length && before.every((segment, i) => segment === ahead[i])) return [];
    const groups = this.#search(first, ahead);
    if (groups.length === 0) this.#barren.set(first, ahead);
    return groups;
  }

  /** Consecutive segments as one, which is expressed by what they are. */
  join(group: readonly Segment[]): Segment {
    const [first] = group;
    if (first !== undefined && group.length === 1) return first;
    const joined = {
      source: first?.source ?? '',
      output: group.at(-1)?.output ?? '',
      nodes: group.flatMap(({ nodes }) => nodes),
    };
    this.#joined.set(joined, group);
    return joined;
  }

  #search(first: Segment, ahead: readonly Segment[]): Groups {
    const ways = this.#frames.of(
      first.source,
      ahead.flatMap((segment) => segment.nodes),
    );
    if (isRefusal(ways)) return ahead.slice(0, 2).map((_, i) => [i + 1, ways]);
    let failed: Groups = [];
    let plain: Groups | undefined;
    // The first way to look at the source that leads to a region, better to one with a weight.
    for (const way of ways) {
      const groups = [...this.#groupsIn(way, ahead)];
      const found = groups.flatMap(([, group]) => (isRefusal(group) ? [] : [group]));
      if (found.some(({ isPointwise }) => !isPointwise)) return groups;
      if (found.length > 0) plain ??= groups;
      if (failed.length === 0) failed = groups;
    }
    return plain ?? failed;
  }

  *#groupsIn(
    way: SourceFrame,
    ahead: readonly Segment[],
  ): Generator<readonly [count: number, Candidate | Refusal]> {
    const parts: Expressed[] = [];
    const group = new Group(this.#judgement, way, ahead[0]?.source ?? '');
    let whole: Whole | Refusal | undefined;
    let failures = 0;
    for (const [i, segment] of ahead.entries()) {
      const before = parts.at(-1);
      const part = this.#express(
        segment,
        way.frame,
        before ? before.layout : way.layout,
        before?.expression.geometry.outputs ?? way.channels,
      );
      if (isRefusal(part)) {
        yield [i + 1, part];
        return;
      }
      parts.push(part);
      group.add(segment, part);
      if (whole === undefined) whole = part;
      else if (!isRefusal(whole)) whole = follow(whole, part);
      // What is padded and cropped again is exact as a whole, though its beginning is not.
      if (isRefusal(whole)) {
        const backwards = followBackwards(parts);
        if (isRefusal(backwards)) {
          yield [i + 1, whole];
          failures += 1;
          if (failures > LOOKAHEAD) return;
          continue;
        }
        whole = backwards;
      }
      if (group.size < 2) continue;
      const candidate = group.candidate(segment.output, whole);
      if (candidate !== undefined) yield [i + 1, candidate];
    }
  }

  #express(
    segment: Segment,
    frame: Frame,
    layout: AxisLayout | undefined,
    channels: number | undefined,
  ): Expressed | Refusal {
    const list = this.#known.get(segment) ?? [];
    const known = list.find(
      (one) =>
        one.channels === channels &&
        one.frame.axis === frame.axis &&
        one.frame.rank === frame.rank &&
        one.frame.type === frame.type &&
        isSameAxes(one.layout, layout),
    );
    if (known !== undefined) return known.made;
    const made =
      this.#expressJoined(segment, frame, layout, channels) ??
      expressSegment(segment, this.#judgement.affine.operators, frame, layout, channels);
    if (list.length === 0) this.#known.set(segment, list);
    list.push({ frame, layout, channels, made });
    return made;
  }

  /** Undefined for what was not joined, and what is no chain from the first to the last. */
  #expressJoined(
    segment: Segment,
    frame: Frame,
    layout: AxisLayout | undefined,
    channels: number | undefined,
  ): Expressed | undefined {
    const measures: Measure[] = [];
    let whole: Whole | undefined;
    for (const one of this.#joined.get(segment) ?? []) {
      const { outputs, stride } = whole?.expression.geometry ?? { outputs: channels, stride: [] };
      const volume = stride.reduce((product, step) => product * step, 1);
      const part = this.#express(one, frame, whole === undefined ? layout : whole.layout, outputs);
      if (isRefusal(part)) return undefined;
      const next = whole === undefined ? part : follow(whole, part);
      if (isRefusal(next)) return undefined;
      for (const own of part.measures) measures.push({ ...own, volume: own.volume * volume });
      whole = next;
    }
    return whole && { expression: whole.expression, layout: whole.layout, measures };
  }
}

/** True for layouts that nothing tells apart. */
function isSameAxes(a: AxisLayout | undefined, b: AxisLayout | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  const isSameSize = (size: Size, other: Size | undefined): boolean =>
    size === other || (other !== undefined && isSame(size, other));
  return (
    a.channel === b.channel &&
    a.sizes.length === b.sizes.length &&
    a.axes.length === b.axes.length &&
    a.sizes.every((size, axis) => isSameSize(size, b.sizes[axis])) &&
    a.axes.every((digits, at) => {
      const others = b.axes[at] ?? [];
      return (
        digits.length === others.length &&
        digits.every(
          ({ axis, weight, size }, i) =>
            axis === others[i]?.axis &&
            isSameSize(weight, others[i]?.weight) &&
            isSameSize(size, others[i]?.size),
        )
      );
    })
  );
}

/** What consecutive segments are together. */
type Whole = Pick<Expressed, 'expression' | 'layout'>;

function follow(first: Whole, second: Whole): Whole | Refusal {
  const expression = chain(first.expression, second.expression);
  return isRefusal(expression) ? expression : { expression, layout: second.layout };
}

/** The same from the last part to the first. */
function followBackwards(parts: readonly Whole[]): Whole | Refusal {
  return parts
    .slice(0, -1)
    .reduceRight<Whole | Refusal>(
      (behind, part) => (isRefusal(behind) ? behind : follow(part, behind)),
      parts.at(-1) as Whole,
    );
}
