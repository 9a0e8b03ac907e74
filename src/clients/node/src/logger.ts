import { messageOf } from './errors.js'

/** A logger: it is told that Redis is away, and that Redis is back. */
export interface Logger {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/**
 * Gives a logger that never throws: what was asked counts more. Node warns of what the logger of the user
 * throws.
 */
export function unfailing(logger: Logger): Logger {
  const tell = (level: keyof Logger) => (message: string) => {
    try {
      logger[level](message)
    } catch (error) {
      process.emitWarning(`floodgate: the logger failed: ${messageOf(error)}. It was told: ${message}`)
    }
  }
  return { info: tell('info'), warn: tell('warn'), error: tell('error') }
}
