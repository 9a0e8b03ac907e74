// Limits for every request of an Express application: each response says in its
// headers how the caller stands, too many get 429 with Retry-After. Copy it with
// floodgate.mjs.
//
//   app.use(rateLimit(limiter, '10/s,1000/h'))

import { Limiter } from './floodgate.mjs'

/** @typedef {import('express').Request} Request */

/**
 * The caller's address. Behind a proxy set Express' `trust proxy`, or all
 * callers are one. Where callers sign in, take who they are: a header that
 * anybody can invent is no identity.
 * @param {Request} request
 */
export const byAddress = (request) => request.ip ?? 'unknown'

/**
 * @param {Limiter} limiter
 * @param {string} limits
 * @param {(request: Request) => string} caller
 * @returns {import('express').RequestHandler}
 */
export function rateLimit(limiter, limits, caller = byAddress) {
  return async (request, response, next) => {
    const [decision, headers] = await limiter.acquireWithHeaders(`api:${caller(request)}`, limits)
    response.set(headers)
    if (decision.granted) next()
    else response.status(429).json({ error: 'too many requests' })
  }
}
