import assert from 'node:assert/strict'
import { test } from 'node:test'
import { client } from './client.js'
import { gateway, messages, opened, refusal } from './gateway.js'

/** A WebSocket that says these batches, and then does what `then` says. */
const socket = (batches, then = () => {}) => ({
  socket(ws) {
    ws.send(JSON.stringify({ cursor: 0, lost: 0, messages: [] }))
    for (const [, batch] of batches) ws.send(JSON.stringify(batch))
    then(ws)
  },
})

/** A stream that says this text, and then does what `then` says. */
const stream = (text, then = () => {}) => ({
  stream(response) {
    response.write(`retry: 1000\n: here\n\n${text}`)
    then(response)
  },
})
const events = (...seqs) => seqs.map((seq) => `id: ${seq}\ndata: "m${seq}"\n\n`).join('')

/** Lets the time that a stream has for its first sign pass quickly. */
function impatient(t) {
  const { setTimeout: real } = globalThis
  t.mock.method(globalThis, 'setTimeout', (f, ms) => real(f, ms === 5000 ? 200 : ms))
}

/** So that what a transport does not bring shows. */
const plain = { POST: [opened()], GET: [(seen) => (seen.url.includes('wait=0') ? [204] : messages(1))] }
const works = { WS: [socket([messages(1)])], SSE: [stream(events(1))] }
const silent = { stream: (response) => response.flushHeaders() }
const mute = { socket() {} }

for (const [name, on, used] of [
  ['a WebSocket is preferred', works, ['WS']],
  ['a WebSocket that is refused', { ...works, WS: [[400]] }, ['WS', 'GET', 'SSE']],
  ['a WebSocket that hangs', { ...works, WS: ['hold'] }, ['WS', 'GET', 'SSE']],
  ['a WebSocket that opens and is mute', { ...works, WS: [mute] }, ['WS', 'GET', 'SSE']],
  ['a WebSocket that says what it should not', { ...works, WS: [{ socket: (ws) => ws.send('<h1>hello</h1>') }] }, ['WS', 'GET', 'SSE']],
  ['no WebSocket and SSE refused', { SSE: [[405]] }, ['WS', 'GET', 'SSE', 'GET', 'GET']],
  ['no WebSocket and SSE held back by a buffer', { SSE: [silent] }, ['WS', 'GET', 'SSE', 'GET', 'GET']],
  ['no WebSocket and SSE never answered', { SSE: ['hold'] }, ['WS', 'GET', 'SSE', 'GET', 'GET']],
  ['no WebSocket and SSE answered with a page', { SSE: [[200, '<h1>hello</h1>']] }, ['WS', 'GET', 'SSE', 'GET', 'GET']],
])
  test(`transports: ${name}`, async (t) => {
    impatient(t)
    const gw = await gateway(t, { ...plain, ...on })
    const { log, until } = client(t, gw)
    await until('m1')
    assert.deepEqual(gw.seen.slice(1, 1 + used.length).map((r) => r.method), used)
    assert.deepEqual(log, ['opened ann', 'online', 'm1'])
  })

test('transports: only those that are asked for, in that order', async (t) => {
  const gw = await gateway(t, { ...plain, ...works })
  const { until } = client(t, gw, { transports: ['sse', 'websocket'] })
  await until('m1')
  assert.deepEqual(gw.seen.map((r) => r.method), ['POST', 'SSE'])
})

test('a WebSocket and a stream say who they are and where they are', async (t) => {
  const gw = await gateway(t, { ...plain, ...works, POST: [opened('ann b', 7)], WS: [[400]] })
  const { until } = client(t, gw)
  await gw.until((seen) => seen.length > 3)
  const [ws, sse] = [gw.of('WS')[0], gw.of('SSE')[0]]
  assert.equal(ws.url, '/chat/mailboxes/ann%20b?cursor=7')
  assert.match(ws.headers['sec-websocket-protocol'], /^cometbox\.v1\.json, ?key\.key-ann-b$/)
  assert.equal(sse.url, '/chat/mailboxes/ann%20b?cursor=7')
  assert.equal(sse.headers.authorization, 'Bearer key-ann-b')
  await until('online')
})

