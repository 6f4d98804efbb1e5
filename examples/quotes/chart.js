/** Years that the axis shows at least; it grows with what comes. */
const FROM = Date.UTC(2000, 0, 1)
const TO = Date.UTC(2010, 2, 1)

const AXIS = 18 // pixels below the plot, for the years
const LABELS = 38 // and right of it, for the prices

/** A line chart of one symbol. The round before stays as a faint line while the next is drawn over it. */
export class Chart {
  #canvas
  #points = []
  #before = []
  #due = false

  constructor(canvas) {
    this.#canvas = canvas
    new ResizeObserver(() => this.draw()).observe(canvas)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw())
  }

  add(time, price) {
    const last = this.#points.at(-1)
    if (last && time < last.time) this.restart()
    if (last?.time !== time) this.#points.push({ time, price })
    this.#canvas.dataset.points = this.#points.length
    this.draw()
  }

  restart() {
    // A single point is a latecomer of the round before.
    if (this.#points.length > 1) this.#before = this.#points
    this.#points = []
    this.draw()
  }

  /** Draws before the next frame, however often it is asked to. */
  draw() {
    if (this.#due) return
    this.#due = true
    requestAnimationFrame(() => {
      this.#due = false
      this.#draw()
    })
  }

  #draw() {
    const canvas = this.#canvas
    const { clientWidth: width, clientHeight: height } = canvas
    // One canvas pixel for each of the screen's, whatever its density.
    const ratio = devicePixelRatio
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    const c = canvas.getContext('2d')
    c.scale(ratio, ratio)
    const style = getComputedStyle(canvas)
    const color = (name) => style.getPropertyValue(name).trim()

    const all = [...this.#before, ...this.#points]
    const right = width - LABELS
    const bottom = height - AXIS
    let from = FROM
    let to = TO
    let max = 0
    for (const { time, price } of all) {
      from = Math.min(from, time)
      to = Math.max(to, time)
      max = Math.max(max, price)
    }
    const step = niceStep((max || 100) / 3)
    const top = Math.ceil((max || 100) / step) * step
    const x = (time) => ((time - from) / (to - from)) * right
    const y = (price) => bottom - (price / top) * (bottom - 8)

    c.font = `11px ${style.fontFamily}`
    c.lineWidth = 1
    c.strokeStyle = color('--line')
    c.fillStyle = color('--muted')
    c.textBaseline = 'middle'
    for (let price = 0; price <= top; price += step) {
      // On the middle of a pixel, or a line of one pixel blurs over two.
      const at = Math.round(y(price)) + 0.5
      c.beginPath()
      c.moveTo(0, at)
      c.lineTo(right, at)
      c.stroke()
      c.fillText(price, right + 7, Math.max(at, 7))
    }
    c.textBaseline = 'alphabetic'
    c.textAlign = 'center'
    const years = (to - from) / 31_556_952_000
    const every = Math.max(1, Math.ceil((years * 44) / right))
    for (let year = Math.ceil(new Date(from).getUTCFullYear() / every) * every; ; year += every) {
      const at = x(Date.UTC(year, 0, 1))
      if (at > right) break
      if (at >= 0) c.fillText(year, Math.min(Math.max(at, 14), right - 8), height - 3)
    }

    const series = color('--series')
    const line = (points) => {
      c.beginPath()
      for (const { time, price } of points) c.lineTo(x(time), y(price))
    }
    c.lineJoin = c.lineCap = 'round'
    c.strokeStyle = series
    if (this.#before.length) {
      c.globalAlpha = 0.25
      c.lineWidth = 1.25
      line(this.#before)
      c.stroke()
    }
    const last = this.#points.at(-1)
    if (!last) return
    line(this.#points)
    c.globalAlpha = 1
    c.lineWidth = 2
    c.stroke()
    c.lineTo(x(last.time), bottom)
    c.lineTo(x(this.#points[0].time), bottom)
    const fade = c.createLinearGradient(0, 0, 0, bottom)
    fade.addColorStop(0, series)
    fade.addColorStop(1, 'transparent')
    c.globalAlpha = 0.16
    c.fillStyle = fade
    c.fill()
    c.globalAlpha = 1
    c.fillStyle = series
    c.beginPath()
    c.arc(x(last.time), y(last.price), 3.5, 0, 2 * Math.PI)
    c.fill()
  }
}

/** 1, 2 or 5 times a power of ten, at least `rough`. */
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough))
  return [1, 2, 5, 10].find((factor) => factor * power >= rough) * power
}
