// Opens a mailbox, reads it by long-poll and keeps at it, over lost networks and restarts, until it is
// closed. Options and types: cometbox.d.ts

export class CometboxError extends Error {
  name = 'CometboxError'
  retryAfter = 0

  constructor(message, code, status, reason) {
    super(message)
    this.code = code
    this.status = status
    this.reason = reason
  }
}

const HURRIED = Symbol()

export const connect = (options) => new Connection(options)

export class Connection {
  state = 'opening'
  #options
  #url
  #storageKey
  #box // {mailbox, key, cursor, reply, open}
  #begun = false
  #resolve
  #reject
  // Ends the read or the pause of now, so that the next read is made at once.
  #hurry = () => {}

  constructor(options) {
    // Elsewhere than in a page there is no origin to be relative to.
    if (!options.baseUrl && !globalThis.location) throw new TypeError('connect: baseUrl is needed outside of a page')
    this.#options = { wait: 25, timeout: 10_000, retryMin: 500, retryMax: 15_000, reclaim: 120_000, ...options }
    this.#url = `${options.baseUrl ?? ''}/${encodeURIComponent(options.app)}/mailboxes`
    this.#storageKey = options.storageKey ?? `cometbox:${this.#url}`
    this.opened = this.#promise()
    this.#run()
  }

  get mailbox() {
    return this.#box?.mailbox
  }

  async send(data) {
    do await this.opened
    while (!this.#box)
    return (await this.#request('POST', { data }))?.reply
  }

  async close() {
    const box = this.#box
    if (this.state != 'closed') this.#end()
    if (box) await this.#delete(box)
  }

  async #run() {
    const { wait, retryMin, retryMax, reclaim } = this.#options
    let failures = 0
    // An opening whose answer got lost may have given the name away: to us. Until then it may be ours.
    let oursUntil = 0
    // A probe is a read that is not held: whether we are online is known at once.
    let probe = true
    const hurry = () => {
      probe = true
      this.#hurry()
    }
    globalThis.addEventListener?.('online', hurry)
    globalThis.addEventListener?.('offline', hurry)
    this.#restore()
    while (!this.#closed) {
      const box = this.#box
      const started = Date.now()
      let pause = 0
      try {
        if (box) {
          const hold = probe ? 0 : Math.max(wait, 1)
          probe = false
          const count = await this.#read(box, hold)
          if (hold || count) failures = 0
          // Something on the way cuts waits short: do not run in circles.
          if (hold && !count && Date.now() - started < 500) pause = 1000
        } else {
          await this.#open()
          probe = false
          oursUntil = 0
        }
      } catch (error) {
        if (error == HURRIED || this.#closed) continue
        const { status, code } = error
        const backoff = Math.random() * Math.min(retryMax, retryMin * 2 ** failures)
        const ours = code == 'name_taken' && Date.now() < oursUntil
        probe = true
        if (box && (status == 404 || status == 401 || code == 'bad_cursor')) {
          // It expired, so open another: at once, but not over and over.
          this.#store((this.#box = undefined))
          if (this.#begun) this.opened = this.#promise()
          this.#state('opening', error)
          if (failures++) pause = backoff
        } else if (ours || (code != 'rejected' && (status == 0 || status == 408 || status == 429 || status >= 500))) {
          failures++
          // Not what the gateway said, so whether it did something is not known.
          if (!box && (status == 0 || code == 'http_error')) oursUntil = Date.now() + reclaim
          this.#state(ours ? 'opening' : 'offline', error)
          pause = error.retryAfter * 1000 + backoff
        } else {
          this.#end(error)
        }
      }
      if (pause && !this.#closed) {
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, pause)
          this.#hurry = () => resolve(clearTimeout(timer))
        })
      }
    }
    globalThis.removeEventListener?.('online', hurry)
    globalThis.removeEventListener?.('offline', hurry)
  }

  async #open() {
    const { open, headers } = this.#options
    const data = (await (typeof open == 'function' ? open() : open)) ?? null
    const { mailbox, key, cursor, reply } = await this.#request('POST', { data, headers })
    const box = { mailbox, key, cursor, reply, open: JSON.stringify(open) }
    if (this.#closed) return this.#delete(box)
    this.#store((this.#box = box))
    await this.#begin(box, false)
    if (this.#box) this.#state('online')
  }

  async #begin({ mailbox, reply }, resumed) {
    this.#begun = true
    this.#resolve({ mailbox, reply, resumed })
    await this.#call(this.#options.onOpen, { mailbox, reply, resumed })
  }