for (const [name, on] of [
  ['WebSocket', { WS: [socket([messages(1, 2)], (ws) => ws.terminate()), socket([messages(3, 4)])] }],
  ['stream', { WS: [[400]], SSE: [stream(events(1, 2), (r) => setImmediate(() => r.destroy())), stream(events(3, 4))] }],
])
  test(`a ${name} that worked and broke is tried again, from where it was`, async (t) => {
    const kind = name === 'stream' ? 'SSE' : 'WS'
    const gw = await gateway(t, { ...plain, GET: [[204]], ...on })
    const { log, until } = client(t, gw)
    await until('m4')
    assert.deepEqual(log, ['opened ann', 'online', 'm1', 'm2', 'offline network', 'online', 'm3', 'm4'])
    assert.deepEqual(gw.of(kind).map((r) => r.url.match(/cursor=\d+/)[0]), ['cursor=0', 'cursor=2'])
    assert.match(gw.of('GET').at(-1).url, /cursor=2&wait=0/)
  })

test('switching loses and doubles nothing', async (t) => {
  const gw = await gateway(t, {
    POST: [opened()],
    WS: [socket([messages(1, 2)], (ws) => ws.terminate()), [503], [503]],
    GET: [messages(2, 3), [204], 'cut', messages(5), messages(6, 7), 'hold'],
    SSE: [stream(events(3, 4), (r) => setImmediate(() => r.destroy())), [503]],
  })
  const { log, until } = client(t, gw)
  await until('m7')
  assert.deepEqual(log.filter((entry) => /^m\d/.test(entry)), ['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7'])
})

test('a transport is not given up for a network that is away', async (t) => {
  const gw = await gateway(t, { POST: [opened()], WS: [[502], socket([messages(1)])], GET: ['cut', 'cut', [204]] })
  const { log, until } = client(t, gw)
  await until('m1')
  assert.deepEqual(log, ['opened ann', 'online', 'offline network', 'offline network', 'online', 'm1'])
  assert.equal(gw.of('SSE').length, 0)
})

test('the only transport is tried again and again, but not in circles', async (t) => {
  const gw = await gateway(t, { POST: [opened()], WS: [[400], [400], [400], socket([messages(1)])], GET: [[204]] })
  const { log, until } = client(t, gw, { transports: ['websocket'] })
  await until('m1')
  assert.deepEqual(log, ['opened ann', 'online', 'm1'])
})

test('in another network a better transport is tried again', async (t) => {
  const target = new EventTarget()
  for (const f of ['addEventListener', 'removeEventListener']) globalThis[f] = target[f].bind(target)
  t.after(() => ['addEventListener', 'removeEventListener'].forEach((f) => delete globalThis[f]))
  const gw = await gateway(t, { POST: [opened()], WS: [[400], socket([messages(1)])], GET: [[204]], SSE: [stream('')] })
  const { until } = client(t, gw)
  await gw.until(() => gw.of('SSE').length === 1)
  target.dispatchEvent(new Event('online'))
  await until('m1')
  assert.deepEqual(gw.seen.map((r) => r.method).filter((m) => m !== 'FRAME'), ['POST', 'WS', 'GET', 'SSE', 'GET', 'WS'])
})

/** Ticks come at once, and the clock can be put on. */
function clock(t) {
  let ahead = 0
  const { setInterval: real } = globalThis
  const { now } = Date
  t.mock.method(globalThis, 'setInterval', (f) => real(f, 10))
  t.mock.method(Date, 'now', () => now() + ahead)
  return (ms) => (ahead += ms)
}

