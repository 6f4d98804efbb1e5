// CometD's client, with acknowledgements: what a broken connection swallows comes again.
import { CometD } from 'cometd'
import { AckExtension } from 'cometd/AckExtension.js'
import { adapt } from 'cometd-nodejs-client'

adapt() // what it expects of a browser; in one there is no need

const cometd = new CometD()
cometd.registerExtension('ack', new AckExtension())
cometd.configure({ url: `${process.env.COMETBOX ?? 'http://127.0.0.1:8080'}/bayeux/bayeux`, logLevel: 'warn' })
// Also when it comes back to a gateway that has forgotten it.
cometd.addListener('/meta/handshake', ({ successful }) => {
  if (!successful) return
  cometd.subscribe('/hall', ({ data: { from, say } }) => {
    console.log(`${from}: ${say}`)
    if (say == 'bye') cometd.disconnect()
  })
})
cometd.handshake()
