// Chromium, and pages of it whose every complaint is kept: an error, a violated policy, a dialog that a text opened.
"use strict";

const { chromium } = require("playwright-core");
const fs = require("node:fs");
const path = require("node:path");

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const PATIENCE = 120_000;

// A program by its name, as a shell finds it.
const found = (name) => {
  const places = process.env.PATH.split(path.delimiter).map((place) => path.join(place, name));
  return places.find((place) => fs.existsSync(place)) ?? name;
};

const check = (is, what) => {
  if (!is) throw new Error(what);
};

class Browser {
  static async launch(executable, artifacts) {
    fs.mkdirSync(artifacts, { recursive: true });
    // Its profile is new, and gone with it.
    const chromium_ = await chromium.launch({ executablePath: found(executable), headless: true, args: ARGUMENTS });
    return new Browser(chromium_, artifacts);
  }

  constructor(chromium_, artifacts) {
    this.chromium = chromium_;
    this.artifacts = artifacts;
    this.complaints = [];
  }

  async open(options = {}) {
    const context = await this.chromium.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(`${error}`));
    page.on("dialog", (dialog) => {
      this.complaints.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    return page;
  }

  // Fails with all complaints but those that are to be.
  quiet(expected = () => false) {
    const wrong = this.complaints.filter((complaint) => !expected(complaint));
    check(wrong.length === 0, `the browser complains:\n${wrong.join("\n")}`);
  }

  async picture(page, name, options = {}) {
    await page.screenshot({ path: path.join(this.artifacts, `${name}.png`), ...options });
  }

  async close() {
    await this.chromium.close();
  }
}

// Presses Tab until the element of that accessible name has the focus.
const tabTo = async (page, name) => {
  for (let presses = 0; presses < 60; presses += 1) {
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      return element?.getAttribute("aria-label") ?? element?.textContent ?? "";
    });
    if (name.test(focused)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab never comes to ${name}`);
};

module.exports = { Browser, check, tabTo, PATIENCE };
