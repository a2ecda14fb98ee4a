// A member of a consumer group: `node worker.js SERVER GROUP`, with @grpc/grpc-js and @grpc/proto-loader. Run as many as
// you like. Each event comes at least once, a ticket's in order: make the effect repeatable by `event.event_id`.
"use strict";
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const protos = process.env.DESKGATE_PROTOS || path.join(__dirname, "..", "proto");
const definition = loader.loadSync("deskgate/v1/consumer_service.proto", {
  includeDirs: [protos], keepCase: true, longs: String, enums: String, oneofs: true,
});
const { ConsumerService } = grpc.loadPackageDefinition(definition).deskgate.v1;
const ENDS = ["INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "DATA_LOSS", "UNIMPLEMENTED"].map((name) => grpc.status[name]);

class Worker {
  constructor(server, group) {
    Object.assign(this, { server, group, stopping: false, pause: 1000, heartbeat: 15 });
  }

  /** Your effect; a rejection has the event again later. */
  async handle(delivery) {
    const { event } = delivery;
    console.log(event.type, event.ticket_id, event.ticket_sequence);
  }

  /** What became of a settlement. STALE: it took too long, and somebody else has the event. */
  settled(result) {}

  /** One stream, to its end; the status it ended with. */
  follow() {
    const client = new ConsumerService(this.server, grpc.credentials.createInsecure());
    const stream = (this.stream = client.Consume());
    const out = new Map();
    let [open, heard] = [true, Date.now()];
    let silenceMax = 3000 * this.heartbeat;
    const settle = (settlement) => {
      if (!open) return;
      out.set(settlement.delivery_id, settlement);
      stream.write({ settle: { settlements: [settlement] } });
    };
    const work = async (delivery) => {
      const { delivery_id } = delivery;
      try {
        await this.handle(delivery);
        settle({ delivery_id, ack: {} });
      } catch (error) {
        settle({ delivery_id, retry: { reason: String(error).slice(0, 500) } });
      }
    };
    // Not everything that hangs is noticed below: three heartbeats of silence, and the stream is dead.
    const watchdog = setInterval(() => Date.now() - heard > silenceMax && stream.cancel(), 1000);
    stream.on("data", (response) => {
      heard = Date.now();
      this.pause = 1000;
      switch (response.message) {
        case "started":
          silenceMax = 3000 * Number(response.started.heartbeat_interval.seconds);
          break;
        case "delivery":
          work(response.delivery);
          break;
        case "settled":
          for (const result of response.settled.results) {
            const settlement = out.get(result.delivery_id);
            out.delete(result.delivery_id);
            if (result.state === "SETTLE_STATE_TRY_AGAIN" && settlement) setTimeout(settle, 1000, settlement);
            this.settled(result);
          }
      }
    });
    stream.on("error", () => {}); // "status" tells
    const heartbeat_interval = { seconds: this.heartbeat };
    stream.write({ start: { group: this.group, client_name: "worker.js", max_outstanding_events: 16, heartbeat_interval } });
    return new Promise((resolve) => stream.on("status", resolve)).finally(() => {
      open = false; // what still runs is somebody else's now
      clearInterval(watchdog);
      client.close();
    });
  }

  async run() {
    while (!this.stopping) {
      const status = await this.follow();
      if (ENDS.includes(status.code)) throw new Error(`${grpc.status[status.code]}: ${status.details}`);
      if (this.stopping) return;
      console.error(`${grpc.status[status.code]}: ${status.details}; going on`);
      await new Promise((resolve) => setTimeout(resolve, this.pause * (0.5 + Math.random() / 2)));
      this.pause = Math.min(2 * this.pause, 30_000);
    }
  }

  /** As planned: what runs is finished and settled, nothing counts as a failure. */
  stop() {
    this.stopping = true;
    this.stream.write({ stop: {} });
  }
}

module.exports = { Worker };
if (require.main === module) {
  const worker = new Worker(process.argv[2], process.argv[3]);
  process.on("SIGTERM", () => worker.stop());
  process.on("SIGINT", () => worker.stop());
  worker.run().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
