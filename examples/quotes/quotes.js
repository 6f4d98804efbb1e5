import { connect } from '/cometbox.js'
import { Chart } from './chart.js'

const SYMBOLS = { MSFT: 'Microsoft', AMZN: 'Amazon', IBM: 'International Business Machines', GOOG: 'Google', AAPL: 'Apple' }
const YEAR = 366 * 86_400_000
const STATES = { opening: 'connecting…', online: 'live', offline: 'offline, trying again…', closed: 'disconnected' }

const $ = (id) => document.getElementById(id)
const money = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
const signed = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'always' })
const percent = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 1, signDisplay: 'always' })
const month = new Intl.DateTimeFormat('en', { year: 'numeric', month: 'long', timeZone: 'UTC' })

class Tile {
  #last
  #price
  #change
  #canvas
  #chart

  constructor(symbol, name, index) {
    this.symbol = symbol
    this.element = $('tile').content.firstElementChild.cloneNode(true)
    const find = (selector) => this.element.querySelector(selector)
    this.element.dataset.symbol = symbol
    this.element.style.setProperty('--series', `var(--s${index})`)
    find('h2').textContent = symbol
    find('.name').textContent = name
    this.#price = find('.price b')
    this.#change = find('.change')
    this.#canvas = find('canvas')
    this.#canvas.ariaLabel = `Chart of ${symbol}`
    this.#chart = new Chart(this.#canvas)
    this.toggle = find('input')
    this.toggle.ariaLabel = `Watch ${symbol}`
    this.toggle.addEventListener('change', () => this.#watch())
  }

  get watched() {
    return this.toggle.checked
  }

  async #watch() {
    this.element.classList.toggle('off', !this.watched)
    // While it is offline the next opening says what is watched.
    await box.send({ [this.watched ? 'watch' : 'unwatch']: [this.symbol] }).catch((error) => {
      this.toggle.checked = !this.watched
      this.element.classList.toggle('off', !this.watched)
      showLamp(box.state, error)
    })
  }

  restart() {
    this.#last = undefined
    this.#price.textContent = '–'
    this.#change.textContent = ''
    this.#chart.restart()
  }

  update({ price, time }) {
    const before = this.#last
    this.#last = { price, time }
    this.#price.textContent = money.format(price)
    this.#canvas.ariaLabel = `Chart of ${this.symbol}, last ${money.format(price)} in ${month.format(time)}`
    this.#chart.add(time, price)
    if (!before || before.price === price || time <= before.time) return
    const change = price - before.price
    this.#change.dataset.way = change > 0 ? 'up' : 'down'
    this.#change.textContent = `${change > 0 ? '▲' : '▼'} ${signed.format(change)} (${percent.format(change / before.price)})`
  }
}

const tiles = new Map(Object.entries(SYMBOLS).map(([symbol, name], i) => [symbol, new Tile(symbol, name, i)]))
$('board').append(...[...tiles.values()].map((tile) => tile.element))

// ---- the mailbox

const arrivals = [] // times of the updates in the last seconds
let lost = 0
let latest = -Infinity
let box = open()

function open() {
  return connect({
    app: 'quotes',
    // Asked for every opening: what is switched on by then.
    open: () => ({ watch: [...tiles.values()].filter((tile) => tile.watched).map((tile) => tile.symbol) }),
    onMessage(quote) {
      const tile = tiles.get(quote?.symbol)
      if (!tile?.watched || typeof quote.price !== 'number') return
      // The feed started over; the symbols are in step but for the few that wait in the mailbox.
      if (quote.time < latest - YEAR) {
        for (const tile of tiles.values()) tile.restart()
        latest = quote.time
      }
      latest = Math.max(latest, quote.time)
      tile.update(quote)
      $('date').textContent = month.format(latest)
      arrivals.push(performance.now())
    },
    onLost(count) {
      lost += count
      $('lost').hidden = false
      $('lost').textContent = `${lost} updates were lost`
    },
    onState: showLamp,
  })
}

// Nothing is kept for a page that is gone; the browser may bring it back, though.
addEventListener('pagehide', () => box.close())
addEventListener('pageshow', (event) => {
  if (event.persisted) box = open()
})

// ---- around it

function showLamp(state, error) {
  $('lamp').dataset.state = state
  $('lamp').textContent = state === 'closed' && error ? error.message : STATES[state]
  $('lamp').title = error?.message ?? ''
}

const SECONDS = 3
setInterval(() => {
  const since = performance.now() - SECONDS * 1000
  while (arrivals[0] < since) arrivals.shift()
  $('rate').textContent = (arrivals.length / SECONDS).toFixed(arrivals.length && arrivals.length < 10 * SECONDS ? 1 : 0)
}, 500)
