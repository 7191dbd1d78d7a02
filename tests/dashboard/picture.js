// The picture of the README: a run of many tables, halfway.
"use strict";

const { check } = require("./browser");

module.exports = async (browser, base, { first }) => {
  const page = await browser.open({ viewport: { width: 1280, height: 1180 } });
  await page.goto(`${base}/api/dashboard`);
  const start = (tables) =>
    page.evaluate((body) => fetch("/api/adxingestor/start_orchestrator", { method: "POST", body }).then((answer) => answer.status), JSON.stringify(tables ? { tables } : {}));
  check((await start(first)) === 202, "the first run does not start");
  const isOver = async () => {
    const answer = await page.context().request.get(`${base}/api/dashboard?format=json`);
    return (await answer.json()).runs[0].status === "Completed";
  };
  while (!(await isOver())) await page.waitForTimeout(500);
  check((await start()) === 202, "the second run does not start");
  await page.reload();
  await page.waitForFunction(() => {
    const done = document.querySelectorAll("#tables tbody .good").length;
    const bars = [...document.querySelectorAll("#tables progress")].filter((bar) => !bar.hidden);
    return done > 1 && bars.some((bar) => bar.value > 0.2 * bar.max && bar.value < 0.9 * bar.max);
  });
  await browser.picture(page, "status-page");
};
