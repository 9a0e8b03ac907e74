// express-rate-limit counts in Floodgate:
//
//   app.use(rateLimit({ windowMs: 60_000, limit: 100, store: new FloodgateStore({ client }) }))

import { HitStore, type HitStoreOptions } from './hit-store.js'

export type { HitOptions, HitStoreOptions, Hits } from './hit-store.js'

/** The `store` of express-rate-limit. Each limiter needs a store of its own, with a prefix of its own. */
export class FloodgateStore extends HitStore {
  /** Makes a store. The default of `options.prefix` is `express-rate-limit:`. */
  constructor(options: HitStoreOptions) {
    super(options, 'express-rate-limit:')
  }
}
