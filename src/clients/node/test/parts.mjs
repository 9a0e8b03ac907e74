import { test } from 'node:test'

/**
 * Loads the parts of a test. None of their tests begins before all are loaded: Node runs what closes
 * servers and clients as soon as no test is left that it knows.
 */
export async function loadParts(...files) {
  let load
  const loaded = new Promise((resolve) => (load = resolve))
  test('all parts are loaded', () => loaded)
  for (const file of files) await import(file)
  load()
}
