// What each host's own documentation promises, by its real middleware. One process loads the hosts once
// for all parts.

import './each-host.part.mjs'
import './give-back.part.mjs'
import './fastify.part.mjs'
import './nestjs.part.mjs'
