import { DETAIL } from './detail.js';
import { DOM } from './dom.js';
import { EMBEDDINGS } from './embeddings.js';
import { MAIN } from './main.js';
import { OVERVIEW } from './overview.js';
import { PLOT } from './plot.js';
import { STATE } from './state.js';
import { TABLE } from './table.js';
import { TRAINING } from './training.js';

const script = (...parts: readonly string[]): string => `'use strict';\n(() => {\n${parts.join('')}})();\n`;

/**
 * The script of the page: plain JavaScript for any browser since 2022. It is text here, and not functions printed by
 * their toString, because compilers and bundlers change what functions print. JSDoc gives the types; a test checks them.
 */
export const CLIENT_SCRIPT = script(DOM, STATE, PLOT, OVERVIEW, TABLE, DETAIL, EMBEDDINGS, MAIN);

/** The script of the page of a training. */
export const TRAINING_SCRIPT = script(DOM, PLOT, TRAINING);
