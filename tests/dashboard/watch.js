// A run from its start to its end, as somebody sees it who has the page open: it is started there, moves, and ends.
"use strict";

const { readFileSync } = require("node:fs");
const { check } = require("./browser");

const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

const plain = (text) => text.replaceAll(/[\s,.]/g, "");

async function startedByItsButton(page) {
  await page.getByText("No run yet.").waitFor();
  await page.getByRole("button", { name: "Start a run…" }).click();
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.locator("#active article").waitFor();
}

// Looks until the run is over; gives what its progress was.
async function moves(browser, page) {
  const seen = [];
  const end = page.getByRole("button", { name: /^Terminate run/ });
  await end.focus();
  let pictured = false;
  for (;;) {
    const look = await page.evaluate(() => {
      const article = document.querySelector("#active article");
      if (!article) return null;
      const bar = article.querySelector("progress");
      return { value: bar.value, max: bar.max, focused: document.activeElement?.textContent };
    });
    if (!look) break;
    check(look.focused === "Terminate…", `a refresh took the focus to ${look.focused}`);
    if (seen.at(-1) !== look.value) seen.push(look.value);
    const part = look.value / look.max;
    if (!pictured && part > 0.6 && part < 0.95) {
      await browser.picture(page, "running", { fullPage: true });
      pictured = true;
    }
    await page.waitForTimeout(100);
  }
  return seen;
}

async function ended(page, expected) {
  await page.locator("#runs tbody tr").first().getByText("Completed").waitFor();
  const rows = page.locator("#tables tbody tr");
  check((await rows.count()) === Object.keys(expected.rows).length + expected.hostile.length, "a table is missing");
  for (const [name, count] of Object.entries(expected.rows)) {
    const row = rows.filter({ has: page.getByRole("rowheader", { name, exact: true }) });
    const text = await row.innerText();
    check(plain(text).includes(`${count}`), `${name}: ${count} rows are not in ${text}`);
    check(/last run: done/.test(text) && /behind/.test(text) && /last proved/.test(text), text);
  }
  const calls = await page.locator("#chart-text").textContent();
  check(/^[\d,]+ hunting calls? in .* quota of [\d,]+ a minute/.test(calls), calls);
  check((await page.locator("#chart rect").count()) >= 1, "the chart is empty");
  await page.locator("#calls-details summary").click();
  await page.locator("#calls tbody tr").first().waitFor();
  check(/Run Completed/.test(await page.getByRole("status").textContent()), "the end was not announced");
}

async function hostileTextsAreText(page, expected) {
  for (const text of expected.hostile) {
    check((await page.locator("#tables").getByText(text, { exact: false }).count()) > 0, `${text} is not shown as it is`);
    check((await page.locator("#failures").getByText(text, { exact: false }).count()) > 0, `no failure names ${text}`);
  }
  const made = await page.evaluate(() => ({
    scripts: document.scripts.length,
    images: document.images.length,
    code: location.search,
    markup: document.documentElement.outerHTML.includes("test-key"),
  }));
  check(made.scripts === 1 && made.images === 0, `texts became elements: ${JSON.stringify(made)}`);
  check(made.code === "" && !made.markup, "the key is still to be seen");
}

async function fits(browser, base) {
  const page = await browser.open({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  await page.goto(`${base}/api/dashboard`);
  await page.locator("#runs tbody tr").first().waitFor();
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  check(width[0] <= width[1] && width[1] <= 360, `it scrolls sideways: ${width}`);
  for (const button of await page.locator("button:visible").all()) {
    const box = await button.boundingBox();
    check(box.height >= 44 && box.width >= 44, `too small to touch: ${await button.textContent()} ${JSON.stringify(box)}`);
  }
  await browser.picture(page, "phone", { fullPage: true });
  await page.context().close();
}

async function followsTheColours(browser, base) {
  const colours = {};
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.open({ colorScheme });
    await page.goto(`${base}/api/dashboard`);
    await page.locator("#runs tbody tr").first().waitFor();
    colours[colorScheme] = await page.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.body);
      return `${backgroundColor} ${color}`;
    });
    await browser.picture(page, `finished-${colorScheme}`, { fullPage: true });
    await page.context().close();
  }
  check(colours.light !== colours.dark, `both schemes are ${colours.light}`);
}

// The checker is put into the page past its policy.
async function isAccessible(browser, base) {
  for (const [name, options] of Object.entries({
    light: { colorScheme: "light" },
    dark: { colorScheme: "dark" },
    phone: { viewport: { width: 360, height: 740 } },
  })) {
    for (const dialog of ["", "#start", "#change-key"]) {
      const page = await browser.open({ ...options, bypassCSP: true });
      await page.goto(`${base}/api/dashboard`);
      await page.locator("#runs tbody tr").first().waitFor();
      if (dialog) await page.locator(dialog).click();
      await page.evaluate(AXE);
      const { violations } = await page.evaluate((values) => axe.run({ runOnly: { type: "tag", values } }), RULES);
      const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map((node) => node.html).join("\n  ")}`);
      check(told.length === 0, `${name} ${dialog}: ${told.join("\n")}`);
      await page.context().close();
    }
  }
}

module.exports = async (browser, base, expected) => {
  const page = await browser.open();
  await page.goto(`${base}/api/dashboard?code=test-key`);
  await startedByItsButton(page);
  const seen = await moves(browser, page);
  check(seen.length >= 3, `the progress did not move: ${seen}`);
  await ended(page, expected);
  await hostileTextsAreText(page, expected);
  await fits(browser, base);
  await followsTheColours(browser, base);
  browser.quiet();
  await isAccessible(browser, base);
};
