// Each client over TLS: https and wss.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { clients, join } from './clients.js'
import { Gateway, build } from './gateway.js'

// Whom clients trust is not what is tested, and not all of them can be told.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'

before(build)

for (const kind of clients) {
  test(`over TLS: ${kind.name}`, { timeout: 60_000 }, async (t) => {
    const gateway = await Gateway.start(t, { tls: true })
    const [ann, bob] = await Promise.all([join(gateway, kind, { base: gateway.secureUrl }), join(gateway, kind)])
    const heard = await ann.subscribe('/chat/*')
    await bob.publish('/chat/lobby', 'from bob')
    await gateway.publish('open', { to: { groups: ['chat/vip'] }, data: 'from a backend' })
    await heard.count(2)
    await ann.publish('/chat/lobby', 'from ann')
    await heard.count(3)
    assert.deepEqual(heard.data, ['from bob', 'from a backend', 'from ann'])
  })
}
