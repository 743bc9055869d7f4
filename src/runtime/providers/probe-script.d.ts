/**
 * What a process that tries an execution provider runs: load-probe.ts, bundled to one script of CommonJS. The module of
 * this declaration is made by `npm run build` and before the tests (scripts/bundle-threads.ts), beside it.
 */
export const PROBE_SCRIPT: string;
