import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { clients, join } from './clients.js'
import { Gateway, build } from './gateway.js'

const CLIENTS = 1000
const MESSAGES = 10

before(build)

test('a thousand clients hear everything, in order', { timeout: 120_000 }, async (t) => {
  const gateway = await Gateway.start(t)
  const kinds = ['cometd 9, long-polling', 'cometd 9, websocket', 'faye, long-polling', 'faye, websocket'].map((name) =>
    clients.find((kind) => kind.name === name),
  )
  const crowd = Array.from({ length: CLIENTS }, async (_, n) => {
    const client = await join(gateway, kinds[n % kinds.length])
    return client.subscribe('/crowd')
  })
  const heard = await Promise.all(crowd)
  const queued = []
  for (let n = 0; n < MESSAGES; n++) {
    queued.push((await gateway.publish('open', { to: { groups: ['crowd'] }, data: n }))[0].queued)
  }
  assert.deepEqual(queued, Array(MESSAGES).fill(CLIENTS))
  await Promise.all(heard.map((one) => one.count(MESSAGES)))
  const all = Array.from({ length: MESSAGES }, (_, n) => n)
  for (const one of heard) assert.deepEqual(one.data, all)
})
