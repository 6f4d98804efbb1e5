// Faye's client: it subscribes again by itself when it comes back.
import faye from 'faye'

const client = new faye.Client(`${process.env.COMETBOX ?? 'http://127.0.0.1:8080'}/bayeux/bayeux`)
client.subscribe('/hall', ({ from, say }) => {
  console.log(`${from}: ${say}`)
  if (say == 'bye') client.disconnect()
})
