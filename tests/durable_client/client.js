// Drives an app through the official client for Node, unchanged: node client.js STEP BASE [ID].
"use strict";

const assert = require("node:assert/strict");
// Without it the client takes all addresses for those of a host on port 7071.
process.env.WEBSITE_HOSTNAME = "app.example";
const durable = require("durable-functions");

const [step, base, given] = process.argv.slice(2);
const FUNCTION = "start_orchestrator";
const HUB = "taskHub=TaskHub&connection=AzureWebJobsStorage";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** A client as a function of the app is handed one, made from what its binding says. */
function clientOf(binding) {
  const input = durable.input.durableClient();
  return durable.getClient({ options: { extraInputs: [input] }, extraInputs: { get: () => binding } });
}

/** By the URLs of a payload that the app gave: what it says is all that this client knows. */
function byPayload(payload, more = "") {
  return clientOf({
    taskHubName: "TaskHub",
    creationUrls: { createNewInstancePostUri: `${base}/api/orchestrators/{functionName}[/{instanceId}]?${HUB}` },
    managementUrls: { ...payload, statusQueryGetUri: payload.statusQueryGetUri + more },
  });
}

/** By a base address alone, as clients within an app are. */
function byAddress(payload) {
  return clientOf({ taskHubName: "TaskHub", creationUrls: {}, managementUrls: payload, rpcBaseUrl: `${base}/api/` });
}

async function until(client, id, status) {
  for (let left = 600; left > 0; left -= 1) {
    const seen = await client.getStatus(id);
    if (seen.runtimeStatus === status) return seen;
    await sleep(100);
  }
  throw new Error(`${id} never came to be ${status}`);
}

async function start() {
  const answer = await fetch(`${base}/api/adxingestor/start_orchestrator`);
  const payload = await answer.json();
  assert.equal(answer.status, 202, JSON.stringify(payload));
  assert.equal(answer.headers.get("location"), payload.statusQueryGetUri);
  assert.equal(answer.headers.get("retry-after"), "10");
  return payload;
}

async function holdsAndEnds(client, id) {
  await client.suspend(id, "lunch");
  assert.equal((await until(client, id, "Suspended")).customStatus.suspended_because, "lunch");
  await client.raiseEvent(id, "noticed", { by: "nobody" });
  await client.resume(id, "back");
  await until(client, id, "Running");
  await assert.rejects(client.startNew(FUNCTION), /409/);
  await client.terminate(id, "enough");
  const ended = await client.getStatus(id, { showHistory: true, showHistoryOutput: true, showInput: false });
  // By an address the client does not say that it wants no input.
  const input = given === "payload" ? null : {};
  assert.deepEqual([ended.runtimeStatus, ended.output, ended.input], ["Terminated", "enough", input]);
  assert.ok(ended.createdTime <= ended.lastUpdatedTime && ended.name === FUNCTION);
  // It is over: all of these say so by saying nothing.
  await client.terminate(id, "again");
  await client.suspend(id, "again");
  await client.resume(id, "again");
  await assert.rejects(client.rewind(id, "again"), /410/);
}

async function startsAndWaits(client, id, tables) {
  assert.equal(await client.startNew(FUNCTION, { instanceId: id, input: { tables } }), id);
  await assert.rejects(client.startNew(FUNCTION, { instanceId: id }), /409/);
  const request = { url: `${base}/api/whatever` };
  const soon = { timeoutInMilliseconds: 1, retryIntervalInMilliseconds: 1 };
  const going = await client.waitForCompletionOrCreateCheckStatusResponse(request, id, soon);
  assert.equal(going.status, 202);
  assert.equal((await fetch(going.headers.get("location"))).status, 202);
  const long = { timeoutInMilliseconds: 60_000, retryIntervalInMilliseconds: 100 };
  const done = await client.waitForCompletionOrCreateCheckStatusResponse(request, id, long);
  assert.equal(done.status, 200);
  assert.equal((await done.json()).result.processing_summary.failed_tables, 0);
  assert.deepEqual((await client.getStatus(id)).input, { tables });
}

