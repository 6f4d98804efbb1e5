import WebSocket from 'ws'
import { connect } from '../cometbox.js'

// Node has one of its own since 22. Other than a browser's, an error that nobody listens to is thrown.
globalThis.WebSocket ??= class extends WebSocket {
  constructor(...args) {
    super(...args)
    this.on('error', () => {})
  }
}

const quick = { retryMin: 5, retryMax: 20, timeout: 2000 }

/** Connects and notes everything that the callbacks are told. */
export function client(t, { baseUrl }, options = {}) {
  const log = []
  let changed = () => {}
  const note = (...entry) => {
    log.push(entry.join(' '))
    changed()
  }
  const box = connect({
    app: 'chat',
    baseUrl,
    ...quick,
    onMessage: (data) => note(data),
    onLost: (count) => note('lost', count),
    onOpen: ({ mailbox, resumed }) => note(resumed ? 'resumed' : 'opened', mailbox),
    onState: (state, error) => note(state, ...(error ? [error.code] : [])),
    onClosed: (error) => note('over', ...(error ? [error.code] : [])),
    ...options,
  })
  t.after(() => box.close())
  const until = async (entry) => {
    while (!log.includes(entry)) await new Promise((resolve) => (changed = resolve))
  }
  return { box, log, until }
}
