// Loops and numbers of tests.

/** One after the other. */
export async function times(n, f) {
  const all = []
  for (let i = 0; i < n; i++) all.push(await f(i))
  return all
}

/** Numbers that are the same in every run. */
export function dice(seed) {
  return (n) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return Math.floor((seed / 2 ** 32) * n)
  }
}
