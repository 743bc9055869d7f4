import { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ProgressLine } from '../../src/cli/shell/progress.js';
import { widthOf } from '../../src/report/text/text.js';

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
});
afterEach(() => {
  vi.useRealTimers();
});

function terminal(isTTY: boolean, columns = 40) {
  const lines: string[] = [];
  const stderr = Object.assign(
    new Writable({
      write(chunk, _encoding, done) {
        lines.push(String(chunk));
        done();
      },
    }),
    { isTTY, columns },
  );
  const io = { stdin: Readable.from([]), stdout: stderr, stderr, env: {} };
  return { io, lines, last: () => lines.at(-1)?.replace('\r\u001b[K', '') };
}

test('after a second: how far, at what, and the time left by the share of the work', () => {
  const { io, lines, last } = terminal(true);
  const line = new ProgressLine(io, { quiet: false });
  line.update({ done: 0, total: 8, what: 'fc1', share: 0 });
  vi.advanceTimersByTime(900);
  expect(lines).toEqual([]);
  vi.advanceTimersByTime(300);
  expect(last()).toBe('0/8  fc1');
  vi.setSystemTime(10_000);
  line.update({ done: 1, total: 8, what: 'fc2', share: 0.5 });
  expect(last()).toBe('1/8  fc2  10 s left');
  vi.advanceTimersByTime(3000);
  expect(last()).toBe('1/8  fc2  7 s left');
  line.clear();
  expect(last()).toBe('');
  vi.advanceTimersByTime(3000);
  expect(last()).toBe('');
});

test('without a share, by counting; never wider than the terminal', () => {
  const { io, last } = terminal(true);
  const line = new ProgressLine(io, { quiet: false });
  vi.setSystemTime(60_000);
  line.update({ done: 10, total: 1000, what: 'x' });
  expect(last()).toBe('   10/1,000  x');
  line.update({ done: 100, total: 1000, what: `layer\n${'very.long.name'.repeat(9)}` });
  vi.advanceTimersByTime(200);
  expect(last()).toMatch(/9 min left$/);
  expect(widthOf(last() ?? '')).toBeLessThan(40);
  line.clear();
});

test('nothing where stderr is no terminal, or with --quiet', () => {
  for (const [isTTY, quiet] of [
    [false, false],
    [true, true],
  ] as const) {
    const { io, lines } = terminal(isTTY);
    const line = new ProgressLine(io, { quiet });
    line.update({ done: 0, total: 2, what: 'x' });
    vi.advanceTimersByTime(5000);
    line.clear();
    expect(lines).toEqual([]);
  }
});
