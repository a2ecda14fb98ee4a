"""The worker of the documents as a member under test: writes down what it sees, before it settles it.

`member.py SERVER GROUP FILE [FAILURES_PER_1000 [THREADS]]`
"""

import json
import os
import random
import sys
import threading
import time

from worker import Worker, pb


class Member(Worker):
    def __init__(self, server, group, path, failures):
        self.server, self.group, self.stopping, self.leave = server, group, threading.Event(), lambda: None
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.failures = failures

    def write(self, **line):
        os.write(self.file, (json.dumps(line) + "\n").encode())

    def handle(self, delivery):
        self.write(
            what="delivered", at=time.monotonic_ns(), delivery_id=delivery.delivery_id, attempt=delivery.attempt,
            event_id=delivery.event.event_id, token=delivery.fencing_token,
        )
        failed = random.randrange(1000) < self.failures
        outcome = "retry" if failed else "ack"
        self.write(what="settling", at=time.monotonic_ns(), delivery_id=delivery.delivery_id, outcome=outcome)
        if failed:
            raise RuntimeError("as asked")

    def settled(self, result):
        self.write(what="settled", delivery_id=result.delivery_id, state=pb.SettleState.Name(result.state))


member = Member(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
member.threads = int(sys.argv[5]) if len(sys.argv) > 5 else Worker.threads
member.heartbeat = 5
member.run()
