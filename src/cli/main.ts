#!/usr/bin/env node
import { callOneByOne } from '../graph/occupied.js';
import { collectGarbage } from '../runtime/garbage.js';
import { run } from './run.js';

// What cannot be written is told by the write itself; Node reports it here as well.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

collectGarbage();
callOneByOne();
// At once: left to itself, Node waits for compilations and collections of garbage that nobody needs any more.
process.exit(await run(process.argv.slice(2), process));
