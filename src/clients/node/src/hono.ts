// hono-rate-limiter counts in Floodgate:
//
//   app.use(rateLimiter({ windowMs: 60_000, limit: 100, keyGenerator, store: new FloodgateStore({ client }) }))

import { HitStore, type HitStoreOptions } from './hit-store.js'

export type { HitOptions, HitStoreOptions, Hits } from './hit-store.js'

/** The `store` of hono-rate-limiter; each limiter needs one of its own, with a prefix of its own. */
export class FloodgateStore extends HitStore {
  /** The prefix is `hono-rate-limiter:` unless told. */
  constructor(options: HitStoreOptions) {
    super(options, 'hono-rate-limiter:')
  }
}
