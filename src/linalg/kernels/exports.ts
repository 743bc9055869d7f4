type Address = number;

/** Of a kernel that several threads run together: see assembly/team.ts. */
type TeamArguments = readonly [sync: Address, threads: number, thread: number];

/** The kernels that several threads can run together. */
export type SharedKernel = 'gramAdd' | 'symmetricTimesPanel' | 'tridiagonalPanel' | 'tridiagonalUpdate';

export type OwnArguments<T> = T extends [...infer Own, number, number, number] ? Own : never;

/**
 * What src/linalg/kernels/assembly/index.ts exports. Addresses and leading dimensions are in bytes, counts in elements; a
 * matrix is row-major and its rows and columns are padded to a multiple of four.
 */
export interface KernelExports {
  heapBase(): Address;
  gemm(
    transposed: 0 | 1,
    m: number,
    n: number,
    k: number,
    alpha: number,
    a: Address,
    lda: number,
    b: Address,
    ldb: number,
    c: Address,
    ldc: number,
    wa: Address,
    wb: Address,
  ): void;
  gramAdd(
    chunk: Address,
    ld: number,
    element: 4 | 8,
    across: 0 | 1,
    n: number,
    kc: number,
    packed: Address,
    scale: number,
    g: Address,
    ldg: number,
    ...team: TeamArguments
  ): void;
  maxAbsLower(g: Address, ldg: number, n: number): number;
  scaleLower(g: Address, ldg: number, n: number, factor: number): void;
  tridiagonalPanel(
    a: Address,
    ld: number,
    k0: number,
    k1: number,
    w: Address,
    d: Address,
    e: Address,
    tau: Address,
    pair: Address,
    parts: Address,
    shares: number,
    ...team: TeamArguments
  ): void;
  tridiagonalUpdate(
    a: Address,
    ld: number,
    k0: number,
    k1: number,
    w: Address,
    px: Address,
    py: Address,
    ...team: TeamArguments
  ): void;
  tridiagonalValues(d: Address, e: Address, n: number): number;
  tridiagonalVectors(d: Address, e: Address, n: number, q: Address, ld: number): number;
  secularRoots(
    k: number,
    d: Address,
    z: Address,
    rho: number,
    norm2: number,
    from: number,
    to: number,
    tau: Address,
    origins: Address,
    out: Address,
  ): number;
  secularWeights(k: number, d: Address, z: Address, tau: Address, origins: Address, zhat: Address): void;
  secularVectors(
    k: number,
    d: Address,
    zhat: Address,
    tau: Address,
    origins: Address,
    place: Address,
    from: number,
    to: number,
    u: Address,
    ldu: number,
    scratch: Address,
  ): void;
  reflectorFactor(
    a: Address,
    ld: number,
    k0: number,
    k1: number,
    tau: Address,
    t: Address,
    s: Address,
    wa: Address,
    wb: Address,
  ): void;
  reflectorApply(
    a: Address,
    ld: number,
    k0: number,
    k1: number,
    t: Address,
    r: Address,
    ldr: number,
    rows: number,
    w: Address,
    x: Address,
    wa: Address,
    wb: Address,
  ): void;
  bandPanel(a: Address, ld: number, k0: number, k1: number, tau: Address, band: Address, ldb: number): void;
  bandRest(a: Address, ld: number, k: number, band: Address, ldb: number): void;
  symmetricTimesPanel(
    a: Address,
    ld: number,
    n: number,
    v: Address,
    b: number,
    y: Address,
    pv: Address,
    blocks: Address,
    parts: Address,
    ...team: TeamArguments
  ): void;
  probeRows(
    a: Address,
    element: 4 | 8,
    from: number,
    count: number,
    rows: number,
    columns: number,
    x: Address,
    strideX: number,
    y: Address,
    strideY: number,
  ): void;
  probeColumns(
    a: Address,
    element: 4 | 8,
    from: number,
    count: number,
    rows: number,
    columns: number,
    y: Address,
    strideY: number,
    x: Address,
    strideX: number,
  ): void;
  squareSums(
    a: Address,
    element: 4 | 8,
    from: number,
    count: number,
    rows: number,
    columns: number,
    ofRows: Address,
    ofColumns: Address,
  ): number;
  chaseBand(
    band: Address,
    ldb: number,
    n: number,
    b: number,
    from: number,
    to: number,
    v: Address,
    w: Address,
  ): void;
}

/** A memory that several instances share. */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
  grow(pages: number): number;
}
