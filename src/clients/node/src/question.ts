import type { Command } from './client.js'

/** How a command is asked. */
export interface Question {
  /** The first key of the command. A cluster is asked by it. */
  key?: string | undefined
  /** Takes an answer that came when nobody waited for it any more. */
  late?: ((answer: unknown) => void) | undefined
  /** How to give back what a command took that waited in a queue, if its answer is lost. */
  undo?: Undo | undefined
  /** A signal that ends the question when it is aborted. */
  signal?: AbortSignal | undefined
}

/** How to give back what a command took. */
export interface Undo {
  /** The command that gives it back. Its reply is 0 where nothing was taken. */
  command: Command
  /** Whether this answer says that something was taken. The asker keeps that. */
  took(answer: unknown): boolean
}
