export type { Cell, CellValue, Column, Document, Grid, Note } from './document.js';
export { grid } from './document.js';
export { collapseDocument, expandDocument } from './passes.js';
export { comparisonDocument, rankDocument } from './rank.js';
export { FORMATS, type Format, type RenderOptions, render } from './render.js';
export { verifyDocument } from './verify.js';
