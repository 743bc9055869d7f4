/**
 * The builds of the kernels, in base64. The module of this declaration is made by `npm run build` and before the tests
 * (scripts/bundle-threads.ts), beside it.
 */
export const KERNELS: string;

/** With fused multiply-add. */
export const FUSED_KERNELS: string;
