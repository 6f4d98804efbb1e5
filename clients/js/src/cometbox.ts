// What a page uses. Everything else runs behind it: in this tab, in another one or in a SharedWorker.

import { close, isFailure, request, urlOf } from './http.js'
import { Hub } from './hub.js'
import { canShare, digest, lead, PREFIX, share } from './share.js'
import { TRANSPORTS } from './transports.js'
import { line, locks, WIRE_VERSION } from './wire.js'
import type { Box, Line, Message, Settings, ToHub, ToTab, TransportName } from './wire.js'

/** `closed` is final; every other state becomes `online` again by itself. */
export type State = 'opening' | 'online' | 'offline' | 'closed'

export interface Opened {
  /** Name of the mailbox. */
  mailbox: string
  /** What the plugin replied to the open request. */
  reply: any
  /** Not opened just now, but taken over from `storage` or shared with other tabs. */
  resumed: boolean
}

export interface Options {
  /** The app's name. */
  app: string
  /** Body of the open request. A function is asked anew for every opening; if it throws, it is over. */
  open?: any
  /** Headers of the open request. */
  headers?: Record<string, string>
  /**
   * Who is signed in: any text that is another one for somebody else, such as an id. Needed where a cookie
   * says it, which this module cannot see: without it the next user of the browser shares the tabs' mailbox
   * or resumes the stored one. It stays here; the gateway is not told.
   */
  user?: string
  /** Where the gateway is, if the page came from elsewhere. */
  baseUrl?: string
  /** Called for each message, once and in order. If it returns a promise, the next message waits. */
  onMessage?(data: any, seq: number): any
  /**
   * So many messages were dropped before the next one: the mailbox was full, or this tab was away or busy
   * for longer than the others keep messages for it.
   */
  onLost?(count: number): any
  /** The mailbox is open. Called again if it expired and another was opened in its place. */
  onOpen?(opened: Opened): any
  /** The error says why it is `offline` or `closed`, or has to be opened again. */
  onState?(state: State, error?: CometboxError): any
  /** It is over: refused, closed by the gateway, read by somebody else. No error after `close()`. */
  onClosed?(error?: CometboxError): any
  /** Keeps the mailbox over a reload of the page: `sessionStorage`. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>
  /** For several mailboxes of an app in one storage. */
  storageKey?: string
  /** Transports by preference. Default: `['websocket', 'sse', 'long-poll']`. */
  transports?: ('websocket' | 'sse' | 'long-poll')[]
  /**
   * Whether all tabs whose `app`, `baseUrl`, `open`, `headers`, `user` and `storageKey` are equal share one
   * mailbox and one connection. Default: true in a page, unless `open` is a function, which may say
   * something else in each tab.
   */
  tabs?: boolean
  /**
   * Seconds for which a read may be held, or a stream be silent: more than the gateway's `keep_alive_s`.
   * Default: 25.
   */
  wait?: number
  /** Milliseconds until a request without answer is given up, on top of `wait`. Default: 10000. */
  timeout?: number
  /** Milliseconds: bound of the first pause before a retry. Default: 500. */
  retryMin?: number
  /** Milliseconds: bound of the longest pause. Default: 15000. */
  retryMax?: number
  /**
   * Milliseconds for which a name that is taken is asked for again after an opening whose answer got
   * lost: it may be taken by ourselves, until that mailbox expires. 0: never. Default: 120000.
   */
  reclaim?: number
}

export class CometboxError extends Error {
  /** As in the protocol; `network` if no answer came, `http_error` if it was not the gateway's. */
  declare code: string
  /** HTTP status; 0 if no answer came. */
  declare status: number
  /** Why the mailbox was closed, with `closed`. */
  declare reason?: string
  /** Seconds; 0 if the gateway named none. */
  declare retryAfter: number

  constructor(what: { message: string; code: string; status: number }) {
    super(what.message)
    Object.assign(this, { name: 'CometboxError', retryAfter: 0 }, what)
  }
}

