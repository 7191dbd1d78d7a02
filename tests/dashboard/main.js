// node main.js STEP BASE CHROMIUM ARTIFACTS JSON: plays one step in a browser of its own.
"use strict";

const { Browser } = require("./browser");

const [step, base, executable, artifacts, given] = process.argv.slice(2);
const STEPS = { watch: "./watch", keyboard: "./keyboard", keys: "./keys", trouble: "./trouble", picture: "./picture" };

(async () => {
  const browser = await Browser.launch(executable, artifacts);
  try {
    await require(STEPS[step])(browser, base, JSON.parse(given || "null"));
    console.log(`${step}: ok`);
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
