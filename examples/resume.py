"""Follows the log into resume.db: survives restarts of both sides, and each event takes effect once."""
import math, random, sqlite3, sys, threading, time
import grpc
from deskgate.v1 import event_service_pb2 as pb, event_service_pb2_grpc as rpc

SERVER = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
SILENCE_MAX = 3 * 15  # seconds: three heartbeats
ENDS = {grpc.StatusCode[name] for name in ("INVALID_ARGUMENT", "OUT_OF_RANGE", "DATA_LOSS", "UNIMPLEMENTED")}
db = sqlite3.connect("resume.db")
db.execute("PRAGMA journal_mode = WAL")  # one sync a commit
db.execute("CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY CHECK (id = 1), cursor TEXT NOT NULL)")
db.execute("CREATE TABLE IF NOT EXISTS handled (event_id TEXT PRIMARY KEY)")
db.execute("CREATE TABLE IF NOT EXISTS messages (ticket_id TEXT, number INTEGER, text TEXT)")

def handle(event):
    """Your effect. What it writes to `db` becomes durable together with the cursor."""
    if event.type == "message.customer":
        row = (event.ticket_id, event.ticket_sequence, event.customer_message.content.text)
        db.execute("INSERT INTO messages VALUES (?, ?, ?)", row)

def store(cursor, event=None):
    with db:  # one transaction
        if event and db.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event.event_id,)).rowcount:
            handle(event)
        db.execute("INSERT OR REPLACE INTO position VALUES (1, ?)", (cursor,))

def watch(stream, heard):
    while stream.is_active():
        if time.monotonic() - heard[0] > SILENCE_MAX:
            stream.cancel()
        time.sleep(1)

def follow(channel, heard):
    stored = db.execute("SELECT cursor FROM position").fetchone()
    start = {"after_cursor": stored[0]} if stored else {"earliest": True}
    stream = rpc.EventServiceStub(channel).Subscribe(pb.SubscribeRequest(start=start, client_name="resume.py"))
    threading.Thread(target=watch, args=(stream, heard), daemon=True).start()
    for response in stream:
        heard[0] = math.inf  # handling may take its time
        kind = response.WhichOneof("message")
        if kind == "event":
            store(response.event.cursor, response.event)
        elif kind == "going_away":
            store(response.going_away.resume_cursor)
        elif kind in ("started", "checkpoint", "caught_up", "fell_behind"):
            store(getattr(response, kind).cursor)
        heard[0] = time.monotonic()

pause = 1
while True:
    began = time.monotonic()
    heard = [began]  # when the last message came
    try:
        with grpc.insecure_channel(SERVER) as channel:
            follow(channel, heard)
    except grpc.RpcError as error:
        if error.code() in ENDS:
            sys.exit(f"{error.code().name}: {error.details()}")
        print(f"{error.code().name}: {error.details()}; going on", file=sys.stderr)
    pause = 1 if heard[0] > began else min(2 * pause, 30)
    time.sleep(random.uniform(0.5, 1) * pause)
