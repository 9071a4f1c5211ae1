// Sends a few events to a running server and scores the customers they are of.
//
//   node main.mjs HOST:PORT PROTOS

import assert from "node:assert/strict";

import { Refused, Tenure } from "./tenure_client.mjs";

const DAY_MS = 86_400_000;

/** @returns {import("./tenure_client.mjs").Event} */
function order(number, customer, daysAgo, amount) {
  return {
    eventId: `order-${customer}-${number}`,
    customer,
    type: "purchase",
    time: new Date(Date.now() - daysAgo * DAY_MS),
    attributes: { amount, channel: "web" },
  };
}

function tell(score) {
  const churn = `${score.churn_probability.toFixed(3)} in ${score.churn_horizon_days} days`;
  const value = score.clv ? score.clv.mean.toFixed(2) : "none";
  console.log(`${score.customer}: churn ${churn}, value ${value}, ${score.risk_tier}, ` +
    `${score.advice.campaign}`);
}

const [address, protos] = process.argv.slice(2);
const tenure = new Tenure(address, { protos, deadlineMs: 10_000 });

const orders = [1, 2, 3, 4, 5].map((n) => order(n, "node-anna", 30 * n, 25 + n));
orders.push(order(1, "node-ben", 200, 80), order(2, "node-ben", 1, NaN));
const answer = await tenure.ingest(orders);
console.log(`${answer.accepted} events stored, ${answer.duplicates} known before`);
for (const { index, refused } of answer.refused) {
  console.log(`event ${index} was refused (${refused.reason}): ${refused.violations[0].field}`);
}
assert.deepEqual([answer.accepted, answer.refused.length], [6, 1]);
assert.equal(answer.refused[0].refused.violations[0].field, "events[6].attributes.amount");
assert.equal((await tenure.ingest(orders.slice(0, 6))).duplicates, 6);

function* batches() {
  for (let n = 0; n < 20; n += 1) yield [order(n, `node-${n}`, 10, 10)];
}
let stored = 0;
for await (const one of tenure.stream(batches())) stored += one.accepted;
assert.equal(stored, 20);

tell(await tenure.score("node-anna"));
const [anna, nobody] = await tenure.scoreMany(["node-anna", "node-nobody"]);
assert.equal(anna.customer, "node-anna");
assert.ok(nobody instanceof Refused && nobody.reason === "CUSTOMER_UNKNOWN");
await assert.rejects(tenure.score("node-nobody"), { reason: "CUSTOMER_UNKNOWN" });

// A server that is not there: tried again until the deadline, then told.
const nowhere = new Tenure("127.0.0.1:1", { protos, deadlineMs: 500 });
const began = Date.now();
await assert.rejects(nowhere.score("node-anna"), (error) => error instanceof Refused);
assert.ok(Date.now() - began < 2_000);
nowhere.close();
tenure.close();
console.log("all checked");
