// Reads one mailbox for all its tabs: hands every message to each of them, and confirms what all are done
// with. Lives in the tab that is alone, in the one that the others elected, or in a SharedWorker.

import { Reader, type Host } from './reader.js'
import { locks } from './wire.js'
import type { Batch, Box, Join, Line, Message, Opening, State, ToHub, ToTab } from './wire.js'

/** Looks at the clock and at the tabs this often. */
const TICK_MS = 5000
/** A tab that does not get on with its messages for this long no longer holds the others up. */
const MAX_BEHIND_MS = 10_000
/** For tabs that come back: this many messages stay when they are done with. */
const MAX_KEPT_MESSAGES = 200

interface Tab {
  /** The last seq it is done with. */
  done: number
  /** When it was last up to date, or got on. Milliseconds. */
  since: number
  /** Aborted when it leaves. */
  watched: AbortController
}

export class Hub implements Host {
  #line
  /** Lock that a tab holds as long as it lives; without a name there is only one tab. */
  #name
  #tabs = new Map<string, Tab>()
  #reader?: Reader
  #kept: Message[] = []
  /** Everything after this seq is among them. */
  #keptFrom = 0
  #asked?: { tab?: string; answer(open: Opening): void }
  #ticked = Date.now()
  #timer

  /** `first` is what the tab says in which it lives. */
  constructor(line: Line, name?: string, first?: ToHub) {
    this.#line = line
    this.#name = name
    line.onmessage = ({ data }) => data.from && this.#hear(data)
    // Before all others: it has been here for longer, while a newcomer would open another mailbox.
    if (first) this.#hear(first)
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    line.postMessage({ hello: true } satisfies ToTab)
  }

  /** Leaves the mailbox as it is: another hub may go on with it. */
  stop() {
    clearInterval(this.#timer)
    this.#reset()
    this.#line.close()
  }

  // ---- tabs

  #hear({ from, join, key, done, open, hurry, leave }: ToHub) {
    const tab = this.#tabs.get(from)
    if (join) this.#join(from, join)
    else if (leave) this.#leave(from, leave)
    else if (!tab) this.#tell({ to: from, out: true })
    if (!tab) return
    if (done && key == this.#reader?.box?.key) {
      tab.done = Math.max(tab.done, done)
      tab.since = Date.now()
      this.#settle()
    }
    if (open && this.#asked?.tab == from) {
      this.#asked.answer(open)
      this.#asked = undefined
    }
    // Being seen says nothing of the network, unless the clock has jumped meanwhile.
    if (hurry == 'visibilitychange') this.#tick()
    else if (hurry) this.#reader?.hurry(hurry == 'online')
  }

  #join(from: string, { settings, box, got, done }: Join) {
    this.#tabs.get(from)?.watched.abort()
    const watched = new AbortController()
    const { signal } = watched
    // Granted when the tab is gone, however it went.
    if (this.#name) locks?.request(`${this.#name} ${from}`, { signal }, () => this.#leave(from, 'away')).catch(() => {})
    const isFirst = !this.#reader
    const reader = (this.#reader ??= new Reader(settings, this, box))
    const { got: now, box: ours } = reader
    if (isFirst) this.#keptFrom = now
    const same = box && box.key == ours?.key
    this.#tabs.set(from, { done: same ? done : now, since: Date.now(), watched })
    const missed = same ? this.#kept.filter(({ seq }) => seq > got) : []
    this.#tell({
      to: from,
      joined: true,
      ...(reader.begun && {
        box: { ...ours!, cursor: same ? got : now },
        resumed: true,
        state: reader.state,
        lost: same ? Math.max(this.#keptFrom - got, 0) : 0,
        messages: missed,
        upTo: now,
        confirmed: ours!.cursor,
      }),
    })
    this.#tell({ tabs: this.#tabs.size })
    if (isFirst) void reader.run()
  }

  #leave(from: string, how: 'away' | 'closed' | 'deleted') {
    const reader = this.#reader
    const tab = this.#tabs.get(from)
    if (!tab) return
    tab.watched.abort()
    this.#tabs.delete(from)
    if (this.#tabs.size) {
      this.#tell({ tabs: this.#tabs.size })
      // Another tab came just when the last one went.
      if (how == 'deleted') reader?.forget()
      if (this.#asked?.tab == from) this.#ask()
      this.#settle()
    } else {
      this.#reset(how == 'closed')
    }
  }

  #tick() {
    const now = Date.now()
    // Timers of a tab that is not seen are late as a rule; it says when it is seen again.
    const isSeen = !globalThis.document?.hidden
    const slept = isSeen && now - this.#ticked > 2 * TICK_MS
    if (isSeen) this.#ticked = now
    if (slept) this.#reader?.hurry(false)
    else this.#reader?.reconsider()
    for (const [id, tab] of this.#tabs) {
      if (slept) tab.since = now
      else if (tab.done < this.#got && this.#tabs.size > 1 && now - tab.since > MAX_BEHIND_MS) {
        this.#leave(id, 'away')
        this.#tell({ to: id, out: true })
      }
    }
    // Without locks only silence tells that a hub is gone.
    if (!locks) this.#tell({})
  }

  #tell(news: ToTab) {
    this.#line.postMessage(news)
  }

  /** Nobody is left to read for. */
  #reset(closed = false) {
    this.#reader?.stop(closed)
    for (const { watched } of this.#tabs.values()) watched.abort()
    this.#tabs.clear()
    this.#reader = this.#asked = undefined
    this.#kept = []
  }

  // ---- what the reader asks and tells

  get #got() {
    return this.#reader?.got ?? 0
  }

  async open() {
    const { data, error } = await new Promise<Opening>((answer) => {
      this.#asked = { answer }
      this.#ask()
    })
    if (error) throw error
    return data
  }

  #ask() {
    const [tab] = this.#tabs.keys()
    this.#asked!.tab = tab
    this.#tell({ to: tab, ask: true })
  }

  opened(box: Box, resumed: boolean) {
    if (!resumed) {
      this.#kept = []
      this.#keptFrom = box.cursor
      for (const tab of this.#tabs.values()) tab.done = box.cursor
    }
    this.#tell({ box: { ...box }, resumed })
  }

  state(state: State, error?: unknown) {
    this.#tell({ state, error })
    if (state == 'closed') this.#reset()
  }

  batch({ cursor, lost, messages }: Batch) {
    if (this.#name) {
      if (lost) {
        this.#kept = []
        this.#keptFrom = (messages[0]?.seq ?? cursor + 1) - 1
      }
      this.#kept.push(...messages)
      const gone = this.#kept.splice(0, Math.max(this.#kept.length - MAX_KEPT_MESSAGES, 0))
      this.#keptFrom = gone.at(-1)?.seq ?? this.#keptFrom
    }
    for (const tab of this.#tabs.values()) if (tab.done >= this.#got) tab.since = Date.now()
    this.#tell({ lost, messages, upTo: cursor })
  }

  confirming(cursor: number) {
    this.#tell({ confirmed: cursor })
  }

  #settle() {
    this.#reader?.done(Math.min(this.#got, ...Array.from(this.#tabs.values(), (tab) => tab.done)))
  }
}
