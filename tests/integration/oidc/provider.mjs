// A real OpenID Connect provider on loopback, with one client. Anybody may log in, under any name:
// its development pages ask for a name and a password, and then for consent.
// Reads {"client_id", "client_secret", "redirect_uri"} from stdin's first line, writes its issuer
// as one line, and ends when stdin does.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import Provider from 'oidc-provider'

const lines = createInterface({ input: process.stdin })
lines.on('close', () => process.exit(0))
lines.once('line', (line) => {
  const { redirect_uri: back, ...client } = JSON.parse(line)
  const server = createServer()
  server.listen(0, '127.0.0.1', () => {
    const issuer = `http://127.0.0.1:${server.address().port}`
    const provider = new Provider(issuer, {
      clients: [{ ...client, redirect_uris: [back] }],
      pkce: { required: () => true },
      claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({
          sub: id,
          name: `${id[0].toUpperCase()}${id.slice(1)} of the harbour`,
          email: `${id}@example.org`,
          email_verified: true
        })
      }),
      cookies: { keys: ['only for tests'] },
      ttl: { Session: 600, Grant: 600, Interaction: 600, AccessToken: 600, IdToken: 600 }
    })
    server.on('request', provider.callback())
    process.stdout.write(`${issuer}\n`)
  })
})