/** An error of this module as a page gets it; what `open` threw as it is. */
const forPage = (error: unknown) =>
  isFailure(error) ? new CometboxError(error) : (error as CometboxError)

/** Opens a mailbox, reads it, and keeps at it until it is closed. */
export const connect = (options: Options): Connection => new Connection(options)

export class Connection {
  /** Resolves once the mailbox is open; rejects if that is refused. */
  declare readonly opened: Promise<Opened>
  #options: Options
  #settings: Settings
  #storageKey: string
  /** Says for whom and with what the mailbox is opened, and hides it. */
  #identity: string
  #state: State = 'opening'
  #box?: Box
  #begun = false
  #resolve!: (opened: Opened) => void
  #reject!: (error: unknown) => void
  /** The page is going, perhaps for good: what is not stored now may never be. */
  #isAway = false
  // ---- the way to the hub
  #id = `${Math.random()}`
  #line!: Line
  /** Of other tabs with the same mailbox; none if this one is alone. */
  #name?: string
  #joined = false
  #left = true
  #leaves!: () => void
  /** Runs out when the hub is silent; only where no lock tells that it is gone. */
  #silence?: ReturnType<typeof setTimeout>
  /** Tabs that share the mailbox. */
  #tabs = 1
  /** The mailbox whose messages arrive, the last that arrived, the last that all tabs confirmed. */
  #key?: string
  #got = 0
  #confirmed = 0
  /** When the hub was last told what is done, in milliseconds. */
  #told = 0
  /** What arrived is handled one by one. */
  #tail = Promise.resolve()

