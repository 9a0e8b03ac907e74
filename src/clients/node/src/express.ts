// express-rate-limit counts in Floodgate:
//
//   app.use(rateLimit({ windowMs: 60_000, limit: 100, store: new FloodgateStore({ client }) }))

import { HitStore, type HitStoreOptions } from './hit-store.js'

export type { HitOptions, HitStoreOptions, Hits } from './hit-store.js'

/** The `store` of express-rate-limit; each limiter needs one of its own, with a prefix of its own. */
export class FloodgateStore extends HitStore {
  /** The prefix is `express-rate-limit:` unless told. */
  constructor(options: HitStoreOptions) {
    super(options, 'express-rate-limit:')
  }
}
