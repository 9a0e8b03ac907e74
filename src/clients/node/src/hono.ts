// hono-rate-limiter counts in Floodgate:
//
//   app.use(rateLimiter({ windowMs: 60_000, limit: 100, keyGenerator, store: new FloodgateStore({ client }) }))

import { HitStore, type HitStoreOptions } from './hit-store.js'

export type { HitOptions, HitStoreOptions, Hits } from './hit-store.js'

/** The `store` of hono-rate-limiter. Each limiter needs a store of its own, with a prefix of its own. */
export class FloodgateStore extends HitStore {
  /** Makes a store. The default of `options.prefix` is `hono-rate-limiter:`. */
  constructor(options: HitStoreOptions) {
    super(options, 'hono-rate-limiter:')
  }
}
