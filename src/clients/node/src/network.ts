import { isIPv6 } from 'node:net'
import { checkWhole } from './checks.js'

/**
 * Gives the network of an address, as a key of limits. A caller that has one IPv6 address has 2^64 of
 * them, so limits by address do not hold it.
 */
export function networkOf(address: string | undefined, ipv6Prefix = 64): string {
  checkWhole('ipv6Prefix', ipv6Prefix, 0, 128)
  if (address === undefined) return 'unknown'
  const [plain = ''] = address.split('%')
  if (!isIPv6(plain)) return address
  const groups = groupsOf(plain)
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  if (isMapped)
    return groups
      .slice(6)
      .flatMap((group) => [group >> 8, group & 255])
      .join('.')
  const kept = groups.map((group, i) => group & mask(ipv6Prefix - 16 * i))
  return `${kept.map((group) => group.toString(16)).join(':')}/${ipv6Prefix}`
}

/** A mask of sixteen bits, of which the first `bits` are set. */
function mask(bits: number): number {
  const within = Math.min(16, Math.max(0, bits))
  return (0xffff << (16 - within)) & 0xffff
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::')
  const before = part(head)
  if (tail === undefined) return before
  const after = part(tail)
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after]
}

function part(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [parseInt(group, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [a * 256 + b, c * 256 + d]
  })
}
