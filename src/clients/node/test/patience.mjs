// How long the Servers of tests wait for an answer.

/** Options for a busy machine, where a server that is well may take seconds to answer. */
export const PATIENT = { timeoutMs: 20_000, restMs: 200, logger: null }

/**
 * Options for tests of an outage, which would wait 20 s for a server that hangs. A busy server may take
 * longer than this: a test that needs its answer asks again (`eventually`).
 */
export const IMPATIENT = { timeoutMs: 1000, restMs: 200, logger: null }
