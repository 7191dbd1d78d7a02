// Keys: a wrong one opens nothing, that of the page may look but not act, a host key may do both.
"use strict";

const { check } = require("./browser");

async function useKey(page, key) {
  await page.getByRole("button", { name: "Key…" }).click();
  await page.getByLabel("Key", { exact: true }).fill(key);
  await page.getByRole("button", { name: "Use it" }).click();
}

async function start(page) {
  await page.getByRole("button", { name: "Start a run…" }).click();
  await page.getByRole("button", { name: "Start", exact: true }).click();
}

module.exports = async (browser, base, keys) => {
  const page = await browser.open();
  for (const query of ["", "?code=wrong"]) {
    const refused = await page.context().request.get(`${base}/api/dashboard${query}`);
    check(refused.status() === 401, `${query}: ${refused.status()}`);
  }
  await page.goto(`${base}/api/dashboard?code=${encodeURIComponent(keys.look)}`);
  await page.getByText("No run yet.").waitFor();
  check(!page.url().includes("code="), page.url());
  await start(page);
  await page.getByRole("status").getByText("may look but not act").waitFor();
  check((await page.locator("#active article").count()) === 0, "a run was started");
  await useKey(page, "wrong");
  await page.getByRole("alert").getByText("does not open the status page").waitFor();
  await browser.picture(page, "wrong-key");
  await useKey(page, keys.act);
  await page.locator("#problem").waitFor({ state: "hidden" });
  await start(page);
  await page.locator("#active article").waitFor();
  const kept = await page.evaluate(() => [document.documentElement.outerHTML, ...Object.values(localStorage), ...Object.values(sessionStorage)].join());
  for (const key of Object.values(keys)) check(!kept.includes(key), "a key is written down");
  browser.quiet((complaint) => complaint.includes("401"));
};
