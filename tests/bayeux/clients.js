// Three clients, unchanged, behind the same few methods.
import { createRequire } from 'node:module'
import { adapt } from 'cometd-nodejs-client'
import { CometD } from 'cometd'
import { AckExtension } from 'cometd/AckExtension.js'
import faye from 'faye'

adapt() // gives CometD the XMLHttpRequest and WebSocket that it expects of a browser
const require = createRequire(import.meta.url)
const cometd7 = require('cometd7')
const AckExtension7 = require('cometd7/AckExtension')

/** Messages in the order in which they came, and a way to wait for them. */
export class Heard {
  messages = []
  #waiting = []

  add(message) {
    this.messages.push(message)
    this.#waiting = this.#waiting.filter(([is, resolve]) => !is(message, this.messages) || resolve(message))
  }

  /** The data alone. */
  get data() {
    return this.messages.map((message) => message.data)
  }

  /** Resolves to the first message, heard or to come, that is wanted. */
  until(is) {
    const there = this.messages.find((message) => is(message, this.messages))
    return there ? Promise.resolve(there) : new Promise((resolve) => this.#waiting.push([is, resolve]))
  }

  count(count) {
    return this.until((_, messages) => messages.length >= count)
  }

  has(data) {
    return this.until((message) => message.data === data)
  }
}

class CometDClient {
  /** What came over the channels of the protocol. */
  meta = new Heard()

  /** @param type of the only transport; all without. @param extension sees what goes out last of all */
  constructor(Client, Ack, url, { type, acks = false, ext = {}, config = {}, extension }) {
    this.cometd = new Client()
    this.isPinned = Boolean(type)
    for (const other of ['websocket', 'long-polling', 'callback-polling']) {
      if (type && other !== type) this.cometd.unregisterTransport(other)
    }
    if (extension) this.cometd.registerExtension('test', extension)
    if (acks) this.cometd.registerExtension('ack', typeof Ack === 'function' ? new Ack() : Ack)
    this.cometd.configure({ url, logLevel: 'off', maxBackoff: 1000, backoffIncrement: 100, ...config })
    for (const kind of ['handshake', 'connect', 'disconnect', 'subscribe', 'publish', 'unsuccessful']) {
      this.cometd.addListener(`/meta/${kind}`, (message) => this.meta.add(message))
    }
    this.ext = ext
  }

  #call(method, ...args) {
    return new Promise((resolve, reject) =>
      this.cometd[method](...args, (reply) => (reply.successful ? resolve(reply) : reject(new Error(reply.error ?? JSON.stringify(reply))))),
    )
  }

  handshake() {
    if (this.isPinned) return this.#call('handshake', { ext: this.ext })
    // That a transport failed is told, too, before the next one is tried.
    this.cometd.handshake({ ext: this.ext })
    return this.meta.until(({ channel, successful }) => channel === '/meta/handshake' && successful)
  }

  get id() {
    return this.cometd.getClientId()
  }

  async subscribe(channel, heard = new Heard()) {
    let subscription
    await new Promise((resolve, reject) => {
      subscription = this.cometd.subscribe(
        channel,
        // One who listens to /** is told of the client's own doings, too.
        (message) => 'data' in message && heard.add(message),
        (reply) => (reply.successful ? resolve() : reject(new Error(reply.error))),
      )
    })
    heard.leave = () => this.#call('unsubscribe', subscription)
    return heard
  }

  publish(channel, data) {
    return this.#call('publish', channel, data)
  }

  /** What arrives on a channel, without a subscription. */
  listen(channel) {
    const heard = new Heard()
    this.cometd.addListener(channel, (message) => heard.add(message))
    return heard
  }

  async disconnect() {
    if (!this.cometd.isDisconnected()) await this.#call('disconnect')
  }
}

/** As it was on the wire. */
const rejected = ({ code, params, message }) => {
  throw new Error(`${code}:${params}:${message}`)
}

class FayeClient {
  meta = new Heard()

  constructor(url, { type, ext = {} }) {
    this.faye = new faye.Client(url, { retry: 0.2 })
    // It shakes hands by long-polling, and goes over to a WebSocket if it may.
    if (type !== 'websocket') this.faye.disable('websocket')
    this.faye.addExtension({
      incoming: (message, next) => {
        if (message.channel?.startsWith('/meta/')) this.meta.add(message)
        next(message)
      },
      outgoing: (message, next) => {
        if (message.channel === '/meta/handshake') message.ext = ext
        next(message)
      },
    })
  }

  handshake() {
    return new Promise((resolve, reject) => {
      this.meta.until((message) => message.channel === '/meta/handshake').then((reply) => {
        if (!reply.successful) reject(new Error(reply.error))
      })
      this.faye.connect(() => resolve(this.meta.messages.find((message) => message.channel === '/meta/handshake')))
    })
  }

  get id() {
    return this.faye._dispatcher.clientId
  }

  async subscribe(channel, heard = new Heard()) {
    const subscription = this.faye.subscribe(channel)
    subscription.withChannel((channel, data) => heard.add({ channel, data }))
    await subscription.then(undefined, rejected)
    heard.leave = async () => subscription.cancel()
    return heard
  }

  async publish(channel, data) {
    await this.faye.publish(channel, data).then(undefined, rejected)
  }

  async disconnect() {
    await this.faye.disconnect()
  }
}

const cometd9 = (url, options) => new CometDClient(CometD, AckExtension, url, options)
const cometd7s = (url, options) => new CometDClient(cometd7.CometD, AckExtension7, url, options)

/** Each client by each of its transports; those of CometD acknowledge. */
export const clients = [
  { name: 'cometd 9, long-polling', create: (url, more) => cometd9(url, { type: 'long-polling', acks: true, ...more }), acks: true },
  { name: 'cometd 9, websocket', create: (url, more) => cometd9(url, { type: 'websocket', acks: true, ...more }), acks: true },
  { name: 'cometd 7, long-polling', create: (url, more) => cometd7s(url, { type: 'long-polling', acks: true, ...more }), acks: true },
  { name: 'cometd 7, websocket', create: (url, more) => cometd7s(url, { type: 'websocket', acks: true, ...more }), acks: true },
  { name: 'cometd 9, long-polling, without acks', create: (url, more) => cometd9(url, { type: 'long-polling', ...more }), acks: false },
  { name: 'faye, long-polling', create: (url, more) => new FayeClient(url, { type: 'long-polling', ...more }), acks: false },
  { name: 'faye, websocket', create: (url, more) => new FayeClient(url, { type: 'websocket', ...more }), acks: false },
]

/** Each client with all its transports, of which it chooses by itself. */
export const unpinned = [
  { name: 'cometd 9', create: (url, more) => cometd9(url, { acks: true, config: { connectTimeout: 1000 }, ...more }) },
  { name: 'cometd 7', create: (url, more) => cometd7s(url, { acks: true, config: { connectTimeout: 1000 }, ...more }) },
  { name: 'faye', create: (url, more) => new FayeClient(url, { type: 'websocket', ...more }) },
]

/** A client of an app that has shaken hands, and leaves before the gateway ends. */
export async function join(gateway, kind, more = {}) {
  const { app = 'open', base = gateway.url } = more
  const client = kind.create(`${base}/${app}/bayeux`, more)
  gateway.clients.push(client)
  client.hello = await client.handshake()
  return client
}
