export type { HtmlReportModel } from './page-data.js';
export { type HtmlReportOptions, renderHtmlReport } from './render-html.js';
