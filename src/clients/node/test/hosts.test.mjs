// What each host's own documentation promises, by its real middleware. One process loads the hosts once
// for all parts.

import { loadParts } from './parts.mjs'

await loadParts('./each-host.part.mjs', './give-back.part.mjs', './fastify.part.mjs', './nestjs.part.mjs')
