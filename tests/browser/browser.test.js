import { after, before } from 'node:test'
import { start, stop } from './world.js'

before(start)
after(stop)

// In one process, so that they share a gateway: its plugins are built only once.
await import('./chat.js')
await import('./pages.js')
await import('./streams.js')
await import('./tabs.js')
await import('./readers.js')
await import('./troubles.js')
await import('./users.js')
await import('./shared.js')
await import('./fallback.js')
