/**
 * A store for hono-rate-limiter:
 *
 *   app.use(rateLimiter({ limit: 100, windowMs: 60_000, keyGenerator, store: new FloodgateStore({ client }) }))
 */
export { FloodgateStore, type FloodgateStoreOptions } from './store.js'
export type { Client } from './client.js'
