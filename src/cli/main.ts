#!/usr/bin/env node
import { run } from './run.js';

// The reader of a pipe may go away (`| head`) between two writes; Node reports that here as well.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

// At once: left to itself, Node waits for compilations and collections of garbage that nobody needs any more.
process.exit(await run(process.argv.slice(2), process));
