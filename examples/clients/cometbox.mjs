// The client of this project, outside of a page.
import { connect } from '../../clients/js/cometbox.js'

const box = connect({
  baseUrl: process.env.COMETBOX ?? 'http://127.0.0.1:8080',
  app: 'chat',
  open: { nick: 'cosmo', room: 'hall' },
  onMessage({ from, say }) {
    if (!say) return // somebody came or went
    console.log(`${from}: ${say}`)
    if (say == 'bye') box.close()
  },
  onClosed: (error) => error && console.error(error.message),
})