  constructor(options: Options) {
    // Elsewhere than in a page there is no origin to be relative to.
    if (!options.baseUrl && !globalThis.location) throw new TypeError('baseUrl is needed here')
    const { app, open, headers, user, baseUrl = '', tabs = typeof open != 'function' } = options
    const url = `${baseUrl}/${encodeURIComponent(app)}/mailboxes`
    const { storageKey = PREFIX + url, transports = Object.keys(TRANSPORTS) as TransportName[] } = options
    if (!transports[0] || !transports.every((name) => name in TRANSPORTS)) throw new TypeError(`unknown transports: ${transports}`)
    const { wait = 25, timeout = 10_000, retryMin = 500, retryMax = 15_000, reclaim = 120_000 } = options
    this.#options = options
    this.#settings = { url, headers, transports, wait, timeout, retryMin, retryMax, reclaim }
    this.#storageKey = storageKey
    this.#identity = digest(JSON.stringify([WIRE_VERSION, url, storageKey, user, open, headers]))
    if (tabs && canShare()) this.#name = PREFIX + this.#identity
    this.#promise()
    this.#restore()
    for (const type of EVENTS) globalThis.addEventListener?.(type, this.#event, true)
    this.#enter()
  }

  get state(): State {
    return this.#state
  }

  /** The name of the mailbox, while there is one. */
  get mailbox(): string | undefined {
    return this.#box?.mailbox
  }

  /**
   * Sends a message to the plugin, bytes as bytes and everything else as JSON, and resolves to the
   * plugin's reply. Waits until the mailbox is open. Never sends twice: what failed with `network`
   * may have arrived. `channel` is the group it is meant for, if plugins want to know.
   */
  async send(data: any, channel?: string): Promise<any> {
    do await this.opened
    while (!this.#box)
    const { url, timeout } = this.#settings
    try {
      return (await request('POST', urlOf(url, this.#box) + (channel ? `?channel=${encodeURIComponent(channel)}` : ''), { key: this.#box.key, data, timeout })).reply
    } catch (error) {
      throw forPage(error)
    }
  }

  /** Closes the mailbox for good; one that other tabs share only for this tab. */
  async close(): Promise<void> {
    if (this.#state == 'closed') return
    const box = this.#box
    // One that is not in does not know.
    const isLast = box && this.#joined && this.#tabs < 2
    this.#say({ leave: isLast ? 'deleted' : 'closed' })
    this.#end()
    // From here, for a worker may not outlive its last tab.
    if (isLast) await close(this.#settings.url, box)
  }

  // ---- coming and going

  #enter() {
    this.#left = false
    const left = new Promise<void>((resolve) => (this.#leaves = resolve))
    const name = this.#name
    if (name) {
      this.#listen(new BroadcastChannel(name))
      void share(name, this.#id, () => this.#join(), left).then(() => {
        if (locks || this.#joined || this.#left) return
        this.#name = undefined
        this.#again()
      })
    } else {
      const [here, there] = line()
      this.#listen(here)
      const hub = new Hub(there)
      void left.then(() => hub.stop())
    }
  }

  /** Until `enter`, or for good. */
  #leave() {
    this.#left = true
    this.#joined = false
    clearTimeout(this.#silence)
    this.#leaves()
    this.#line.close()
  }

  #again() {
    this.#leave()
    this.#enter()
  }

  #listen(line: Line) {
    this.#line = line
    line.onmessage = ({ data }) => !data.from && (data.to ?? this.#id) == this.#id && this.#hear(data)
  }

  #say(what: Omit<ToHub, 'from'>) {
    if (!this.#left) this.#line.postMessage({ from: this.#id, ...what })
  }

  /** Says that it wants in, and gives what it said. */
  #join(): ToHub {
    const box = this.#box && { ...this.#box, cursor: this.#confirmed }
    const join = { settings: this.#settings, box, got: this.#got, done: this.#box?.cursor ?? 0 }
    this.#joined = false
    this.#say({ join })
    return { from: this.#id, join }
  }

  // The network or the whole machine was away, or this tab.
  #event = ({ type, persisted }: Partial<PageTransitionEvent>) => {
    if (type == 'pageshow' && !persisted) return // it is being loaded
    const isAway = type == 'freeze' || type == 'pagehide'
    const isBack = type == 'resume' || type == 'pageshow'
    this.#isAway = isAway || (this.#isAway && !isBack)
    if (this.#box) this.#store(this.#box)
    if (!isAway) {
      if (!this.#left) this.#say({ hurry: type })
      else if (isBack) this.#enter()
    } else if (this.#name) {
      // Others go on. Whoever is the hub's home hands it over.
      this.#say({ leave: 'away' })
      this.#leave()
    }
  }

  // ---- what the hub says

  #hear(news: ToTab) {
    const { hello, joined, out, box, messages = [], lost = 0, upTo = 0, tabs, confirmed, ask, state } = news
    if (this.#name && !locks) {
      clearTimeout(this.#silence)
      this.#silence = setTimeout(() => this.#again(), MAX_SILENCE_MS)
    }
    if (hello) return void this.#join()
    if (joined) this.#joined = true
    if (state == 'closed') this.#leave() // what came before is still handled
    else if (!this.#joined) return
    this.#tabs = tabs ?? this.#tabs
    if (ask) return void this.#ask()
    if (out) {
      // What comes meanwhile is not queued here, but asked for then.
      this.#joined = false
      return void this.#tail.then(() => this.#join())
    }
    if (box && box.key != this.#key) {
      this.#key = box.key
      this.#got = this.#confirmed = box.cursor
    }
    if (confirmed) {
      this.#confirmed = confirmed
      // Before the gateway is told: it would call lost what is read again from an older cursor.
      if (this.#box) this.#store(this.#box)
    }
    const unseen = messages.filter(({ seq }) => seq > this.#got)
    // A hub that has just taken over reads from an older cursor, and what was dropped since had come here.
    const missed = Math.min(lost, Math.max((messages[0]?.seq ?? upTo + 1) - 1 - this.#got, 0))
    this.#got = Math.max(this.#got, upTo)
    this.#tail = this.#tail.then(() => this.#handle(news, missed, unseen))
  }

  async #ask() {
    const { open } = this.#options
    try {
      this.#say({ open: { data: await (typeof open == 'function' ? open() : open) } })
    } catch (error) {
      // Not every error can be sent to the hub and back.
      this.#say({ open: { error: this.#name ? new Error((error as Error)?.message) : error } })
    }
  }

  async #handle({ box, resumed, upTo, state, error }: ToTab, lost: number, messages: Message[]) {
    const { onOpen, onLost, onMessage } = this.#options
    if (this.#isClosed()) return
    if (state == 'opening') {
      this.#store((this.#box = undefined))
      if (this.#begun) this.#promise()
    } else if (box && (!this.#begun || box.key != this.#box?.key)) {
      if (this.#begun) this.#promise()
      const { mailbox, reply } = (this.#box = box)
      const opened = { mailbox, reply, resumed: !!resumed }
      this.#begun = true
      this.#store(box)
      this.#resolve(opened)
      await this.#call(onOpen, opened)
    }
    if (lost && !this.#isClosed()) await this.#call(onLost, lost)
    for (const { seq, data } of messages) {
      if (this.#isClosed()) return // by a callback
      await this.#call(onMessage, data, seq)
      // Not before: a page that went away during the call gets the message again.
      this.#done(seq, Date.now() - this.#told > TELL_MS)
    }
    if (upTo) this.#done(upTo, true)
    if (this.#isClosed()) return
    if (state == 'closed') this.#end(forPage(error))
    else if (state && (error || state != this.#state)) this.#change(state, error ? forPage(error) : undefined)
  }

  #done(seq: number, tell: boolean) {
    const box = this.#box
    if (!box) return
    box.cursor = Math.max(box.cursor, seq)
    if (this.#isAway) this.#store(box)
    if (!tell) return
    this.#told = Date.now()
    this.#say({ done: box.cursor, key: box.key })
  }

  // A callback that throws is the page's bug: reported, and the next message goes on.
  async #call(callback: ((...args: any[]) => any) | undefined, ...args: unknown[]) {
    try {
      await callback?.(...args)
    } catch (error) {
      ;(globalThis.reportError ?? console.error)(error)
    }
  }

  #isClosed() {
    return this.#state == 'closed'
  }

  #change(state: State, error?: CometboxError) {
    this.#state = state
    void this.#call(this.#options.onState, state, error)
  }

  #end(error?: CometboxError) {
    for (const type of EVENTS) globalThis.removeEventListener?.(type, this.#event, true)
    this.#leave()
    // A reader that was displaced takes its mailbox back by a reload of the page.
    if (error?.code != 'displaced') this.#store(undefined)
    this.#box = undefined
    if (this.#begun) this.#promise()
    this.#reject(error ?? new CometboxError({ message: 'closed here', code: 'closed', status: 0 }))
    this.#change('closed', error)
    void this.#call(this.#options.onClosed, error)
  }

  #promise() {
    this.#begun = false
    const page = this as { opened: Promise<Opened> }
    page.opened = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.opened.catch(() => {}) // nobody has to look at it
  }

  // ---- over a reload

  #store(box?: Box) {
    const { storage } = this.#options
    try {
      if (box) storage?.setItem(this.#storageKey, JSON.stringify({ ...box, identity: this.#identity }))
      else storage?.removeItem(this.#storageKey)
    } catch {} // full or forbidden: then it does not last
  }

  #restore() {
    try {
      const { identity, ...box } = JSON.parse(this.#options.storage?.getItem(this.#storageKey) ?? 'null')
      // One that was opened by somebody else, or for something else, is not wanted.
      if (identity != this.#identity) return
      this.#box = box
      this.#key = box.key
      this.#got = this.#confirmed = box.cursor
    } catch {}
  }
}

const EVENTS = ['online', 'offline', 'freeze', 'resume', 'pagehide', 'pageshow', 'visibilitychange']
/** With slow callbacks the hub is told that often that this tab gets on, in milliseconds. */
const TELL_MS = 1000
/** A hub gives a sign of life every 5 s where it is listened for. */
const MAX_SILENCE_MS = 12_000

// This is the SharedWorker that a tab has started; its name is that of the tabs' mailbox.
const { name } = globalThis as { name?: string }
if ('SharedWorkerGlobalScope' in globalThis && name?.startsWith(PREFIX)) lead(name, new Promise(() => {}))
