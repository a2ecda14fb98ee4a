// The worker of the documents as a member under test: writes down what it sees, before it settles it.
// `node member.js SERVER GROUP FILE [FAILURES_PER_1000]`
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { Worker } = require(path.join(__dirname, "..", "..", "examples", "worker.js"));

const [server, group, file, failures] = process.argv.slice(2);
const out = fs.openSync(file, "a");

class Member extends Worker {
  /** Numbers as they are: these do not fit JavaScript's. */
  write(line, numbers = {}) {
    const more = Object.entries(numbers).map(([name, value]) => `,"${name}":${value}`);
    fs.writeSync(out, `${JSON.stringify(line).slice(0, -1)}${more.join("")}}\n`);
  }

  async handle({ delivery_id, event, attempt, fencing_token }) {
    const now = () => process.hrtime.bigint();
    this.write({ what: "delivered", delivery_id, event_id: event.event_id }, { at: now(), attempt, token: fencing_token });
    const failed = Math.random() * 1000 < Number(failures || 0);
    this.write({ what: "settling", delivery_id, outcome: failed ? "retry" : "ack" }, { at: now() });
    if (failed) throw new Error("as asked");
  }

  settled({ delivery_id, state }) {
    this.write({ what: "settled", delivery_id, state });
  }
}

Object.assign(new Member(server, group), { heartbeat: 5 }).run();