async function refuses(client) {
  await assert.rejects(client.getStatus("unknown"), /404/);
  for (const call of [client.terminate, client.suspend, client.resume, client.rewind]) {
    await assert.rejects(call.call(client, "unknown", "why"), /No instance with ID 'unknown' found/);
  }
  await assert.rejects(client.raiseEvent("unknown", "x", {}), /No instance with ID 'unknown' found/);
  assert.equal((await client.purgeInstanceHistory("unknown")).instancesDeleted, 0);
  await assert.rejects(client.startNew("nothing"), /400.*only one is `start_orchestrator`/);
  await assert.rejects(client.startNew(FUNCTION, { input: { table: 1 } }), /400/);
}

async function lists(client, ids) {
  const sorted = (list) => list.map((run) => run.instanceId).sort();
  assert.deepEqual(sorted(await client.getStatusAll()), [...ids].sort());
  const since = { createdTimeFrom: new Date(0), createdTimeTo: new Date(Date.now() + 60_000) };
  const ended = await client.getStatusBy({ ...since, runtimeStatus: ["Terminated", "Failed"] });
  assert.deepEqual(sorted(ended), ids.filter((id) => id.startsWith("end")).sort());
  assert.ok(ended.every((run) => run.runtimeStatus === "Terminated" && typeof run.createdTime === "string"));
  assert.deepEqual(await client.getStatusBy({ createdTimeFrom: new Date(Date.now() + 60_000) }), []);
}

async function purges(client, ids) {
  assert.equal((await client.purgeInstanceHistory(ids[0])).instancesDeleted, 1);
  assert.equal((await client.purgeInstanceHistory(ids[0])).instancesDeleted, 0);
  const none = { createdTimeFrom: new Date(0), createdTimeTo: new Date(1000) };
  assert.equal((await client.purgeInstanceHistoryBy(none)).instancesDeleted, 0);
  const all = { createdTimeFrom: new Date(0), runtimeStatus: ["Completed", "Terminated"] };
  assert.equal((await client.purgeInstanceHistoryBy(all)).instancesDeleted, ids.length - 1);
  assert.deepEqual(await client.getStatusAll(), []);
}

/** What each URL of the payload is for, by plain HTTP: there is no method for a restart in this client. */
async function followsThePayload(client, id) {
  const payload = client.createHttpManagementPayload(id);
  const call = async (uri, method) => {
    const answer = await fetch(uri.replace("{text}", "by%20hand").replace("{eventName}", "x"), {
      method,
      ...(method === "POST" && { body: "{}", headers: { "content-type": "application/json" } }),
    });
    return [answer.status, await answer.text()];
  };
  const [code, text] = await call(`${payload.restartPostUri}&timeout=60&pollingInterval=0.2`, "POST");
  assert.equal(code, 200, text);
  assert.equal(JSON.parse(text).result.processing_summary.failed_tables, 0, "the output of the new run alone");
  assert.deepEqual(await call(payload.statusQueryGetUri, "GET").then(([status]) => status), 200);
  for (const uri of ["terminatePostUri", "suspendPostUri", "resumePostUri", "rewindPostUri", "sendEventPostUri"]) {
    assert.equal((await call(payload[uri], "POST"))[0], 410, uri);
  }
  assert.deepEqual(await call(payload.purgeHistoryDeleteUri, "DELETE"), [200, '{"instancesDeleted":1}']);
}

const steps = {
  async lifecycle() {
    const payload = await start();
    const client = given === "payload" ? byPayload(payload) : byAddress(payload);
    await holdsAndEnds(client, payload.id);
    await startsAndWaits(client, "Small-1", ["AlertInfo"]);
    await refuses(client);
    await followsThePayload(client, "Small-1");
    await client.purgeInstanceHistoryBy({ createdTimeFrom: new Date(0) });

    const ids = [];
    for (const n of [1, 2, 3]) {
      const id = n === 3 ? `whole.${n}` : `end.${n}`;
      assert.equal(await client.startNew(FUNCTION, { instanceId: id, input: { tables: ["AlertInfo"] } }), id);
      if (n < 3) await client.terminate(id, "listed");
      else await until(client, id, "Completed");
      ids.push(id);
    }
    await lists(client, ids);
    // Page by page: the client follows the continuation token by itself.
    await lists(byPayload(payload, "&top=1"), ids);
    await purges(client, ids);
  },
  async rewind() {
    const client = byPayload(JSON.parse(given));
    const { id } = JSON.parse(given);
    await client.rewind(id, "mended");
    await until(client, id, "Completed");
  },
};

steps[step]().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
