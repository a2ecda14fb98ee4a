"""Durable ingest as one would write it first, in Python: http.server and sqlite3, one commit a webhook."""

import json
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN, PATH = sys.argv[1], sys.argv[2]

db = sqlite3.connect(PATH, check_same_thread=False, isolation_level=None)
db.executescript("""
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE events (seq INTEGER PRIMARY KEY, ticket TEXT, ticket_sequence INTEGER, id TEXT, raw BLOB,
                         UNIQUE (ticket, id));
    CREATE TABLE tickets (ticket TEXT PRIMARY KEY, last INTEGER NOT NULL);
""")
lock = threading.Lock()


def store(body: bytes) -> None:
    envelope = json.loads(body)
    ticket = envelope["from"].split("@")[0]
    identity = envelope["id"]
    while identity.startswith("fwd:"):
        identity = identity[4:]
    with lock:
        db.execute("BEGIN IMMEDIATE")
        known = db.execute("SELECT 1 FROM events WHERE ticket = ? AND id = ?", (ticket, identity)).fetchone()
        if known is None:
            (last,) = db.execute(
                "INSERT INTO tickets VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
                (ticket,),
            ).fetchone()
            db.execute(
                "INSERT INTO events (ticket, ticket_sequence, id, raw) VALUES (?, ?, ?, ?)",
                (ticket, last, identity, body),
            )
        db.execute("COMMIT")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200
        if self.headers["Authorization"] != f"Key {TOKEN}":
            status = 401
        else:
            store(body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
host, port = server.server_address[:2]
print(f"{host}:{port} {host}:{port}", flush=True)
server.serve_forever()
