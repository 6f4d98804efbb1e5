import { execFile, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { generate } from 'selfsigned'

const root = fileURLToPath(new URL('../..', import.meta.url))
const binary = process.env.COMETBOX_BIN ?? join(root, 'target/debug/cometbox')

const START_MS = 30_000
const STOP_MS = 15_000
const GOODBYE_MS = 1000

/** Makes the components of the plugins, as whoever serves them does. */
export async function build() {
  for (const folder of ['plugins/bayeux-open', 'tests/plugins/hostile']) {
    await promisify(execFile)(binary, ['build', join(root, folder)])
  }
}

/**
 * `cometbox serve` with two apps: `open` has the plugin bayeux-open; `lab` lets nobody subscribe,
 * opens whatever mailbox it is asked for, and replies with what it is sent.
 */
export class Gateway {
  #child
  #log = ''
  port = 0
  /** Those who leave before it ends. */
  clients = []

  static async start(t, options = {}) {
    const gateway = new Gateway()
    gateway.dir = await mkdtemp(join(tmpdir(), 'cometbox-bayeux-'))
    gateway.options = options
    t.after(() => gateway.end())
    await gateway.run()
    return gateway
  }

  get url() {
    return `http://127.0.0.1:${this.port}`
  }

  /** The same over TLS, where it has that. */
  get secureUrl() {
    return this.#log.match(/listening on (https:\/\/\S+)/)[1]
  }

  async run() {
    const { top = '', http = '', limits = '', settings = '', tls = false } = this.options
    const app = (name, folder) =>
      `[[app]]\nname = "${name}"\nplugins = [${JSON.stringify(join(root, folder))}]\npublish_keys = ["secret"]\nlimits = { ${limits} }\n`
    const config = join(this.dir, 'cometbox.toml')
    const secure = tls ? await this.#certify() : ''
    await writeFile(
      config,
      `listen = "127.0.0.1:${this.port}"\nadmin = ""\nhttp = { ${http} }\n${secure}${top}\n` +
        `${app('open', 'plugins/bayeux-open')}settings = { ${settings} }\n${app('lab', 'tests/plugins/hostile')}`,
    )
    this.#log = ''
    this.#child = spawn(binary, ['serve', '--config', config], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1' },
    })
    await new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${binary}: ${why}\n${this.#log}`))
      const timer = globalThis.setTimeout(() => fail('it does not start'), START_MS)
      this.#child.on('error', fail)
      this.#child.on('exit', (code, signal) => fail(`it ended with ${code ?? signal}`))
      this.#child.stderr.setEncoding('utf8').on('data', (text) => {
        this.#log += text
        const port = this.#log.match(/listening on http:\/\/127\.0\.0\.1:(\d+)/)?.[1]
        if (!port || (tls && !/listening on https:/.test(this.#log))) return
        clearTimeout(timer)
        this.port = Number(port)
        resolve()
      })
    })
  }

  /** Gives it a certificate of its own. @returns what the configuration says of it */
  async #certify() {
    const { cert, private: key } = await generate([{ name: 'commonName', value: '127.0.0.1' }])
    const files = [join(this.dir, 'chain.pem'), join(this.dir, 'key.pem')]
    await Promise.all([writeFile(files[0], cert), writeFile(files[1], key)])
    const [certificate, secret] = files.map((file) => JSON.stringify(file))
    return `tls = { listen = "127.0.0.1:0", certificate = ${certificate}, key = ${secret} }\n`
  }

  /** Ends it as an operator would. @returns its exit code, or the signal that it took */
  async stop() {
    const child = this.#child
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? child.signalCode
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    const timer = globalThis.setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    const [code, signal] = await ended
    clearTimeout(timer)
    return code ?? signal
  }

  async end() {
    // One that is cut off cannot say goodbye.
    const goodbye = Promise.allSettled(this.clients.map((client) => client.disconnect()))
    await Promise.race([goodbye, setTimeout(GOODBYE_MS, undefined, { ref: false })])
    await this.stop()
    await rm(this.dir, { recursive: true, force: true })
  }

  /** What a backend says: an item, or an array of them. @returns the results */
  async publish(app, item) {
    const response = await fetch(`${this.url}/${app}/publish`, {
      method: 'POST',
      headers: { authorization: 'Bearer secret', 'content-type': 'application/json' },
      body: JSON.stringify(item),
    })
    return (await response.json()).results
  }

  /** A request of a native client, such as `POST /open/mailboxes`. */
  async request(method, path, body) {
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${this.url}${path}`, { method, headers, body: JSON.stringify(body) })
    const text = await response.text()
    return { status: response.status, headers: response.headers, body: text && JSON.parse(text) }
  }

  /** Bayeux messages by hand; the replies. */
  async say(app, ...messages) {
    return (await this.request('POST', `/${app}/bayeux`, messages)).body
  }
}

/** A network in front of a gateway, which can be cut. */
export class Network {
  #open = new Set()
  #isCut = false
  #bytesLeft = Infinity
  #cutDone

  static async start(t, gateway) {
    const network = new Network()
    network.server = createServer((client) => network.#join(client, connect(gateway.port, '127.0.0.1')))
    network.server.listen(0, '127.0.0.1')
    await once(network.server, 'listening')
    network.url = `http://127.0.0.1:${network.server.address().port}`
    t.after(() => {
      network.cut()
      network.server.close()
    })
    return network
  }

  #join(client, gateway) {
    if (this.#isCut) {
      client.destroy()
      return gateway.destroy()
    }
    for (const [from, to] of [
      [client, gateway],
      [gateway, client],
    ]) {
      this.#open.add(from)
      // What is on its way is lost once the network is cut, and nobody is told.
      from.on('data', (bytes) => {
        if (this.#isCut) return
        to.write(from === gateway ? bytes.subarray(0, this.#bytesLeft) : bytes)
        if (from !== gateway) return
        this.#bytesLeft -= bytes.length
        if (this.#bytesLeft <= 0) this.cut()
      })
      from.on('error', () => {})
      from.on('close', () => {
        this.#open.delete(from)
        if (!this.#isCut) to.destroy()
      })
    }
  }

  /** From now on nothing gets through. */
  cut() {
    this.#isCut = true
    this.#cutDone?.()
  }

  /** Nothing gets through behind so many more bytes of the gateway. Resolves then. */
  cutAfter(bytes) {
    this.#bytesLeft = bytes
    return new Promise((resolve) => (this.#cutDone = resolve))
  }

  /** What was open is broken, and new connections get through again. */
  mend() {
    for (const socket of this.#open) socket.destroy()
    this.#open.clear()
    this.#isCut = false
    this.#bytesLeft = Infinity
  }
}
