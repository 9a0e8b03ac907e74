/**
 * A store for express-rate-limit:
 *
 *   app.use(rateLimit({ limit: 100, windowMs: 60_000, store: new FloodgateStore({ client }) }))
 */
export { FloodgateStore, type FloodgateStoreOptions } from './store.js'
export type { Client } from './client.js'
