/** Warnings of Node that come during `f`, such as that of a leak of listeners. */
export async function warningsDuring(f) {
  const warnings = []
  const warned = (warning) => warnings.push(String(warning))
  process.on('warning', warned)
  try {
    await f()
    // Node tells a warning in a later turn.
    await new Promise(setImmediate)
  } finally {
    process.off('warning', warned)
  }
  return warnings
}
