"use strict";
// Fills the page and keeps it fresh. Texts that others wrote go into text nodes alone, never into markup.
(() => {
  const ACTIVE_MS = 3_000;
  const IDLE_MS = 30_000;
  const ALL_EVERY_MS = 60_000;
  const PATIENCE_MS = 20_000;
  const SVG = "http://www.w3.org/2000/svg";
  const LOOK_ONLY = "This key may look but not act. Use a host key of the app to start, terminate and retry.";

  const $ = (id) => document.getElementById(id);
  const here = new URL(location.href);
  const base = here.pathname.replace(/dashboard\/?$/i, "");

  // The key leaves the address bar, the history and what is copied from them.
  let key = here.searchParams.get("code") ?? "";
  if (here.searchParams.has("code")) {
    here.searchParams.delete("code");
    history.replaceState(null, "", here);
  }

  let shown = null;
  let readAt = 0;
  let allAt = 0;
  let timer = 0;
  let reading = null;
  let failures = 0;

  // Text and elements ----------------------------------------------------------------------------------------------

  const put = (element, text) => {
    const wanted = text ?? "";
    if (element.textContent !== wanted) element.textContent = wanted;
  };
  const make = (name, attributes = {}, text) => {
    const element = document.createElement(name);
    for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const child = (parent, name, attributes) =>
    parent.querySelector(`:scope > ${name}`) ?? parent.appendChild(make(name, attributes));
  // What goes away hands its focus on, so that the keyboard never starts anew at the top of the document.
  const letGoOf = (element) => {
    if (element.contains(document.activeElement)) $("main").focus({ preventScroll: true });
  };
  const show = (element, is) => {
    if (!is) letGoOf(element);
    element.hidden = !is;
  };

  const time = (text) => new Date(text.replace(/(\.\d{3})\d+/, "$1"));
  // As the command line has them.
  const UTC = { timeZone: "UTC" };
  const clock = (at) => `${at.toLocaleTimeString([], { ...UTC, hour: "2-digit", minute: "2-digit" })} UTC`;
  const second = (at) => `${at.toLocaleTimeString([], UTC)} UTC`;
  const moment = (text) => {
    const at = time(text);
    return at.getUTCFullYear() < 1900 ? "the beginning" : `${at.toLocaleString([], { ...UTC, dateStyle: "medium", timeStyle: "short" })} UTC`;
  };
  const count = (number) => number.toLocaleString();
  const many = (number, one, more) => `${count(number)} ${number === 1 ? one : (more ?? `${one}s`)}`;
  const span = (seconds) => {
    const units = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
    const first = units.findIndex(([, length]) => seconds >= length);
    if (first < 0) return "0 s";
    const [[unit, length], next] = [units[first], units[first + 1]];
    const rest = next ? Math.floor((seconds % length) / next[1]) : 0;
    return `${Math.floor(seconds / length)} ${unit}${rest ? ` ${rest} ${next[0]}` : ""}`;
  };
  const bytes = (number) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    for (; number >= 1_000 && unit < units.length - 1; unit += 1) number /= 1_000;
    return `${number.toLocaleString([], { maximumFractionDigits: unit ? 1 : 0 })} ${units[unit]}`;
  };

  // Children by their keys: what stays is changed in place, so that focus and a screen reader's place stay too.
  const keyed = (parent, items, keyOf, create, update) => {
    const names = items.map(keyOf).map((name, index, all) => (all.indexOf(name) === index ? name : `${name}#${index}`));
    const wanted = new Set(names);
    const known = new Map();
    for (const element of [...parent.children]) {
      if (wanted.has(element.dataset.key)) {
        known.set(element.dataset.key, element);
      } else {
        letGoOf(element);
        element.remove();
      }
    }
    let next = parent.firstElementChild;
    items.forEach((item, index) => {
      let element = known.get(names[index]);
      if (!element) {
        element = create(item);
        element.dataset.key = names[index];
      }
      if (element === next) next = next.nextElementSibling;
      else parent.insertBefore(element, next);
      update(element, item);
    });
  };

  // Roles are spelled out: on narrow screens the style shows rows as blocks, and browsers would forget them.
  const table = (element, columns, items, keyOf) => {
    element.setAttribute("role", "table");
    if (!element.tHead) {
      const row = element.createTHead().insertRow();
      element.tHead.setAttribute("role", "rowgroup");
      row.setAttribute("role", "row");
      for (const { label, kind } of columns) {
        row.append(make("th", { scope: "col", role: "columnheader", class: kind ?? "" }, label));
      }
      element.createTBody().setAttribute("role", "rowgroup");
    }
    const create = () => {
      const row = make("tr", { role: "row" });
      columns.forEach(({ label, kind }, index) => {
        const cell = index === 0
          ? make("th", { scope: "row", role: "rowheader" })
          : make("td", { role: "cell", "data-label": label, class: kind ?? "" });
        row.append(cell);
      });
      return row;
    };
    const update = (row, item) => columns.forEach(({ fill }, index) => fill(row.children[index], item));
    keyed(element.tBodies[0], items, keyOf, create, update);
    show(element, items.length > 0);
  };
  const text = (of) => (cell, item) => put(cell, of(item));
  const lines = (of) => (cell, item) => {
    const [main, ...more] = of(item);
    put(child(cell, "span"), main);
    const kept = more.filter(Boolean);
    const small = [...cell.querySelectorAll(":scope > .small")];
    while (small.length < kept.length) small.push(cell.appendChild(make("span", { class: "small" })));
    small.forEach((element, index) => {
      put(element, kept[index]);
      show(element, index < kept.length);
    });
  };
  const button = (parent, label, kind, act) => {
    const element = make("button", { type: "button", class: kind }, label);
    element.addEventListener("click", act);
    parent.append(element);
    return element;
  };

  // Calls ----------------------------------------------------------------------------------------------------------

  const call = (path, options = {}) => {
    const headers = { accept: "application/json", ...options.headers };
    if (key) headers["x-functions-key"] = key;
    const rest = { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS) };
    return fetch(base + path, { ...rest, ...options, headers });
  };
  const reasonOf = async (answer) => {
    const said = await answer.text().catch(() => "");
    try {
      return JSON.parse(said).error ?? said;
    } catch {
      return said;
    }
  };
  const say = (message) => put($("message"), message);

  const act = async (path, body, done) => {
    try {
      const answer = await call(path, { method: "POST", body, headers: { "content-type": "application/json" } });
      if (answer.status === 401 || answer.status === 403) {
        say(LOOK_ONLY);
        return;
      }
      say(answer.ok ? done : `Refused (${answer.status}): ${(await reasonOf(answer)) || "no reason was given"}`);
    } catch (error) {
      say(`The app did not answer (${error.message}); look below at what became of it.`);
    }
    await refresh(true);
  };
  const start = (tables) => {
    const body = JSON.stringify(tables ? { tables } : {});
    const what = tables ? tables.join(", ") : "all active tables";
    return act("adxingestor/start_orchestrator", body, `A run of ${what} is started.`);
  };
  const terminate = (id, reason) =>
    act(`terminate/${encodeURIComponent(id)}${reason ? `?reason=${encodeURIComponent(reason)}` : ""}`, "", "The run is terminated.");
  const rewind = (id) =>
    act(`instances/${encodeURIComponent(id)}/rewind?reason=status%20page`, "", "The run begins again with what failed.");

  // Dialogs --------------------------------------------------------------------------------------------------------

  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  }
  const onSubmit = (dialog, work) =>
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (work() !== false) dialog.close();
    });

  const sources = () => [...new Set((shown?.tables ?? []).map((row) => row.table))];
  const opened = () => {
    const choices = sources().map((name) => {
      const label = make("label");
      label.append(make("input", { type: "checkbox", name: "table", value: name }), make("span", {}, name));
      const line = make("p");
      line.append(label);
      return line;
    });
    $("choices").replaceChildren(...choices);
    $("some").disabled = choices.length === 0;
    put($("start-wrong"), "");
    $("start-dialog").showModal();
  };
  $("start").addEventListener("click", opened);
  $("choices").addEventListener("change", () => {
    $("some").checked = true;
  });
  onSubmit($("start-dialog"), () => {
    if (!$("some").checked) return void start(null);
    const chosen = [...$("choices").querySelectorAll("input:checked")].map((input) => input.value);
    put($("start-wrong"), chosen.length ? "" : "Choose at least one table.");
    return chosen.length ? void start(chosen) : false;
  });

  let ending = null;
  const askToEnd = (id) => {
    ending = id;
    put($("end-title"), `Terminate run ${id}?`);
    $("reason").value = "";
    $("end-dialog").showModal();
  };
  onSubmit($("end-dialog"), () => void terminate(ending, $("reason").value.trim()));

  $("change-key").addEventListener("click", () => $("key-dialog").showModal());
  onSubmit($("key-dialog"), () => {
    key = $("key").value.trim();
    $("key").value = "";
    say("");
    refresh(true);
  });

  // What is shown --------------------------------------------------------------------------------------------------

  const progressBar = (cell, row) => {
    const bar = child(cell, "progress", {});
    const ended = row.windows_done + row.windows_failed + row.windows_expired;
    show(bar, row.windows > 0);
    bar.max = Math.max(row.windows, 1);
    bar.value = Math.min(ended, bar.max);
    bar.setAttribute("aria-label", `Progress of ${row.table}`);
    const parts = [`${count(ended)} of ${many(row.windows, "window")}`];
    if (row.windows_failed) parts.push(`${count(row.windows_failed)} failed`);
    if (row.windows_expired) parts.push(`${count(row.windows_expired)} gone at the source`);
    put(child(cell, "span", { class: "small" }), row.windows ? parts.join(", ") : "");
  };
  const stateOf = (row) => {
    const words = { done: row.skipped ? "nothing to do" : "done", failed: "failed" };
    const until = row.waiting_for_quota_until;
    const state = words[row.state] ?? row.state;
    return [
      row.active ? state : `last run: ${state}`,
      row.skipped ?? "",
      until && row.active ? `waits for the quota until ${second(time(until))}` : "",
      row.failed_windows ? `${many(row.failed_windows, "window")} failed and still to be copied` : "",
      row.later_windows ? `${many(row.later_windows, "window")} left for a later run` : "",
    ];
  };
  const lagOf = (row) => {
    if (!row.verified_up_to) return ["not proved yet"];
    const proved = row.last_proved ? `last proved ${moment(row.last_proved)}` : "not proved by the last runs";
    if (row.loaded_once) return ["loaded once", proved];
    const seconds = Math.max(0, (time(shown.now) - time(row.verified_up_to)) / 1_000);
    return [`${span(seconds)} behind`, `up to ${moment(row.verified_up_to)}`, proved];
  };
  const TABLES = [
    { label: "Table", fill: lines((row) => [row.table, row.destination === row.table ? "" : `to ${row.destination}`]) },
    {
      label: "State",
      fill: (cell, row) => {
        lines(stateOf)(cell, row);
        cell.firstElementChild.className = { done: "good", failed: "bad" }[row.state] ?? "";
      },
    },
    { label: "Progress", kind: "wide", fill: progressBar },
    { label: "Rows", kind: "number", fill: text((row) => count(row.rows)) },
    { label: "Bytes", kind: "number", fill: text((row) => bytes(row.bytes)) },
    { label: "Calls", kind: "number", fill: text((row) => count(row.calls)) },
    { label: "Behind", fill: lines(lagOf) },
  ];

  const rangeOf = ([low, high]) => `rows after ${moment(low)} up to ${moment(high)}`;
  const FAILURES = [
    {
      label: "What",
      fill: lines((failure) => [
        failure.table ?? `Run ${failure.run}`,
        failure.kind === "window" ? `a window, ${rangeOf(failure.range)}` : "",
        failure.destination && failure.destination !== failure.table ? `to ${failure.destination}` : "",
      ]),
    },
    {
      label: "When",
      fill: lines((failure) => [moment(failure.at), failure.mended ? "mended by a later run" : ""]),
    },
    { label: "Reason", kind: "wide error", fill: text((failure) => failure.error) },
    {
      label: "Retry",
      kind: "wide",
      fill: (cell, failure) => {
        if (failure.table && !cell.firstElementChild) {
          const retry = button(cell, "Retry", "", () => start([failure.table]));
          retry.setAttribute("aria-label", `Retry ${failure.table}`);
        }
        if (cell.firstElementChild) show(cell.firstElementChild, !failure.mended);
      },
    },
  ];

  const tablesOf = (run) => {
    const good = `${count(run.tables_done)} of ${many(run.tables_total, "table")} done`;
    return run.tables_failed ? `${good}, ${count(run.tables_failed)} failed` : good;
  };
  const RUNS = [
    { label: "Run", fill: lines((run) => [moment(run.created), run.id]) },
    {
      label: "State",
      fill: (cell, run) => {
        lines(() => [run.status, run.note ?? ""])(cell, run);
        const failed = run.status === "Failed" || run.tables_failed > 0;
        cell.firstElementChild.className = failed ? "bad" : run.status === "Completed" ? "good" : "";
      },
    },
    { label: "Tables", fill: text(tablesOf) },
    { label: "Rows", kind: "number", fill: text((run) => count(run.rows)) },
    { label: "Took", kind: "number", fill: text((run) => span(run.duration_seconds)) },
    {
      label: "Retry",
      kind: "wide",
      fill: (cell, run) => {
        if (!cell.firstElementChild && run.can_rewind) {
          const again = button(cell, "Retry", "", () => rewind(run.id));
          again.setAttribute("aria-label", `Retry what failed in run ${run.id}`);
        }
        if (cell.firstElementChild) show(cell.firstElementChild, run.can_rewind);
      },
    },
  ];

  const activeRun = (run) => {
    const element = make("article", { class: "run" });
    element.append(make("h3"), make("progress"), make("p"), make("p", { class: "quiet" }), make("div", { class: "buttons" }));
    const end = button(element.lastElementChild, "Terminate…", "danger", () => askToEnd(run.id));
    end.setAttribute("aria-label", `Terminate run ${run.id}`);
    return element;
  };
  const updateActive = (element, run) => {
    const [title, bar, line, note] = element.children;
    put(title, `Run ${run.id}`);
    const rows = shown.tables.filter((row) => row.active && row.run === run.id);
    const windows = rows.reduce((sum, row) => sum + row.windows, 0);
    const ended = rows.reduce((sum, row) => sum + row.windows_done + row.windows_failed + row.windows_expired, 0);
    // By tables: how many windows those will have that are not planned yet, nobody knows.
    const partOf = (row) => {
      if (row.state === "done" || row.state === "failed") return 1;
      return row.windows ? Math.min(1, (row.windows_done + row.windows_failed + row.windows_expired) / row.windows) : 0;
    };
    bar.setAttribute("aria-label", `Progress of run ${run.id}`);
    bar.max = Math.max(run.tables_total, 1);
    bar.value = Math.min(bar.max, rows.reduce((sum, row) => sum + partOf(row), 0));
    const parts = [run.status, tablesOf(run), `${count(ended)} of ${many(windows, "window")} planned so far`, many(run.rows, "row"), span(run.duration_seconds)];
    put(line, parts.join(" · "));
    put(note, run.note);
    show(note, Boolean(run.note));
  };

  const chart = (quota, now) => {
    const day = 86_400_000;
    const length = quota.span_seconds * 1_000;
    const spans = quota.spans.map(([at, calls]) => ({ at: time(at).getTime(), calls }));
    const to = Math.max(now + length, ...spans.map(({ at }) => at + length));
    const kept = spans.filter(({ at }) => at > to - day);
    const from = Math.min(to - day / 24, ...kept.map(({ at }) => at - length));
    const perMinute = ({ calls }) => (calls * 60) / quota.span_seconds;
    const top = Math.max(quota.calls_per_minute, ...kept.map(perMinute)) * 1.08;
    const x = (at) => ((at - from) / (to - from)) * 720;
    const y = (calls) => 120 - (calls / top) * 120;
    const svg = $("chart");
    if (!svg.firstChild) svg.append(document.createElementNS(SVG, "g"), document.createElementNS(SVG, "line"));
    const [bars, line] = svg.children;
    const attributes = (element, values) => Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));
    const width = Math.max(x(from + length) * 0.85, 1);
    keyed(bars, kept, ({ at }) => String(at), () => document.createElementNS(SVG, "rect"), (bar, item) =>
      attributes(bar, { x: x(item.at), width, y: y(perMinute(item)), height: 120 - y(perMinute(item)) }));
    attributes(line, { x1: 0, x2: 720, y1: y(quota.calls_per_minute), y2: y(quota.calls_per_minute) });
    put($("chart-from"), moment(new Date(from).toISOString()));
    put($("chart-to"), "now");
    const total = kept.reduce((sum, { calls }) => sum + calls, 0);
    const most = Math.max(0, ...kept.map(perMinute));
    const hour = quota.calls_per_hour ? ` and ${many(quota.calls_per_hour, "call")} an hour` : "";
    put($("chart-text"), `${many(total, "hunting call")} in ${span((to - from) / 1_000)}, at most ${most.toLocaleString([], { maximumFractionDigits: 1 })} a minute over five minutes. The dashed line is the quota of ${count(quota.calls_per_minute)} a minute${hour}.`);
    if ($("calls-details").open) {
      const columns = [
        { label: "From", fill: text(({ at }) => moment(new Date(at).toISOString())) },
        { label: "Calls", kind: "number", fill: text(({ calls }) => count(calls)) },
        { label: "A minute", kind: "number", fill: text((item) => perMinute(item).toLocaleString([], { maximumFractionDigits: 1 })) },
      ];
      table($("calls"), columns, kept.toReversed?.() ?? [...kept].reverse(), ({ at }) => String(at));
    }
  };

  const summaryOf = (active) => {
    if (active.length === 0) {
      const [last] = shown.runs;
      return last ? `No run is going on. The last one: ${last.status}, ${tablesOf(last)}, ${moment(last.updated)}.` : "No run yet.";
    }
    return active.map((run) => `${run.status}: ${tablesOf(run)}, ${many(run.rows, "row")}`).join("; ");
  };

  const render = () => {
    const active = shown.runs.filter((run) => run.active);
    put($("summary"), summaryOf(active));
    document.title = active.length ? `${active[0].status} · adxingestor` : "adxingestor";
    show($("idle"), active.length === 0);
    keyed($("active"), active, (run) => run.id, activeRun, updateActive);
    table($("tables"), TABLES, shown.tables, (row) => row.key);
    show($("tables-none"), shown.tables.length === 0);
    show($("tables-cut"), shown.tables_cut);
    table($("failures"), FAILURES, shown.failures, (item) => JSON.stringify([item.kind, item.run, item.table, item.destination, item.range, item.at]));
    show($("failures-none"), shown.failures.length === 0);
    show($("failures-cut"), shown.failures_cut);
    table($("runs"), RUNS, shown.runs, (run) => run.id);
    show($("runs-none"), shown.runs.length === 0);
    show($("runs-cut"), shown.runs_cut);
    chart(shown.quota, time(shown.now).getTime());
    const paused = shown.quota.paused_until;
    put($("pause"), paused ? `The service asked everyone to pause until ${second(time(paused))}.` : "");
    show($("pause"), Boolean(paused));
    put($("updated"), `adxingestor ${shown.version}. Updated ${second(new Date(readAt))}.`);
  };
  $("calls-details").addEventListener("toggle", () => shown && render());

  // What has changed, in words: the rest of the page is silent.
  const news = (before, after) => {
    const told = [];
    for (const run of after.runs) {
      const old = before.runs.find((other) => other.id === run.id);
      if (old?.status === run.status) continue;
      if (old || run.active) told.push(run.active ? `The run is ${run.status}.` : `Run ${run.status}: ${tablesOf(run)}, ${many(run.rows, "row")}.`);
    }
    for (const row of after.tables) {
      const old = before.tables.find((other) => other.key === row.key);
      const ended = row.state === "done" || row.state === "failed";
      if (ended && old && (old.run !== row.run || old.state !== row.state)) {
        told.push(`${row.table}: ${row.state}, ${many(row.rows, "row")}.`);
      }
    }
    return told.slice(0, 5).join(" ");
  };

  // Reading --------------------------------------------------------------------------------------------------------

  const merged = (old, fresh) => {
    if (fresh.scope === "all") return fresh;
    const rows = new Map(fresh.tables.map((row) => [row.key, row]));
    const runs = new Map(fresh.runs.map((run) => [run.id, run]));
    const tables = old.tables.map((row) => {
      const newer = rows.get(row.key);
      return newer ? { ...row, error: undefined, skipped: undefined, ...newer } : row;
    });
    return { ...old, ...fresh, scope: "all", tables, runs: old.runs.map((run) => runs.get(run.id) ?? run), runs_cut: old.runs_cut, tables_cut: old.tables_cut };
  };
  // Whether something came or went that only a whole reading shows.
  const isOther = (old, fresh) => {
    const shape = (data, all) => JSON.stringify([
      data.runs.filter((run) => run.active).map((run) => [run.id, run.status, run.tables_total, run.tables_done, run.tables_failed]).sort(),
      all ? 0 : data.tables.map((row) => row.key).filter((name) => !old.tables.some((row) => row.key === name)),
    ]);
    return shape(old, false) !== shape(fresh, false);
  };

  const read = async (all) => {
    const answer = await call(`dashboard?format=json${all ? "" : "&scope=active"}`);
    if (answer.status === 401 || answer.status === 403) throw new Error("This key does not open the status page. Use another key.");
    if (!answer.ok) throw new Error((await reasonOf(answer)) || `The app answered ${answer.status}.`);
    return answer.json();
  };
  const refreshed = async (all) => {
    let whole = all || !shown || Date.now() - allAt > ALL_EVERY_MS;
    let fresh = await read(whole);
    if (!whole && isOther(shown, fresh)) {
      whole = true;
      fresh = await read(true);
    }
    const before = shown;
    shown = before ? merged(before, fresh) : fresh;
    readAt = Date.now();
    if (whole) allAt = readAt;
    render();
    const told = before ? news(before, shown) : "";
    if (told) say(told);
  };
  const complain = (problem) => {
    const age = shown ? ` What is shown is ${span((Date.now() - readAt) / 1_000)} old.` : "";
    put($("problem"), problem ? `${problem}${age}` : "");
    show($("problem"), Boolean(problem));
  };
  const refresh = async (all) => {
    clearTimeout(timer);
    // One at a time: who comes meanwhile waits for the one under way and then asks anew.
    while (reading) await reading;
    reading = refreshed(all).then(
      () => {
        failures = 0;
        complain(shown.settings_error ? `Runs fail as long as settings are wrong: ${shown.settings_error}` : "");
      },
      (error) => {
        failures += 1;
        if (!shown) put($("summary"), "Nothing is known.");
        const silent = error.name === "TypeError" || error.name === "TimeoutError";
        complain(silent ? `The app does not answer (${error.message}).` : error.message);
      },
    );
    await reading;
    reading = null;
    plan();
  };
  const plan = () => {
    clearTimeout(timer);
    if (document.hidden) return;
    const active = shown?.runs.some((run) => run.active);
    const pause = failures ? Math.min(ACTIVE_MS * 2 ** failures, IDLE_MS) : active ? ACTIVE_MS : IDLE_MS;
    timer = setTimeout(() => refresh(false), pause);
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh(false)));
  refresh(true);
})();
