export { type HtmlReportOptions, renderHtmlReport } from './render-html.js';
export type { HtmlReportModel } from './report-model.js';
