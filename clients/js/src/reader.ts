// Opens a mailbox, reads it by the best transport that works and keeps at it, over lost networks and
// restarts, until it is stopped.

import { asFailure, close, request, urlOf } from './http.js'
import { DISPLACED, TRANSPORTS, type Attempt } from './transports.js'
import type { Batch, Box, Failure, Settings, State, TransportName } from './wire.js'

/** How long a transport that does not get through is left alone. */
const RETRY_BETTER_MS = 10 * 60_000
/** A stream that gives no sign of life within this time does not get through. */
const FIRST_SIGN_MS = 5000
/** On a stream: how far callbacks may be behind before reading on waits for them, in seqs. */
const MAX_AHEAD = 1000
/** On a stream: what is done with is confirmed after so much time, or so many seqs. */
const CONFIRM_MS = 1000
const CONFIRM_SEQS = 100
/** An attempt that was given up may still reach the gateway so much later, and displace our own reading. */
const STRAY_MS = 30_000
/** An attempt that lasted this long worked, even if nothing came. */
const WORKED_MS = 10_000

/** Whom the reader reads for. */
export interface Host {
  /** What to open with. */
  open(): Promise<unknown>
  opened(box: Box, resumed: boolean): void
  /** `opening`: there is no mailbox, or no longer; `closed`: it is over, and not by `stop`. */
  state(state: State, error?: unknown): void
  /** Something came; `got` is still what it was. */
  batch(batch: Batch): void
  /** This is about to be confirmed. */
  confirming(cursor: number): void
}

export class Reader {
  box?: Box
  /** The last seq that arrived. */
  got = 0
  /** The mailbox is known to be there. */
  begun = false
  state: State = 'opening'
  #settings
  #host
  #stopped = false
  // A probe is a read that is not held: whether we are online is known at once.
  #probe = true
  /** Transports that do not get through, and until when that is believed. */
  #unfit = new Map<TransportName, number>()
  #using?: TransportName
  #attempt?: Attempt
  #confirmed = 0
  #timer?: ReturnType<typeof setTimeout>
  // Ends the attempt or the pause of now.
  #interrupt = () => {}
  // Looks again how far the callbacks are.
  #wake = () => {}

  constructor(settings: Settings, host: Host, box?: Box) {
    this.#settings = settings
    this.#host = host
    this.#use(box)
  }

  /** Looks at once whether it is online. */
  hurry(otherNetwork: boolean) {
    if (otherNetwork) this.#unfit.clear()
    this.#probe = true
    this.#interrupt()
  }

