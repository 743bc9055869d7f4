/**
 * What the threads of a sweep run: worker.ts, bundled to one script of CommonJS. The module of this declaration is made by
 * `npm run build` and before the tests (scripts/bundle-threads.ts), beside it.
 */
export const STUDY_SCRIPT: string;
