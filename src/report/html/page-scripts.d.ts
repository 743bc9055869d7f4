/**
 * The scripts of the pages: the modules of client/, each bundled to one text. The module of this declaration is made by
 * `npm run build` and before the tests (scripts/bundle-page.ts), beside it.
 */

/** The script of the page of a rank report. */
export const RANK_REPORT_SCRIPT: string;

/** The script of the page of trainings. */
export const TRAINING_SCRIPT: string;

/** The script of the page of studies. */
export const STUDY_SCRIPT_OF_PAGE: string;
