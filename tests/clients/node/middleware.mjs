// Limits for every request of an Express application: each response says in its
// headers how the caller stands, too many get 429 with Retry-After. Copy it with
// floodgate.mjs.
//
//   app.use(rateLimit(limiter, '10/s,1000/h'))

import { isIPv6 } from 'node:net'
import { Limiter } from './floodgate.mjs'

/** @typedef {import('express').Request} Request */

/**
 * The caller's address: of IPv6 the network of so many bits, for whoever has one
 * address there has all of them.
 * @param {number} bits
 * @returns {(request: Request) => string}
 */
export const byNetwork = (bits) => (request) => network(request.ip ?? 'unknown', bits)

/**
 * The caller's address, of IPv6 its /64. Behind a proxy set Express' `trust proxy`
 * to the proxy's addresses, or all callers are one; never to `true`, which believes
 * what callers say of themselves. Where callers sign in, take who they are: a header
 * that anybody can invent is no identity.
 */
export const byAddress = byNetwork(64)

/** @param {string} address @param {number} bits */
function network(address, bits) {
  const [plain] = address.split('%') // the interface
  if (!isIPv6(plain)) return address
  const groups = eight(plain)
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return groups.slice(6).flatMap((group) => [group >> 8, group & 255]).join('.')
  }
  const masked = groups.map((group, i) => {
    const kept = Math.min(16, Math.max(0, bits - 16 * i))
    return (group & (0xffff << (16 - kept)) & 0xffff).toString(16)
  })
  return `${shortened(masked.join(':'))}/${bits}`
}

/** @param {string} address */
const shortened = (address) => new URL(`http://[${address}]`).hostname.slice(1, -1)

/** @param {string} address */
function eight(address) {
  const [head, tail] = shortened(address).split('::').map((part) => part.split(':').filter(Boolean))
  const zeros = Array(8 - head.length - (tail?.length ?? 0)).fill('0')
  return [...head, ...zeros, ...(tail ?? [])].map((group) => parseInt(group, 16))
}

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
