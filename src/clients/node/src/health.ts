import { Away, messageOf, type Inability } from './errors.js'

/** The commands that every server refuses that cannot write. Other commands look, or give back. */
const TAKES = new Set(['RL.ACQUIRE', 'RL.BATCH', 'RL.CHARGE', 'RL.RESERVE', 'CB.ACQUIRE', 'SET'])

/** The commands of the module. */
const OF_THE_MODULE = /^(RL|CB)\./

/** The time from which a server was found away until it is back. */
export interface Outage {
  /** The reason of the outage. It says which answers show that the server is back. */
  inability: Inability
  /** One of the keys that the server could not decide on. */
  readonly key: string | undefined
}

/** A logger of outages. */
export interface Told {
  info(message: string): void
  error(message: string): void
}

/**
 * Whether one server can decide, and when it is asked again. After a failure it is not asked for
 * `restMs`, and then by one request for all.
 */
export class Health {
  /** The number of answers of the server. */
  answers = 0
  #asleepUntil: number | undefined
  #outage: Outage | undefined

  /** @param name of the server */
  constructor(
    readonly name: string,
    readonly restMs: number,
    readonly logger: Told | null,
  ) {}

  /** The outage that lasts; none while the server decides. */
  get outage(): Outage | undefined {
    return this.#outage
  }

  /** Called before the server is asked this command. It throws Away while the server rests. */
  turn(command: string): void {
    if (this.#asleepUntil === undefined) return
    const left = this.#asleepUntil - performance.now()
    if (left > 0) {
      throw new Away(`${this.name} was away a moment ago; it is asked again in ${Math.ceil(left)} ms`)
    }
    // Other requests go on resting: this one asks for them, if its answer can end the outage.
    if (this.#saysItIsBack(command)) this.#sleep()
  }

  /** The server has answered this command. */
  found(command: string): void {
    if (!this.#saysItIsBack(command)) return
    this.#asleepUntil = undefined
    if (!this.#outage) return
    this.#outage = undefined
    this.logger?.info(`floodgate: ${this.name} is back`)
  }

  /** The server has refused this process: it can be asked, though the outage may last. */
  awake(command: string): void {
    if (this.#saysItIsBack(command)) this.#asleepUntil = undefined
  }

  /** The server cannot decide. */
  lost(error: unknown, inability: Inability, key: string | undefined): void {
    this.#sleep()
    if (!this.#outage) {
      this.logger?.error(`floodgate: ${this.name} is away, the fallback decides: ${messageOf(error)}`)
    }
    this.#outage ??= { inability, key }
    this.#outage.inability = inability
  }

  /** Another server has the keys of this one, and decides. */
  replaced(by: string): void {
    this.logger?.info(`floodgate: ${this.name} is not asked any more: ${by} has its keys, and decides`)
  }

  /** Whether the answer to this command would say that the server is back. */
  #saysItIsBack(command: string): boolean {
    switch (this.#outage?.inability) {
      case 'it cannot write':
        return TAKES.has(command)
      case 'it has no module':
        return OF_THE_MODULE.test(command)
      default:
        return true
    }
  }

  #sleep(): void {
    // The random part keeps processes from asking at the same moment.
    this.#asleepUntil = performance.now() + this.restMs * (0.5 + Math.random())
  }
}
