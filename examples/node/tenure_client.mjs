// A client of tenure to copy: deadlines, retries and refusals with their reasons.
//
// Needs @grpc/grpc-js, @grpc/proto-loader and protobufjs, and the protos of this repository.
//
// Every call has a deadline for all of its attempts together. What passes by itself is tried
// again: UNAVAILABLE, and whatever the server names a time for (RetryInfo). Everything else is
// thrown as Refused, with the stable reason to act on. Trying again is safe: events go by their
// ids, and a score by its request id.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

/**
 * One thing that happened to or with a customer; docs/FORMATS.md lists types and attributes.
 * @typedef {object} Event
 * @property {string} eventId the idempotency key
 * @property {string} customer
 * @property {string} type such as "purchase"
 * @property {Date} time
 * @property {Record<string, Value>} [attributes]
 */
/** @typedef {string | number | boolean | null | string[]} Value */
/**
 * What became of events.
 * @typedef {object} Ingested
 * @property {number} accepted
 * @property {number} duplicates
 * @property {{index: number, refused: Refused}[]} refused
 */
/**
 * @typedef {object} Options
 * @property {string} protos the folder `proto` of this repository
 * @property {string} [key] shown with each call
 * @property {string} [tlsCa] file with the authorities of the server's certificate, in PEM
 * @property {number} [deadlineMs] of a call with all its attempts
 * @property {number} [attempts]
 */

// Messages of a stream that are under way at a time.
const WINDOW = 8;
const UNAVAILABLE = grpc.status.UNAVAILABLE;

// The details that google.rpc defines, as far as a client acts on them.
const text = (id) => ({ type: "string", id });
const details = protobuf.Root.fromJSON({
  nested: {
    Any: { fields: { typeUrl: text(1), value: { type: "bytes", id: 2 } } },
    Status: {
      fields: {
        code: { type: "int32", id: 1 },
        message: text(2),
        details: { rule: "repeated", type: "Any", id: 3 },
      },
    },
    ErrorInfo: {
      fields: {
        reason: text(1),
        domain: text(2),
        metadata: { keyType: "string", type: "string", id: 3 },
      },
    },
    RetryInfo: { fields: { retryDelay: { type: "Duration", id: 1 } } },
    Duration: { fields: { seconds: { type: "int64", id: 1 }, nanos: { type: "int32", id: 2 } } },
    BadRequest: { fields: { fieldViolations: { rule: "repeated", type: "Violation", id: 1 } } },
    Violation: { fields: { field: text(1), description: text(2) } },
  },
});

/** The server's refusal: `reason` is stable, the message is for people. */
export class Refused extends Error {
  /**
   * @param {number} code
   * @param {string} message
   * @param {{typeUrl: string, value: Uint8Array}[]} found
   */
  constructor(code, message, found = []) {
    super(message);
    this.code = code;
    this.reason = "";
    /** @type {Record<string, string>} */
    this.metadata = {};
    /** @type {{field: string, description: string}[]} */
    this.violations = [];
    /** @type {number | undefined} */
    this.retryAfterMs = undefined;
    for (const { typeUrl, value } of found) {
      const name = typeUrl.slice(typeUrl.lastIndexOf(".") + 1);
      if (!["ErrorInfo", "RetryInfo", "BadRequest"].includes(name)) continue;
      const detail = details.lookupType(name).decode(value);
      if (name === "ErrorInfo") {
        this.reason = detail.reason;
        this.metadata = { ...detail.metadata };
      } else if (name === "RetryInfo") {
        const { seconds = 0, nanos = 0 } = detail.retryDelay ?? {};
        this.retryAfterMs = Number(seconds) * 1_000 + nanos / 1e6;
      } else {
        this.violations = detail.fieldViolations.map((v) => ({ ...v }));
      }
    }
  }

  /** @param {grpc.ServiceError} error */
  static ofCall(error) {
    const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
    const found = bytes ? details.lookupType("Status").decode(bytes).details : [];
    return new Refused(error.code, error.details, found);
  }

  /** The status of one row, as proto-loader gives it. */
  static ofRow(status) {
    const found = status.details.map((any) => ({ typeUrl: any.type_url, value: any.value }));
    return new Refused(status.code, status.message, found);
  }

  get isPassing() {
    return this.code === UNAVAILABLE || this.retryAfterMs !== undefined;
  }
}

/** @param {Date} instant */
function timestamp(instant) {
  const millis = instant.getTime();
  const seconds = Math.floor(millis / 1_000);
  return { seconds, nanos: (millis - seconds * 1_000) * 1e6 };
}

/** @param {Value} value */
function valueOf(value) {
  if (value === null) return { nullValue: 0 };
  if (Array.isArray(value)) return { listValue: { values: value.map(valueOf) } };
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return { stringValue: value };
}

/** @param {Event} event */
function messageOf({ eventId, customer, type, time, attributes = {} }) {
  const named = Object.entries(attributes).map(([name, value]) => [name, valueOf(value)]);
  return {
    event_id: eventId,
    customer,
    type,
    event_time: timestamp(time),
    attributes: { fields: Object.fromEntries(named) },
  };
}