test('some minutes later a better transport is tried again', async (t) => {
  const forward = clock(t)
  const gw = await gateway(t, { POST: [opened()], WS: [[400], socket([messages(1)])], GET: [[204]], SSE: [stream('')] })
  const { log, until } = client(t, gw)
  await gw.until(() => gw.of('SSE').length === 1)
  // In steps that do not look like sleep.
  for (let minutes = 0; minutes < 11; minutes += 0.1) {
    forward(6000)
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
  await until('m1')
  assert.deepEqual(gw.seen.map((r) => r.method).filter((m) => m !== 'FRAME'), ['POST', 'WS', 'GET', 'SSE', 'WS'])
  assert.deepEqual(log, ['opened ann', 'online', 'm1'])
})

test('after a sleep it looks at once', async (t) => {
  const forward = clock(t)
  const gw = await gateway(t, { POST: [opened()], WS: [mute, socket([])].map((s) => ({ socket: (ws) => (socket([]).socket(ws), s) })), GET: [messages(1), [204]] })
  const { log, until } = client(t, gw)
  await gw.until(() => gw.of('WS').length === 1)
  await until('online')
  forward(60_000)
  await until('m1')
  assert.deepEqual(log, ['opened ann', 'online', 'm1'])
  assert.match(gw.of('GET')[0].url, /wait=0/)
  await gw.until(() => gw.of('WS').length === 2)
})

for (const [name, on] of [
  ['WebSocket', { WS: [socket([messages(1, 2)])] }],
  ['stream', { WS: [[400]], SSE: [stream(events(1, 2))] }],
])
  test(`a ${name} is told what is done with, and not before`, async (t) => {
    const gw = await gateway(t, { ...plain, GET: [[204]], ...on })
    let done
    client(t, gw, { onMessage: (data) => data === 'm1' && new Promise((resolve) => (done = resolve)) })
    const confirms = () => gw.seen.filter((r) => r.method === 'FRAME' || r.method === 'CONFIRM')
    while (!done) await new Promise(setImmediate)
    await new Promise((resolve) => setTimeout(resolve, 1200)) // longer than confirming waits
    assert.equal(confirms().length, 0)
    done()
    await gw.until(() => confirms().length === 1)
    const [{ method, body, url }] = confirms()
    if (method === 'FRAME') assert.equal(body, '{"cursor":2}')
    else assert.equal(url, '/chat/mailboxes/ann/confirm?cursor=2')
  })

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

test('many messages are confirmed by few words', async (t) => {
  const gw = await gateway(t, { ...plain, WS: [socket(range(1, 950).map((seq) => messages(seq)))] })
  const { log } = client(t, gw)
  await gw.until((seen) => seen.at(-1)?.body === '{"cursor":950}')
  assert.deepEqual(log.slice(2), range(1, 950).map((seq) => `m${seq}`))
  assert.ok(gw.of('FRAME').length <= 11, `${gw.of('FRAME').length} for 950 messages`)
})

test('a WebSocket that is too far ahead of the callbacks is closed, and read again', async (t) => {
  let closed
  const isClosed = new Promise((resolve) => (closed = resolve))
  const first = range(1, 2500).map((seq) => messages(seq))
  const second = [messages(...range(900, 2600))]
  const gw = await gateway(t, { ...plain, GET: [[204]], WS: [socket(first, (ws) => ws.on('close', closed)), socket(second)] })
  const got = []
  client(t, gw, { onMessage: (data, seq) => (got.push(seq), isClosed) })
  await gw.until(() => gw.of('WS').length === 2)
  await gw.until((seen) => seen.at(-1).body === '{"cursor":2600}')
  assert.deepEqual(got, range(1, 2600))
})

test('callbacks that are far behind hold a stream up', async (t) => {
  let sent = 0
  const flood = (response) => {
    while (sent < 20_000 && response.write(`id: ${++sent}\ndata: "${'x'.repeat(1000)}"\n\n`));
    if (sent < 20_000) response.once('drain', () => flood(response))
  }
  const gw = await gateway(t, { ...plain, SSE: [stream('', flood)] })
  let go
  let count = 0
  client(t, gw, {
    transports: ['sse'],
    async onMessage(data, seq) {
      if (++count === 1) await new Promise((resolve) => (go = resolve))
      assert.equal(seq, count)
    },
  })
  while (!go) await new Promise(setImmediate)
  await new Promise((resolve) => setTimeout(resolve, 300)) // what could come has come
  assert.ok(sent < 20_000, `${sent} were taken`)
  go()
  await gw.until(() => gw.of('CONFIRM').some((r) => r.url.endsWith('=20000')))
})

for (const [name, on] of [
  ['WebSocket', { WS: [socket([messages(1)], (ws) => ws.close(4409, 'displaced: another reader took over'))] }],
  ['stream', { WS: [[400]], SSE: [stream(`${events(1)}event: end\ndata: {"error":{"code":"displaced","message":"another reader took over"}}\n\n`)] }],
])
  test(`a ${name} that is displaced ends`, async (t) => {
    const gw = await gateway(t, { ...plain, GET: [[204]], ...on })
    const { box, log, until } = client(t, gw)
    await until('over displaced')
    const reads = gw.seen.length
    await new Promise((resolve) => setTimeout(resolve, 30)) // nothing more may come
    assert.equal(gw.seen.length, reads, 'a read would take the mailbox back')
    assert.deepEqual(log, ['opened ann', 'online', 'm1', 'closed displaced', 'over displaced'])
    assert.equal(box.state, 'closed')
  })

for (const [name, on] of [
  ['WebSocket', { WS: [socket([messages(1)], (ws) => ws.close(4410, 'closed: it was closed'))] }],
  ['stream', { WS: [[400]], SSE: [stream(`${events(1)}event: end\ndata: {"error":{"code":"closed","message":"it was closed"}}\n\n`)] }],
])
  test(`a ${name} that is closed ends with the reason`, async (t) => {
    const gone = refusal(410, 'closed', { reason: 'kicked' })
    const gw = await gateway(t, { ...plain, GET: name === 'stream' ? [[204], gone] : [gone], ...on })
    let why
    const { until } = client(t, gw, { onClosed: (error) => (why = error) })
    await until('closed closed')
    assert.deepEqual([why.code, why.status, why.reason], ['closed', 410, 'kicked'])
  })

test('what was lost is told in its place', async (t) => {
  const text = `${events(1)}event: lost\nid: 4\ndata: {"lost":3}\n\n${events(5)}`
  const gw = await gateway(t, { ...plain, SSE: [stream(text)] })
  const { log, until } = client(t, gw, { transports: ['sse'] })
  await until('m5')
  assert.deepEqual(log.slice(2), ['m1', 'lost 3', 'm5'])
})

test('a message cannot begin a field of its event', async (t) => {
  // JSON leaves these line separators as they are; for events they are none.
  const said = 'x\u2028data: 7\u2028id: 99\u2029'
  const text = `id: 1\ndata: ${JSON.stringify(said)}\n\nid: 2\ndata: "m2"\n\n`
  const gw = await gateway(t, { ...plain, SSE: [stream(text)] })
  const got = []
  client(t, gw, { transports: ['sse'], onMessage: (data, seq) => got.push([seq, data]) })
  await gw.until((seen) => seen.some((r) => r.url.endsWith('confirm?cursor=2')))
  assert.deepEqual(got, [[1, said], [2, 'm2']])
})

test('a stream may come in any pieces', async (t) => {
  const text = Buffer.from('id: 1\r\ndata: "grüße"\r\n\r\nid: 2\r\ndata: {"a":"b: c"}\r\n\r\n: still here\n\nid: 3\ndata: "m3"\n\n')
  const drip = async (response) => {
    for (const byte of text) {
      response.write(Buffer.of(byte))
      await new Promise(setImmediate)
    }
  }
  const gw = await gateway(t, { ...plain, SSE: [stream('', drip)] })
  const got = []
  client(t, gw, { transports: ['sse'], onMessage: (data, seq) => got.push([seq, data]) })
  await gw.until((seen) => seen.some((r) => r.url.endsWith('confirm?cursor=3')))
  assert.deepEqual(got, [[1, 'grüße'], [2, { a: 'b: c' }], [3, 'm3']])
})
