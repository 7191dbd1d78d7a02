// What the page says when its data does not come, and how often it asks, by a clock of its own.
"use strict";

const { check } = require("./browser");

const DATA = "**/api/dashboard?format=json*";

module.exports = async (browser, base) => {
  const page = await browser.open();
  let asked = 0;
  page.on("request", (request) => {
    if (request.url().includes("format=json")) asked += 1;
  });
  const look = () => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  const hide = (is) => page.evaluate((value) => Object.defineProperty(document, "hidden", { value, configurable: true }), is);

  await page.clock.install();
  await page.goto(`${base}/api/dashboard`);
  await page.getByText("No run yet.").waitFor();
  check(asked === 1, `asked ${asked} times`);
  await page.clock.runFor(29_000);
  check(asked === 1, "an idle page asks more often than every half minute");
  const again = page.waitForResponse(DATA);
  await page.clock.runFor(2_000);
  await again;

  await hide(true);
  await look();
  const before = asked;
  await page.clock.runFor(600_000);
  check(asked === before, "a page that nobody sees asks");
  await hide(false);

  await page.route(DATA, (route) => route.fulfill({ status: 503, json: { error: "the state store cannot be read: <b>no route</b>" } }));
  await look();
  const problem = page.getByRole("alert");
  await problem.getByText("the state store cannot be read: <b>no route</b>").waitFor();
  check(/is .* old/.test(await problem.textContent()), "it does not say how old its data is");
  check(await page.getByText("No run yet.").isVisible(), "what was known is gone");
  await page.unroute(DATA);

  await page.route(DATA, (route) => route.abort());
  await look();
  await problem.getByText("does not answer").waitFor();
  await page.unroute(DATA);

  await page.route(DATA, async (route) => {
    const answer = await route.fetch();
    const data = await answer.json();
    data.quota.paused_until = new Date(Date.now() + 90_000).toISOString();
    await route.fulfill({ response: answer, json: data });
  });
  await look();
  await page.getByText("The service asked everyone to pause until").waitFor();
  check(!(await page.locator("#problem").isVisible()), "the problem is over and still shown");
  await page.unroute(DATA);

  await page.route(DATA, async (route) => {
    const answer = await route.fetch();
    const data = await answer.json();
    const failure = { kind: "table", run: "r", at: "2026-01-31T08:00:00Z", error: "a reason of many words and some more ".repeat(20) };
    const tables = ["DeviceNetworkEvents", "<b>without an end".repeat(40)];
    data.failures = tables.map((table) => ({ ...failure, table, destination: table }));
    await route.fulfill({ response: answer, json: data });
  });
  await look();
  await page.locator("#failures").getByText("DeviceNetworkEvents", { exact: true }).waitFor();
  const lines = await page.evaluate(() => {
    const cells = [...document.querySelectorAll("#failures tbody tr:first-child > *")].slice(0, 2);
    const high = (element) => Math.round(element.getBoundingClientRect().height / parseFloat(getComputedStyle(element).lineHeight));
    return cells.map((cell) => high(Object.assign(cell.firstElementChild, { style: "display: block" })));
  });
  check(lines[0] === 1 && lines[1] <= 2, `a long reason breaks the words beside it: ${lines} lines`);
  const at = await page.locator("#failures tbody tr:first-child td").first().innerText();
  check(/2026.*08:00.* UTC/s.test(at), `no time in UTC: ${at}`);
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  check(width[0] <= width[1], `a long name makes it scroll sideways: ${width}`);
  browser.quiet((complaint) => /503|ERR_FAILED/.test(complaint));
};