  /** Changes to a better transport if it is time to try it again. */
  reconsider() {
    if (this.#using && this.#using != this.#best()) this.#interrupt()
  }

  /** Everything up to `cursor` is done with. */
  done(cursor: number) {
    if (!this.box || cursor <= this.box.cursor) return
    this.box.cursor = cursor
    this.#wake()
    if (!this.#attempt?.confirm) return
    if (cursor - this.#confirmed >= CONFIRM_SEQS) this.#confirm()
    else this.#timer ??= setTimeout(() => this.#confirm(), CONFIRM_MS)
  }

  /** The mailbox is no longer there, as is known from elsewhere. */
  forget() {
    this.#lose()
    this.hurry(false)
  }

  /** Reads no more, and closes the mailbox if that is meant. */
  stop(closed: boolean) {
    this.#stopped = true
    if (closed && this.box) void close(this.#settings.url, this.box)
    clearTimeout(this.#timer)
    this.#interrupt()
    this.#wake()
  }

  #use(box?: Box) {
    this.box = box
    this.got = this.#confirmed = box?.cursor ?? 0
    this.begun = false
    this.#wake()
  }

  /** Resolves when no more than so many seqs wait for their callbacks, or there is nothing to read any more. */
  async #caughtUp(except: number) {
    while (!this.#stopped && this.box && this.got - this.box.cursor > except)
      await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  #lose(error?: unknown) {
    this.#use()
    this.#change('opening', error)
  }

  #change(state: State, error?: unknown) {
    this.state = state
    this.#host.state(state, error)
  }

  async run() {
    const { url, timeout, wait, retryMin, retryMax, reclaim } = this.#settings
    let failures = 0
    // An opening whose answer got lost may have given the name away: to us. Until then it may be ours.
    let oursUntil = 0
    // What failed before its first sign of life. A probe tells whether that was the network.
    let suspect: TransportName | undefined
    let strayUntil = 0
    while (!this.#stopped) {
      const box = this.box
      const started = Date.now()
      let pause = 0
      let count = 0
      let using: TransportName = 'long-poll'
      let alive = false
      let interrupted = false
      let timer: ReturnType<typeof setTimeout> | undefined
      const controller = new AbortController()
      const abort = () => controller.abort()
      try {
        if (box) {
          // What is read again would be counted as lost if it was dropped meanwhile.
          await this.#caughtUp(0)
          if (this.#stopped || this.box != box) continue
          this.#confirm()
          const hold = this.#probe ? 0 : Math.max(wait, 1)
          this.#probe = false
          if (hold) this.#using = using = this.#best()
          this.#interrupt = () => {
            interrupted = true
            abort()
          }
          const { key, cursor } = box
          this.#attempt = { url: urlOf(url, box), key, cursor, wait: hold, timeout, signal: controller.signal }
          const silence = hold * 1000 + timeout
          // A network that died silently shows only by the answer that does not come.
          timer = setTimeout(abort, using == 'long-poll' ? silence : FIRST_SIGN_MS)
          for await (const batch of TRANSPORTS[using](this.#attempt)) {
            if (interrupted) break
            clearTimeout(timer)
            alive = true
            if (!this.begun) this.#begin(box, true)
            else if (this.state != 'online') this.#change('online')
            count += batch.messages.length
            pause = (batch.retryAfter ?? 0) * 1000
            this.#take(batch)
            await this.#caughtUp(MAX_AHEAD)
            if (interrupted || this.box != box) break
            timer = setTimeout(abort, silence)
          }
          if (!alive && !interrupted) throw 'silence'
          if (suspect) {
            this.#unfit.set(suspect, started + RETRY_BETTER_MS)
            if (this.#best() != suspect) failures = 0
            suspect = undefined
          }
          if (hold || count) failures = 0
          // Something on the way cuts waits short: do not run in circles.
          if (hold && !count && Date.now() - started < 500) pause ||= 1000
        } else {
          await this.#open()
          this.#probe = false
          oursUntil = 0
        }
      } catch (error) {
        if (interrupted || this.#stopped) continue
        // What the page's `open` threw is the page's.
        const failure = box ? asFailure(error) : (error as Failure)
        const { status, code, retryAfter = 0 } = failure
        if (alive && (count || Date.now() - started > WORKED_MS)) failures = 0
        const backoff = Math.random() * Math.min(retryMax, retryMin * 2 ** failures)
        const ours = code == 'name_taken' && Date.now() < oursUntil
        this.#probe = true
        suspect = undefined
        if (code == DISPLACED && Date.now() < strayUntil) {
          pause = backoff
        } else if (box && using != 'long-poll' && !alive && code != DISPLACED) {
          suspect = using
          // If it was not refused.
          if (Date.now() - started > FIRST_SIGN_MS / 2) strayUntil = Date.now() + STRAY_MS
          if (failures++) pause = backoff
        } else if (box && (status == 404 || status == 401 || code == 'bad_cursor')) {
          // It expired, so open another: at once, but not over and over.
          this.#lose(failure)
          if (failures++) pause = backoff
        } else if (ours || (code != 'rejected' && (status == 0 || status == 408 || status == 429 || status >= 500))) {
          failures++
          // Not what the gateway said, so whether it did something is not known.
          if (!box && (status == 0 || code == 'http_error' || code == 'not_kept')) oursUntil = Date.now() + reclaim
          this.#change(ours ? 'opening' : 'offline', failure)
          pause = retryAfter * 1000 + backoff
        } else {
          this.#stopped = true
          this.#change('closed', failure)
        }
      } finally {
        clearTimeout(timer)
        abort()
        this.#using = this.#attempt = undefined
      }
      if (pause && !interrupted && !this.#stopped) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, pause)
          this.#interrupt = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
    }
    clearTimeout(this.#timer)
  }

  async #open() {
    const { url, headers, timeout } = this.#settings
    const data = (await this.#host.open()) ?? null
    if (this.#stopped) return
    const { retryAfter, ...box } = await request('POST', url, { data, headers, timeout })
    if (this.#stopped) return void close(url, box)
    this.#use(box)
    this.#begin(box, false)
  }

  #begin(box: Box, resumed: boolean) {
    this.begun = true
    this.#host.opened(box, resumed)
    this.#change('online')
  }

  #take({ cursor, lost, messages }: Batch) {
    const news = messages.filter(({ seq }) => seq > this.got)
    const upTo = Math.max(this.got, cursor, news.at(-1)?.seq ?? 0)
    if (upTo == this.got && !lost) return
    this.#host.batch({ cursor: upTo, lost, messages: news })
    this.got = upTo
  }

  #confirm() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const cursor = this.box?.cursor ?? 0
    if (cursor <= this.#confirmed) return
    this.#confirmed = cursor
    this.#host.confirming(cursor)
    this.#attempt?.confirm?.(cursor)
  }

  /** The first that is not known not to get through; else the last. */
  #best(): TransportName {
    const { transports } = this.#settings
    const fit = (name: TransportName) =>
      (this.#unfit.get(name) ?? 0) <= Date.now() && (name != 'websocket' || 'WebSocket' in globalThis)
    return transports.find(fit) ?? transports.at(-1)!
  }
}
