// The slot of a cluster that has a key.

const SLOTS = 16_384

/** Gives the slot of the key's hash tag, where it has one, and else of the key. */
export function slotOf(key: string): number {
  const begin = key.indexOf('{')
  const end = key.indexOf('}', begin + 1)
  const hashed = begin < 0 || end <= begin + 1 ? key : key.slice(begin + 1, end)
  return crc16(Buffer.from(hashed)) % SLOTS
}

/** CRC-16/XMODEM, as Redis computes it. */
function crc16(bytes: Uint8Array): number {
  let crc = 0
  for (const byte of bytes) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff
  }
  return crc
}
