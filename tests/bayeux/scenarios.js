// What clients of Bayeux rely on, with each client by each of its transports.
import assert from 'node:assert/strict'
import { before, suite, test } from 'node:test'
import { Heard, clients, join } from './clients.js'
import { Gateway, Network, build } from './gateway.js'

/** All of them, with the clients whose names begin so. */
export function scenarios(whose) {
  before(build)
  for (const kind of clients) if (kind.name.startsWith(whose)) run(kind)
}

function run(kind) {
  suite(kind.name, { timeout: 120_000 }, () => {
    test('who publishes to a channel is heard by all who subscribed to it, itself among them', async (t) => {
      const gateway = await Gateway.start(t)
      const [ann, bob] = await Promise.all([join(gateway, kind), join(gateway, kind)])
      assert.notEqual(ann.id, bob.id)
      const [hers, his] = await Promise.all([ann.subscribe('/chat/lobby'), bob.subscribe('/chat/lobby')])
      await ann.publish('/chat/lobby', { say: 'hi' })
      await Promise.all([hers.count(1), his.count(1)])
      await bob.publish('/chat/lobby', 'ü "quoted"')
      await Promise.all([hers.count(2), his.count(2)])
      for (const heard of [hers, his]) assert.deepEqual(heard.data, [{ say: 'hi' }, 'ü "quoted"'])
      assert.equal(hers.messages[0].channel, '/chat/lobby')
    })

    if (/cometd.*websocket/.test(kind.name))
      test('a sub-protocol that its page names is agreed to', async (t) => {
        const gateway = await Gateway.start(t)
        const ann = await join(gateway, kind, { config: { protocol: 'bayeux' } })
        const heard = await ann.subscribe('/chat')
        await ann.publish('/chat', 1)
        await heard.has(1)
      })

    test('an app can leave out who publishes', async (t) => {
      const gateway = await Gateway.start(t, { settings: 'echo = false' })
      const [ann, bob] = await Promise.all([join(gateway, kind), join(gateway, kind)])
      const [hers, his] = await Promise.all([ann.subscribe('/chat/lobby'), bob.subscribe('/chat/lobby')])
      await ann.publish('/chat/lobby', 'from ann')
      await his.count(1)
      await bob.publish('/chat/lobby', 'from bob')
      await hers.count(1)
      assert.deepEqual([hers.data, his.data], [['from bob'], ['from ann']])
    })

    test('a client that a message reaches by several subscriptions gets it once', async (t) => {
      const gateway = await Gateway.start(t)
      const ann = await join(gateway, kind)
      // The client tells each of its listeners of one delivery; the channel of their own counts those.
      const all = await ann.subscribe('/**')
      await ann.subscribe('/chat/*')
      await ann.subscribe('/chat/**')
      await ann.subscribe('/chat/lobby')
      await ann.publish('/chat/lobby', 1)
      await ann.publish('/chat/lobby/vip', 2)
      await ann.publish('/news', 3)
      await all.has(3)
      assert.deepEqual(all.data, [1, 2, 3])
    })

    test('a wildcard hears the channels below it, and not its parent', async (t) => {
      const gateway = await Gateway.start(t)
      const ann = await join(gateway, kind)
      const segment = await ann.subscribe('/chat/*')
      const below = await ann.subscribe('/chat/**')
      const end = await ann.subscribe('/end')
      for (const channel of ['/chat', '/chat/lobby', '/chat/lobby/vip', '/chatter/lobby', '/end']) {
        await ann.publish(channel, channel)
      }
      await end.count(1)
      assert.deepEqual(segment.data, ['/chat/lobby'])
      assert.deepEqual(below.data, ['/chat/lobby', '/chat/lobby/vip'])
    })

    test('who unsubscribes hears nothing more', async (t) => {
      const gateway = await Gateway.start(t)
      const ann = await join(gateway, kind)
      const [left, stayed] = [await ann.subscribe('/left'), await ann.subscribe('/stayed')]
      await ann.publish('/left', 1)
      await left.count(1)
      await left.leave()
      const nobody = ([result]) => result.queued === 0
      // Cancelling is told to nobody by one of the clients: the gateway knows when it is through.
      while (!nobody(await gateway.publish('open', { to: { groups: ['left'] }, data: 2 })));
      await ann.publish('/stayed', 3)
      await stayed.count(1)
      assert.equal(left.data[0], 1)
      assert.deepEqual(stayed.data, [3])
    })

    test('a service channel is between a client and the plugin', async (t) => {
      const gateway = await Gateway.start(t)
      const [ann, bob] = await Promise.all([join(gateway, kind), join(gateway, kind)])
      const overheard = await bob.subscribe('/service/**')
      const all = await bob.subscribe('/**')
      await ann.publish('/service/secret', 1)
      await ann.publish('/open', 2)
      await all.count(1)
      assert.deepEqual([all.data, overheard.data], [[2], []])
    })

    test('what the plugin refuses is told with its reason', async (t) => {
      const gateway = await Gateway.start(t)
      const ann = await join(gateway, kind, { app: 'lab' })
      await assert.rejects(ann.subscribe('/chat/lobby'), { message: '403::clients choose no groups here' })
      await assert.rejects(ann.publish('/x', { do: 'reject' }), { message: /^403::/ })
      await assert.rejects(ann.publish('/x', { do: 'panic' }), { message: /^500::a plugin failed - .* e-[0-9a-f]{16}$/ })
    })

    test('a backend and a native client hear and are heard', async (t) => {
      const gateway = await Gateway.start(t)
      const ann = await join(gateway, kind)
      const lobby = await ann.subscribe('/chat/lobby')
      const { body: bob } = await gateway.request('POST', '/open/mailboxes', { subscribe: ['chat/*'] })
      const box = `/open/mailboxes/${bob.mailbox}`
      assert.equal((await gateway.request('POST', `${box}?key=${bob.key}&channel=chat/lobby`, { from: 'bob' })).status, 204)
      await gateway.publish('open', { to: { groups: ['chat/lobby'] }, data: { from: 'backend' } })
      await ann.publish('/chat/lobby', { from: 'ann' })
      await lobby.count(3)
      assert.deepEqual(lobby.data, [{ from: 'bob' }, { from: 'backend' }, { from: 'ann' }])
      const { body: read } = await gateway.request('GET', `${box}?key=${bob.key}`)
      assert.deepEqual(read.messages.map((message) => message.data), lobby.data)
    })

    test('many messages come in order, each once', async (t) => {
      const gateway = await Gateway.start(t)
      const ann = await join(gateway, kind)
      const heard = await ann.subscribe('/count')
      const [batches, each] = [5, 100]
      for (let batch = 0; batch < batches; batch++) {
        await gateway.publish('open', Array.from({ length: each }, (_, n) => ({ to: { groups: ['count'] }, data: batch * each + n })))
      }
      await heard.count(batches * each)
      assert.deepEqual(heard.data, Array.from({ length: batches * each }, (_, n) => n))
    })

    test('a client that the server closes is told, and does not come back', async (t) => {
      const gateway = await Gateway.start(t, { limits: 'max_wait_s = 1' })
      const ext = { name: 'seat', replace: true }
      const first = await join(gateway, kind, { app: 'lab', ext })
      const told = first.meta.until(({ channel }) => channel === '/meta/disconnect')
      const second = await join(gateway, kind, { app: 'lab', ext })
      const message = await told
      assert.deepEqual([message.successful, message.ext.reason], [true, 'opened again elsewhere'])
      // Time enough to shake hands anew, which would take the name from the second.
      const channels = (client) => client.meta.messages.map(({ channel }) => channel)
      await second.meta.until(({ channel }) => channel === '/meta/disconnect' || channels(second).filter((other) => other === '/meta/connect').length === 4)
      assert.equal(channels(first).filter((channel) => channel === '/meta/handshake').length, 1)
      assert.ok(!channels(second).includes('/meta/disconnect'), `${channels(second)}`)
      await second.publish('/x', 1)
    })

    test('a gateway that restarts is met with a new handshake', async (t) => {
      const gateway = await Gateway.start(t)
      const ann = await join(gateway, kind)
      const before = ann.id
      const heard = await ann.subscribe('/chat/lobby')
      await gateway.stop()
      const again = new Heard()
      await gateway.run()
      const shaken = () => ann.id && ann.id !== before
      await ann.meta.until(({ channel, successful }, all) => channel === '/meta/handshake' && successful && all.filter((m) => m.channel === '/meta/handshake' && m.successful).length > 1)
      assert.ok(shaken())
      // Where the program subscribes anew, as those of CometD do on a handshake, it hears again.
      if (!('faye' in ann)) await ann.subscribe('/chat/lobby', again)
      const reached = async () => (await gateway.publish('open', { to: { groups: ['chat/lobby'] }, data: 'after' }))[0].queued > 0
      while (!(await reached()));
      await ('faye' in ann ? heard : again).has('after')
    })

    test('what was said while the network was away is heard once it is back', async (t) => {
      const gateway = await Gateway.start(t, { limits: 'max_wait_s = 1' })
      const network = await Network.start(t, gateway)
      const config = { maxNetworkDelay: 500 }
      const ann = await join(gateway, kind, { base: network.url, config })
      const heard = await ann.subscribe('/count')
      let sent = 0
      const say = async (count) => {
        for (let n = 0; n < count; n++) await gateway.publish('open', { to: { groups: ['count'] }, data: sent++ })
      }
      await say(5)
      await heard.has(4)
      const id = ann.id
      network.cut()
      // Into the connection that is gone, and then into the mailbox.
      await say(5)
      network.mend()
      await say(5)
      await heard.has(sent - 1)
      assert.equal(ann.id, id, 'it is the same client')
      const expected = Array.from({ length: sent }, (_, n) => n)
      const missing = expected.filter((n) => !heard.data.includes(n))
      assert.equal(new Set(heard.data).size, heard.data.length, 'nothing comes twice')
      if (kind.acks) assert.deepEqual(heard.data, expected)
      // Without acknowledgements, what was on its way when the network went is gone, and only that.
      else assert.ok(missing.every((n) => n >= 5 && n < 10), `${missing}`)
    })

    if (!kind.acks) return

    test('a network that goes in the middle of answers, again and again, costs nothing', async (t) => {
      const gateway = await Gateway.start(t, { limits: 'max_wait_s = 1, mailbox_bytes = 8388608, mailbox_messages = 10000' })
      const network = await Network.start(t, gateway)
      const ann = await join(gateway, kind, { base: network.url, config: { maxNetworkDelay: 500 } })
      const heard = await ann.subscribe('/count')
      const id = ann.id
      const text = 'x'.repeat(20_000)
      let sent = 0
      const say = (count) => gateway.publish('open', Array.from({ length: count }, () => ({ to: { groups: ['count'] }, data: { n: sent++, text } })))
      for (const bytes of [1, 5000, 50_000, 300_000]) {
        const cut = network.cutAfter(bytes)
        await say(25)
        await cut
        network.mend()
      }
      await heard.until(({ data }) => data.n === sent - 1)
      assert.equal(ann.id, id, 'it is the same client')
      assert.deepEqual(heard.data.map(({ n }) => n), Array.from({ length: sent }, (_, n) => n))
    })

    test('a client that acknowledges what it was never given starts anew, once', async (t) => {
      const gateway = await Gateway.start(t)
      let liar
      const outgoing = (message) => {
        if (message.channel === '/meta/connect' && message.clientId === liar) message.ext.ack = 1000
      }
      const ann = await join(gateway, kind, { extension: { outgoing } })
      liar = ann.id
      // What it hears has it connect once more.
      await ann.subscribe('/x')
      await ann.publish('/x', 1)
      const refused = await ann.meta.until(({ channel, successful }) => channel === '/meta/connect' && !successful)
      assert.match(refused.error, /^400::ext.ack is ahead/)
      await ann.meta.until((_, all) => all.filter(({ channel, successful }) => channel === '/meta/handshake' && successful).length === 2)
      assert.notEqual(ann.id, liar)
      const heard = await ann.subscribe('/x')
      await ann.publish('/x', 3)
      await heard.has(3)
      assert.equal(ann.meta.messages.filter(({ channel }) => channel === '/meta/handshake').length, 2)
    })
  })
}
