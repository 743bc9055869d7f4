import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeFolder } from '../../../src/graph/io/folder.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('folder');

test('a folder and those above it are made once; a file in the way is named', () => {
  const inner = join(directory, 'a', 'b', 'c');
  makeFolder(inner, 'a checkpoint');
  makeFolder(inner, 'a checkpoint');
  expect(existsSync(inner)).toBe(true);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  expect(() => makeFolder(file, 'a checkpoint')).toThrow(/is a file, and a checkpoint is a folder/);
  expect(() => makeFolder(join(file, 'in', 'it'), 'a checkpoint')).toThrow(
    /cannot be made: '.*file' is a file/,
  );
});

test.runIf(existsSync('/proc/self'))('under /proc, where nothing can be made, it ends', () => {
  expect(() => makeFolder('/proc/nothing/there', 'a checkpoint')).toThrow(/cannot be made/);
});
