// Durable ingest as one would write it first, in Node: express and better-sqlite3, one commit a webhook.
const express = require("express");
const Database = require("better-sqlite3");

const [token, path] = process.argv.slice(2);
const db = new Database(path);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = FULL");
db.exec(`
  CREATE TABLE events (seq INTEGER PRIMARY KEY, ticket TEXT, ticket_sequence INTEGER, id TEXT, raw BLOB,
                       UNIQUE (ticket, id));
  CREATE TABLE tickets (ticket TEXT PRIMARY KEY, last INTEGER NOT NULL);
`);
const find = db.prepare("SELECT 1 FROM events WHERE ticket = ? AND id = ?");
const next = db.prepare(
  "INSERT INTO tickets VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
);
const insert = db.prepare("INSERT INTO events (ticket, ticket_sequence, id, raw) VALUES (?, ?, ?, ?)");
const store = db.transaction((ticket, id, raw) => {
  if (find.get(ticket, id) === undefined) {
    insert.run(ticket, next.get(ticket).last, id, raw);
  }
});

const app = express();
app.use(express.raw({ type: () => true }));
app.post("/webhooks/:bot", (request, response) => {
  if (request.get("authorization") !== `Key ${token}`) {
    return response.status(401).end();
  }
  const envelope = JSON.parse(request.body.toString("utf8"));
  store(envelope.from.split("@")[0], envelope.id.replace(/^(fwd:)+/, ""), request.body);
  response.status(200).end();
});
const server = app.listen(0, "127.0.0.1", () => {
  const address = `127.0.0.1:${server.address().port}`;
  console.log(`${address} ${address}`);
});
