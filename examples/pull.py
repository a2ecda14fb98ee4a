"""Works off what a group has, and ends: `pull.py SERVER GROUP`. For a cron job, or a client without streams."""
import sqlite3, sys
import grpc
from deskgate.v1 import consumer_service_pb2 as pb, consumer_service_pb2_grpc as rpc

SERVER, GROUP = sys.argv[1], sys.argv[2]
db = sqlite3.connect("pull.db")
db.execute("CREATE TABLE IF NOT EXISTS handled (event_id TEXT PRIMARY KEY)")
db.execute("CREATE TABLE IF NOT EXISTS messages (ticket_id TEXT, number INTEGER, text TEXT)")

def handle(event):
    if db.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event.event_id,)).rowcount:
        if event.type == "message.customer":
            row = (event.ticket_id, event.ticket_sequence, event.customer_message.content.text)
            db.execute("INSERT INTO messages VALUES (?, ?, ?)", row)

with grpc.insecure_channel(SERVER) as channel:
    group = rpc.ConsumerServiceStub(channel)
    while True:
        pulled = group.Pull(pb.PullRequest(group=GROUP, max_events=100, wait={"seconds": 1}, client_name="pull.py"))
        settlements = []
        with db:  # the effects of all of them, durable before they are acked
            for delivery in pulled.deliveries:  # each of another ticket
                handle(delivery.event)
                settlements.append(pb.Settlement(delivery_id=delivery.delivery_id, ack={}))
        if settlements:
            group.Settle(pb.SettleRequest(group=GROUP, settlements=settlements))
        elif pulled.caught_up:
            break
