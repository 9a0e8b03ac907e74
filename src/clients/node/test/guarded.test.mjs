// Paid calls and their cache.

import './cache.part.mjs'
import './paid.part.mjs'
import './away.part.mjs'
