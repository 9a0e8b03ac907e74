// Paid calls and their cache.

import { loadParts } from './parts.mjs'

await loadParts('./cache.part.mjs', './paid.part.mjs', './away.part.mjs')
