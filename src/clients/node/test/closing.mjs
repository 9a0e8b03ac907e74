// What a test opens is closed when the tests of its file are over.

import { after } from 'node:test'

const open = []
after(() => open.forEach((close) => close()))

/** Calls `close` when the tests of the file are over. */
export function closeLater(close) {
  open.push(close)
}
