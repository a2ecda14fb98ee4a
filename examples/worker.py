"""A member of a consumer group: `worker.py SERVER GROUP`. Run as many as you like, on any machine, and stop them as
you like: each event takes effect once, and a ticket's events in order."""
import itertools, queue, random, signal, sqlite3, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import grpc
from deskgate.v1 import consumer_service_pb2 as pb, consumer_service_pb2_grpc as rpc

ENDS = {grpc.StatusCode[name] for name in ("INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "DATA_LOSS", "UNIMPLEMENTED")}

class Worker:
    threads = 8  # events at work at a time, each of another ticket
    heartbeat = 15  # seconds of silence at most, while all is well

    def __init__(self, server, group):
        self.server, self.group, self.stopping, self.leave = server, group, threading.Event(), lambda: None
        self.db, self.lock = sqlite3.connect("worker.db", check_same_thread=False, timeout=30), threading.Lock()
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS handled (event_id TEXT PRIMARY KEY)")
        self.db.execute("CREATE TABLE IF NOT EXISTS messages (ticket_id TEXT, number INTEGER, text TEXT)")

    def handle(self, delivery):
        """Your effect, once: in one transaction with the event's id. An exception has the event again later."""
        event = delivery.event
        with self.lock, self.db:
            if self.db.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event.event_id,)).rowcount:
                if event.type == "message.customer":
                    row = (event.ticket_id, event.ticket_sequence, event.customer_message.content.text)
                    self.db.execute("INSERT INTO messages VALUES (?, ?, ?)", row)

    def settled(self, result):
        """What became of a settlement. STALE: it took too long, and somebody else has the event."""

    def work(self, delivery, said):
        settlement = pb.Settlement(delivery_id=delivery.delivery_id)
        try:
            self.handle(delivery)
            settlement.ack.SetInParent()
        except Exception as error:
            settlement.retry.reason = repr(error)
        self.settle(settlement, said)

    def settle(self, settlement, said):
        self.out[settlement.delivery_id] = settlement
        said.put(pb.ConsumeRequest(settle=pb.SettleBatch(settlements=[settlement])))

    def watch(self, stream, heard, silence_max):
        """Cancels a stream that has been silent for three heartbeats: not everything that hangs is noticed below."""
        while stream.is_active():
            if time.monotonic() - heard[0] > silence_max[0]:
                stream.cancel()
            time.sleep(1)

    def follow(self, channel, heard):
        self.out, said, silence_max = {}, queue.SimpleQueue(), [3 * self.heartbeat]
        start = pb.ConsumeStart(group=self.group, client_name="worker.py", max_outstanding_events=2 * self.threads)
        start.heartbeat_interval.seconds = self.heartbeat
        says = itertools.chain([pb.ConsumeRequest(start=start)], iter(said.get, None))
        self.leave = lambda: said.put(pb.ConsumeRequest(stop=pb.ConsumeStop()))
        if self.stopping.is_set():
            return  # told just before
        stream = rpc.ConsumerServiceStub(channel).Consume(says)
        threading.Thread(target=self.watch, args=(stream, heard, silence_max), daemon=True).start()
        pool = ThreadPoolExecutor(self.threads)
        try:
            for response in stream:
                heard[0] = time.monotonic()
                kind = response.WhichOneof("message")
                if kind == "delivery":
                    pool.submit(self.work, response.delivery, said)
                elif kind == "started":
                    silence_max[0] = 3 * response.started.heartbeat_interval.seconds
                elif kind == "settled":
                    for result in response.settled.results:
                        settlement = self.out.pop(result.delivery_id, None)
                        if result.state == pb.SETTLE_STATE_TRY_AGAIN and settlement:
                            threading.Timer(1, self.settle, (settlement, said)).start()
                        self.settled(result)
        finally:
            said.put(None)
            pool.shutdown(cancel_futures=True)  # what was not begun is somebody else's now

    def run(self):
        pause = 1
        while not self.stopping.is_set():
            began = time.monotonic()
            heard = [began]
            try:
                with grpc.insecure_channel(self.server) as channel:
                    self.follow(channel, heard)
            except grpc.RpcError as error:
                if error.code() in ENDS:
                    sys.exit(f"{error.code().name}: {error.details()}")
                print(f"{error.code().name}: {error.details()}; going on", file=sys.stderr)
            pause = 1 if heard[0] > began else min(2 * pause, 30)
            self.stopping.wait(random.uniform(0.5, 1) * pause)

    def stop(self, *_):
        """As planned: what runs is finished and settled, nothing counts as a failure."""
        self.stopping.set()
        self.leave()  # and what `stop` answers ends the stream

if __name__ == "__main__":
    worker = Worker(sys.argv[1], sys.argv[2])
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    worker.run()