/** @returns {Ingested} */
function ingested(answer) {
  return {
    accepted: answer.accepted_count,
    duplicates: answer.duplicate_count,
    refused: answer.rejected.map((row) => ({
      index: row.index,
      refused: Refused.ofRow(row.error),
    })),
  };
}

/**
 * Doubles with each failure up to five seconds, at random so that callers do not come back all at
 * once, and never shorter than the server asks for.
 */
function pauseMs(failures, refused) {
  const own = (0.5 + Math.random() / 2) * Math.min(50 * 2 ** failures, 5_000);
  return Math.max(own, refused.retryAfterMs ?? 0);
}

/** One connection; share it. */
export class Tenure {
  /**
   * @param {string} address host and port
   * @param {Options} options
   */
  constructor(address, { protos, key, tlsCa, deadlineMs = 1_000, attempts = 5 }) {
    const files = ["scoring", "event"].map((name) => `tenure/v1/${name}.proto`);
    const loaded = loadSync(files, {
      includeDirs: [protos],
      keepCase: true,
      longs: Number,
      enums: String,
      defaults: true,
      oneofs: true,
    });
    const { ScoringService, EventService } = grpc.loadPackageDefinition(loaded).tenure.v1;
    const credentials =
      tlsCa === undefined
        ? grpc.credentials.createInsecure()
        : grpc.credentials.createSsl(readFileSync(tlsCa));
    const options = { "grpc.keepalive_time_ms": 30_000, "grpc.enable_retries": 0 };
    this.scoring = new ScoringService(address, credentials, options);
    this.events = new EventService(address, credentials, options);
    this.key = key;
    this.deadlineMs = deadlineMs;
    this.attempts = attempts;
  }

  close() {
    this.scoring.close();
    this.events.close();
  }

  /**
   * The score and the decision of a stored customer, as of now or an instant.
   * @param {string} customer
   * @param {{asOf?: Date}} [options]
   */
  async score(customer, { asOf } = {}) {
    const subject = { customer, as_of: asOf && timestamp(asOf) };
    const request = { subject, request_id: randomUUID() };
    return (await this.#retried(this.scoring, "ScoreCustomer", request)).score;
  }

  /**
   * Scores of one instant; a customer who has none does not harm the others.
   * @param {string[]} customers
   * @returns {Promise<(object | Refused)[]>}
   */
  async scoreMany(customers) {
    const subjects = customers.map((customer) => ({ customer }));
    const request = { subjects, request_id: randomUUID() };
    const answer = await this.#retried(this.scoring, "BatchScoreCustomers", request);
    return answer.outcomes.map((one) => one.score ?? Refused.ofRow(one.error));
  }

  /**
   * Stores up to 1,000 events; it answers once they are durable.
   * @param {Event[]} events
   */
  async ingest(events) {
    const request = { events: events.map(messageOf) };
    return ingested(await this.#retried(this.events, "IngestEvents", request));
  }

  /**
   * Stores batches on one stream and says what became of each, in their order. Batches are taken
   * a few ahead of what is acknowledged. Where the stream breaks, what is not acknowledged is sent
   * again.
   * @param {Iterable<Event[]> | AsyncIterable<Event[]>} batches
   * @returns {AsyncGenerator<Ingested>}
   */
  async *stream(batches) {
    const source = batches[Symbol.asyncIterator]?.() ?? batches[Symbol.iterator]();
    const pending = [];
    let [sequence, failures, isRead] = [0, 0, false];
    for (;;) {
      while (!isRead && pending.length < WINDOW) {
        const { done, value } = await source.next();
        if (done) {
          isRead = true;
        } else {
          sequence += 1;
          pending.push({ sequence, events: value.map(messageOf) });
        }
      }
      if (pending.length === 0) return;
      const call = this.events.StreamEvents(this.#metadata(), {
        deadline: Date.now() + this.deadlineMs * pending.length,
      });
      try {
        pending.forEach((message) => call.write(message));
        call.end();
        for await (const answer of call) {
          if (answer.acknowledged_sequence !== pending[0].sequence) {
            throw new Error(`acknowledged ${answer.acknowledged_sequence} out of turn`);
          }
          pending.shift();
          failures = 0;
          yield ingested(answer.result);
        }
      } catch (error) {
        if (error.code === undefined) throw error;
        const refused = Refused.ofCall(error);
        failures += 1;
        if (!refused.isPassing || failures >= this.attempts) throw refused;
        await sleep(pauseMs(failures, refused));
      } finally {
        call.cancel();
      }
    }
  }

  #metadata() {
    const metadata = new grpc.Metadata();
    if (this.key !== undefined) metadata.set("authorization", `Bearer ${this.key}`);
    return metadata;
  }

  async #retried(client, method, request) {
    const deadline = Date.now() + this.deadlineMs;
    for (let failures = 1; ; failures += 1) {
      try {
        return await new Promise((resolve, reject) => {
          client[method](request, this.#metadata(), { deadline }, (error, answer) =>
            error ? reject(error) : resolve(answer),
          );
        });
      } catch (error) {
        const refused = Refused.ofCall(error);
        const pause = pauseMs(failures, refused);
        const isLast = failures >= this.attempts || Date.now() + pause >= deadline;
        if (isLast || !refused.isPassing) throw refused;
        await sleep(pause);
      }
    }
  }
}
