import { createServer } from 'node:http'
import { once } from 'node:events'
import { WebSocketServer } from 'ws'

/**
 * A gateway that says what the test tells it to. `on.POST`, `on.GET` and so on are lists of answers,
 * used one after the other; the last one stays. An answer is `[status, body, headers]`, a function
 * that returns one, `'hold'` (never answered) or `'cut'` (the connection breaks). For `on.SSE` and
 * `on.WS` it may also be what is done with a stream or a socket: `{ stream(response) {} }` and
 * `{ socket(ws) {} }`. What these are asked is seen with `SSE` and `WS` as the method, confirming with
 * `CONFIRM`.
 */
export async function gateway(t, on) {
  const seen = []
  const note = (request) => {
    seen.push({ ...request, at: Date.now() })
    server.emit('seen')
  }
  const next = (name) => (on[name]?.length > 1 ? on[name].shift() : on[name]?.[0])
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { url, headers } = request
    const isConfirm = url.includes('/confirm?')
    const method = isConfirm ? 'CONFIRM' : headers.accept === 'text/event-stream' ? 'SSE' : request.method
    note({ method, url, body, headers })
    const name = method === 'POST' && !url.endsWith('/mailboxes') ? 'SEND' : method
    let answer = next(name) ?? (isConfirm ? [204] : [500])
    if (typeof answer === 'function') answer = await answer(seen.at(-1))
    if (answer === 'hold') return
    if (answer === 'cut') return request.socket.destroy()
    if (answer.stream) {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.flushHeaders()
      return answer.stream(response)
    }
    const [status, json, more = {}] = answer
    response.writeHead(status, { 'Content-Type': 'application/json', ...more })
    response.end(typeof json === 'string' ? json : json && JSON.stringify(json))
  })
  const sockets = new WebSocketServer({ noServer: true })
  server.on('upgrade', (request, socket, head) => {
    note({ method: 'WS', url: request.url, headers: request.headers })
    const answer = next('WS') ?? [400]
    t.after(() => socket.destroy())
    if (answer === 'hold') return
    if (!answer.socket) return socket.end(`HTTP/1.1 ${answer[0]} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
    sockets.handleUpgrade(request, socket, head, (ws) => {
      ws.on('message', (data) => note({ method: 'FRAME', body: String(data) }))
      answer.socket(ws)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const ws of sockets.clients) ws.terminate()
    server.closeAllConnections()
    server.close()
  })
  return {
    baseUrl: `http://127.0.0.1:${server.address().port}`,
    seen,
    of: (method) => seen.filter((r) => r.method === method),
    /** Resolves once the gateway has seen what `condition` asks for. */
    async until(condition) {
      while (!condition(seen)) await once(server, 'seen')
    },
  }
}

export const opened = (mailbox = 'ann', cursor = 0) => [201, { mailbox, key: `key-${mailbox.replace(' ', '-')}`, cursor, reply: { hi: mailbox } }]
export const messages = (...seqs) => [
  200,
  { cursor: seqs.at(-1), lost: 0, messages: seqs.map((seq) => ({ seq, data: `m${seq}` })) },
]
export const refusal = (status, code, more = {}, headers = {}) => [status, { error: { code, message: `it is ${code}`, ...more } }, headers]

/** Stands in for `sessionStorage`. */
export function memory() {
  const map = new Map()
  return {
    map,
    getItem: (k) => map.get(k) ?? null,
    setItem: (k, v) => void map.set(k, v),
    removeItem: (k) => void map.delete(k),
  }
}
