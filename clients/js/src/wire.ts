// What a tab and the hub say to each other, and the line between them.

/** Tabs whose scripts mean something else by this do not meet. */
export const WIRE_VERSION = 2

export type State = 'opening' | 'online' | 'offline' | 'closed'
export type TransportName = 'websocket' | 'sse' | 'long-poll'

/** An error as it goes from the hub to a tab, which makes a `CometboxError` of it. */
export interface Failure {
  code: string
  status: number
  message: string
  reason?: string
  /** Seconds. */
  retryAfter?: number
}

/** A mailbox, and what opens it. */
export interface Box {
  mailbox: string
  key: string
  /** The last seq that is done with. */
  cursor: number
  reply?: unknown
}

export interface Message {
  seq: number
  data: unknown
}

/** What a long-poll answers with, whatever the transport. */
export interface Batch {
  cursor: number
  lost: number
  messages: Message[]
  /** Seconds to wait before the next read. */
  retryAfter?: number
}

/** The part of the options that the hub needs. */
export interface Settings {
  /** Of the app's mailboxes. */
  url: string
  headers?: Record<string, string>
  transports: TransportName[]
  /** Seconds. */
  wait: number
  /** Milliseconds, as all that follow. */
  timeout: number
  retryMin: number
  retryMax: number
  reclaim: number
}

/** Of a tab that comes, or comes again. */
export interface Join {
  settings: Settings
  /** What it has, with the cursor that all tabs confirmed: where a new hub starts. */
  box?: Box
  /** The last seq it got; what came after that is missing. */
  got: number
  /** The last seq it is done with. */
  done: number
}

/** What to open with; an error is what the page's function threw. */
export interface Opening {
  data?: unknown
  error?: unknown
}

export interface ToHub {
  from: string
  join?: Join
  /** Done with everything up to this seq of the mailbox with this key. */
  done?: number
  key?: string
  /** What to open with, as asked for. */
  open?: Opening
  /** An event of the page after which the network may be another, or away: look now. */
  hurry?: string
  /** The tab goes: for a while, for good, or for good and it has closed the mailbox. */
  leave?: 'away' | 'closed' | 'deleted'
}

export interface ToTab {
  /** For one tab; without it for all. */
  to?: string
  /** Here is a new hub: join. */
  hello?: boolean
  /** You are in. */
  joined?: boolean
  /** You are out, as the others waited too long: join again when you are done with what you have. */
  out?: boolean
  /** How many tabs are in. */
  tabs?: number
  /** Say what to open with. */
  ask?: boolean
  /** The mailbox that is open now. */
  box?: Box
  resumed?: boolean
  /** With `opening` there is no mailbox, or no longer. */
  state?: State
  error?: unknown
  lost?: number
  messages?: Message[]
  /** The last seq of `messages`. */
  upTo?: number
  /** What all tabs are done with, and is about to be confirmed. */
  confirmed?: number
}

// Not there where the page is not secure; then a SharedWorker, of which there is only one anyway, must do.
export const locks = globalThis.navigator?.locks as LockManager | undefined

/** As much of a `BroadcastChannel` as is used. */
export interface Line {
  postMessage(data: ToHub | ToTab): void
  onmessage: ((event: MessageEvent) => unknown) | null
  close(): void
}

/** The two ends of a line within a tab that is alone. */
export function line(): [Line, Line] {
  const end = (other: () => Line): Line => ({
    onmessage: null,
    postMessage: (data) => other().onmessage?.({ data } as MessageEvent),
    close() {},
  })
  const here: Line = end(() => there)
  const there = end(() => here)
  return [here, there]
}
