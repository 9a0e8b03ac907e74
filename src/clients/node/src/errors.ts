// What the errors of clients mean.

/** The error of a question that Redis cannot decide: it does not answer, or answers that it cannot write. */
export class Away extends Error {
  override readonly name = 'Away'
}

/**
 * The error of a question that Redis refuses, because this process is not set up right: its credentials
 * or rights are wrong, the server has no module, or it is a node of a cluster and the client none of
 * clusters.
 */
export class Misconfigured extends Error {
  override readonly name = 'Misconfigured'
}

/** The error of a request that waited when the client or its Server was closed. Nobody has decided on it. */
export class Closed extends Error {
  override readonly name = 'Closed'
}

/** The reason for which a server that was right before cannot decide. */
export type Inability = 'it gives no answer' | 'it cannot write' | 'it has no module'

/** A mistake in the set-up, which a person has to put right. */
export interface Wrong {
  wayOut: string
  /** What shows that the set-up was right before. The same error is an outage then. */
  shownBy?: 'anything answered' | 'the module answered'
}

const WRONG: [RegExp, Wrong][] = [
  [
    /NOAUTH|WRONGPASS|invalid password/i,
    { wayOut: 'check the user and the password of the client', shownBy: 'anything answered' },
  ],
  [/^NOPERM/, { wayOut: 'give the user the ACL line that README of floodgate-redis shows' }],
  [
    /^(MOVED|ASK) /,
    {
      wayOut:
        'this server is a node of a cluster: pass a client of clusters, Cluster of ioredis or createCluster of redis',
    },
  ],
  [
    /^ERR unknown command\W+(RL|CB)\./i,
    {
      wayOut: 'load the module floodgate on this server (loadmodule in redis.conf)',
      shownBy: 'the module answered',
    },
  ],
]
const CANNOT_NOW = /^(BUSY|CLUSTERDOWN|ERR max number of clients|EXECABORT|LOADING|MASTERDOWN|UNBLOCKED)/
const CANNOT_WRITE = /^(MISCONF|NOREPLICAS|OOM|READONLY)/

/** Whether the server itself sent the error. */
export function isReply(error: unknown): error is Error {
  if (!(error instanceof Error)) return false
  return error.name === 'ReplyError' || (!('code' in error) && /^[A-Z]{2,}[A-Z0-9]* /.test(error.message))
}

/** The mistake in the set-up that the error tells, if it tells one. */
export function wrongBy(error: unknown): Wrong | undefined {
  return isReply(error) ? WRONG.find(([pattern]) => pattern.test(error.message))?.[1] : undefined
}

/** The reason for which a server cannot decide, by an error that means an outage. */
export function inabilityOf(error: unknown): Inability {
  if (isReply(error) && CANNOT_WRITE.test(error.message)) return 'it cannot write'
  return wrongBy(error)?.shownBy === 'the module answered' ? 'it has no module' : 'it gives no answer'
}

/** Whether the error says that the server can decide nothing, or comes from another source. */
export const cannotDecide = (error: unknown) =>
  !isReply(error) || CANNOT_WRITE.test(error.message) || CANNOT_NOW.test(error.message)

/** Whether the keys of this request are moving to another node. Other requests are decided meanwhile. */
export const isOnItsWay = (error: unknown) => isReply(error) && error.message.startsWith('TRYAGAIN')

export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.message) return error.message
  const inner = error instanceof AggregateError ? error.errors.map(messageOf).join(', ') : ''
  return inner || ('code' in error ? String(error.code) : error.name)
}