  async #read(box, wait) {
    const answer = await this.#request('GET', { query: `?cursor=${box.cursor}&wait=${wait}`, wait })
    if (!this.#begun) await this.#begin(box, true)
    if (this.#box && this.state != 'online') this.#state('online')
    const { cursor = 0, lost = 0, messages = [] } = answer ?? {}
    if (this.#box && lost) await this.#call(this.#options.onLost, lost)
    for (const { seq, data } of messages) {
      if (!this.#box) return 0 // a callback closed it
      if (seq <= box.cursor) continue
      await this.#call(this.#options.onMessage, data, seq)
      // Not before: a page that went away during the call gets the message again.
      box.cursor = seq
      if (this.#box) this.#store(box)
    }
    box.cursor = Math.max(box.cursor, cursor)
    if (this.#box) this.#store(box)
    return messages.length
  }

  /** @param {any} how */
  async #request(method, how) {
    const { data, headers, query = '', wait, box = this.#box } = how
    const controller = new AbortController()
    let hurried = false
    if (wait != undefined) {
      this.#hurry = () => {
        hurried = true
        controller.abort()
      }
    }
    // A network that died silently shows only by the answer that does not come.
    const timer = setTimeout(() => controller.abort(), (wait ?? 0) * 1000 + this.#options.timeout)
    const bytes = [ArrayBuffer, DataView, Blob, Uint8Array].some((type) => data instanceof type)
    try {
      const response = await fetch(this.#url + (box ? '/' + encodeURIComponent(box.mailbox) : '') + query, {
        method,
        headers: {
          ...(data !== undefined && { 'Content-Type': bytes ? 'application/octet-stream' : 'application/json' }),
          ...(box && { Authorization: `Bearer ${box.key}` }),
          ...headers,
        },
        body: bytes ? data : JSON.stringify(data),
        cache: 'no-store',
        keepalive: method == 'DELETE', // outlives the page
        signal: controller.signal,
      })
      const { ok, status } = response
      const text = await response.text()
      if (ok) return text ? JSON.parse(text) : undefined
      let body
      try {
        body = JSON.parse(text).error
      } catch {} // not from the gateway but from something on the way
      const { message = `HTTP ${status}`, code = 'http_error', reason } = body ?? {}
      const error = new CometboxError(message, code, status, reason)
      error.retryAfter = Number(response.headers.get('Retry-After')) || 0
      throw error
    } catch (error) {
      if (hurried) throw HURRIED
      throw error instanceof CometboxError ? error : new CometboxError(`no answer: ${error}`, 'network', 0)
    } finally {
      clearTimeout(timer)
    }
  }

  // It expires by itself where this does not get through.
  #delete(box) {
    return this.#request('DELETE', { box }).catch(() => {})
  }

  // A callback that throws is the page's bug: reported, and the next message goes on.
  async #call(callback, ...args) {
    try {
      await callback?.(...args)
    } catch (error) {
      ;(globalThis.reportError ?? console.error)(error)
    }
  }

  get #closed() {
    return this.state == 'closed'
  }

  #state(state, error) {
    this.state = state
    this.#call(this.#options.onState, state, error)
  }

  #end(error) {
    // A reader that was displaced takes its mailbox back by a reload of the page.
    if (error?.code != 'displaced') this.#store(undefined)
    this.#box = undefined
    if (this.#begun) this.opened = this.#promise()
    this.#reject(error ?? new CometboxError('closed here', 'closed', 0))
    this.#state('closed', error)
    this.#hurry()
    this.#call(this.#options.onClosed, error)
  }

  #promise() {
    this.#begun = false
    const promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    promise.catch(() => {}) // nobody has to look at it
    return promise
  }

  #store(box) {
    const { storage } = this.#options
    try {
      if (box) storage?.setItem(this.#storageKey, JSON.stringify(box))
      else storage?.removeItem(this.#storageKey)
    } catch {} // full or forbidden: then it does not last
  }

  #restore() {
    const { storage, open } = this.#options
    try {
      const box = JSON.parse(storage?.getItem(this.#storageKey) ?? 'null')
      // One that was opened for something else is not wanted.
      if (box?.open === JSON.stringify(open)) this.#box = box ?? undefined
    } catch {}
  }
}
