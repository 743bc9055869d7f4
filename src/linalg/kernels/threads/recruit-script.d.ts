/**
 * What a thread of a team runs: recruit.ts, bundled to one script of CommonJS. The module of this declaration is made by `npm run build` and
 * before the tests (scripts/bundle-threads.ts), beside it.
 */
export const RECRUIT_SCRIPT: string;
