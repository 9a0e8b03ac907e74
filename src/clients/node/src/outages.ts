import type { Adapter } from './client.js'
import {
  Away,
  Misconfigured,
  cannotDecide,
  inabilityOf,
  isOnItsWay,
  isReply,
  messageOf,
  wrongBy,
} from './errors.js'
import { Health, type Told } from './health.js'

/**
 * What answers and errors say of the servers behind one client. Each node of a cluster has outages of
 * its own.
 */
export class Outages {
  readonly #adapter: Adapter
  readonly #restMs: number
  readonly #logger: Told | null
  /** What shows that this process was set up right. */
  readonly #shown = new Set<'anything answered' | 'the module answered'>()
  /** The health of each server, by the address of a node, or by '' for a server without a cluster. */
  readonly #health = new Map<string, Health>()

  constructor(adapter: Adapter, restMs: number, logger: Told | null) {
    this.#adapter = adapter
    this.#restMs = restMs
    this.#logger = logger
  }

  /** The health of the server that has the key, as far as the client knows. */
  healthOf(key: string | undefined): Health {
    const owner = (key === undefined ? undefined : this.#adapter.owner?.(key)) ?? ''
    let health = this.#health.get(owner)
    if (!health) {
      health = new Health(nameOf(owner), this.#restMs, this.#logger)
      this.#health.set(owner, health)
    }
    return health
  }

  /** A server has answered this command. */
  found(command: string, key: string | undefined): void {
    // The client may have found meanwhile that another node has the key. That node has answered.
    const health = this.healthOf(key)
    this.#shown.add('anything answered')
    if (/^(RL|CB)\./.test(command)) this.#shown.add('the module answered')
    health.found(command)
    // Where a node answers, the cluster as a whole is not away.
    const whole = this.healthOf(undefined)
    if (whole === health) return
    whole.found(command)
    this.#forgetReplaced(health)
  }

  /** Tells what an error means: an outage, a mistake in the set-up, or the server's word on the command. */
  judged(command: string, told: unknown, health: Health, key: string | undefined): unknown {
    // A client that is not connected gets no reply. Its connection says why.
    const error = isReply(told) ? told : (this.#adapter.trouble?.last ?? told)
    const wrong = wrongBy(error)
    // What was right before is an outage, such as a server that came back without its module.
    const shownBy = wrong?.shownBy ?? (error === told ? undefined : 'anything answered')
    if (wrong && !(shownBy && this.#shown.has(shownBy))) {
      health.awake(command)
      return new Misconfigured(`${messageOf(error).trim()}: ${wrong.wayOut}`, { cause: error })
    }
    if (!wrong && !cannotDecide(error)) {
      this.found(command, key)
      return isOnItsWay(error) ? new Away(messageOf(error), { cause: error }) : error
    }
    health.lost(error, inabilityOf(error), key)
    // A server that has vanished leaves connections open on which nothing ever arrives.
    this.#adapter.own?.closeFree()
    return new Away(messageOf(error), { cause: error })
  }

  /** Forgets each node that is away and whose keys the node `by` has now, which has answered. */
  #forgetReplaced(by: Health): void {
    for (const [owner, health] of this.#health) {
      const key = health.outage?.key
      if (health === by || key === undefined || this.healthOf(key) !== by) continue
      health.replaced(by.name)
      this.#health.delete(owner)
    }
  }
}

const nameOf = (owner: string) => (owner ? `Redis at ${owner}` : 'Redis')
