// With the keyboard alone: a run is started and terminated for a reason that is hostile.
"use strict";

const { check, tabTo } = require("./browser");

const REASON = "\"><img src=x onerror=alert(1)>";

module.exports = async (browser, base) => {
  const page = await browser.open();
  await page.goto(`${base}/api/dashboard`);
  await page.getByText("No run yet.").waitFor();
  await page.keyboard.press("Tab");
  check(await page.evaluate(() => document.activeElement.className === "skip"), "the skip link is not first");
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.activeElement.id === "main"), "the skip link leads nowhere");
  await page.reload();
  await page.getByText("No run yet.").waitFor();
  await tabTo(page, /^Start a run/);
  await page.keyboard.press("Enter");
  await tabTo(page, /^Start$/);
  await page.keyboard.press("Enter");
  await page.locator("#active article").waitFor();
  await tabTo(page, /^Terminate run/);
  await page.keyboard.press("Enter");
  await page.locator("#end-dialog[open]").waitFor();
  // Escape is the way out.
  await page.keyboard.press("Escape");
  await page.locator("#end-dialog[open]").waitFor({ state: "detached" });
  await tabTo(page, /^Terminate run/);
  await page.keyboard.press("Enter");
  await tabTo(page, /^$/);
  await page.keyboard.type(REASON);
  await page.keyboard.press("Enter");
  const row = page.locator("#runs tbody tr").first();
  await row.getByText("Terminated", { exact: true }).waitFor();
  await row.getByText(REASON).waitFor();
  await page.locator("#active article").waitFor({ state: "detached" });
  check(await page.evaluate(() => document.activeElement.id === "main"), "the focus is lost with the run");
  check(await page.evaluate(() => document.images.length === 0), "a reason became an element");
  browser.quiet();
};
