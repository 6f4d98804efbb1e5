// CometD's server for Node.js: node cometd.js PORT
import { createServer } from 'node:http'
import cometd from 'cometd-nodejs-server'
import { listen } from './listen.js'

// As it comes, but for how long a client may be away: as with Cometbox, since
// thousands are not all there within its ten seconds on a busy machine.
const MAX_INTERVAL_MS = 60_000

listen(createServer(cometd.createCometDServer({ maxInterval: MAX_INTERVAL_MS }).handle))
