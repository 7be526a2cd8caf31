// Visits every page of the built book in Chromium and reports what a reader would stumble over, as JSON.
// Called by tools/browser_gate.py: node gate.mjs job.json report.json
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [jobFile, reportFile] = process.argv.slice(2);
const job = JSON.parse(await readFile(jobFile, "utf8"));
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const home = new URL(job.base);

// Everything that goes wrong while a page lives: requests, console, uncaught errors, addresses outside.
function listen(page, problems) {
  page.on("console", (m) => m.type() === "error" && problems.push(`console error: ${m.text()}`));
  page.on("pageerror", (e) => problems.push(`page error: ${e.message}`));
  page.on("response", (r) => r.status() >= 400 && problems.push(`answer ${r.status()}: ${r.url()}`));
  page.on("requestfailed", (r) => {
    if (new URL(r.url()).host === home.host) problems.push(`request failed: ${r.url()} (${r.failure()?.errorText})`);
  });
}

// Only the book's own server answers; a request to any other host is recorded and aborted.
async function shutIn(context, problems) {
  await context.route("**/*", (route) => {
    const url = new URL(route.request().url());
    if (url.host === home.host || ["data:", "blob:"].includes(url.protocol)) return route.continue();
    problems.current.push(`outside request: ${url.href}`);
    return route.abort();
  });
}

async function settle(page) {
  await page.evaluate(async () => {
    await window.MathJax?.startup?.promise?.catch(() => {}); // a failure shows as a formula that is not rendered
    document.querySelectorAll("img[loading=lazy]").forEach((image) => (image.loading = "eager"));
    await document.fonts.ready;
    await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  });
  await page.waitForLoadState("networkidle");
}

// Full-page pictures in pieces: Chromium repeats itself beyond 16384 pixels.
async function photograph(page, file) {
  const { width, height } = await page.evaluate(() => ({
    width: window.innerWidth,
    height: document.documentElement.scrollHeight,
  }));
  const piece = 6000;
  const parts = Math.max(1, Math.ceil(height / piece));
  for (let part = 0; part < parts; part++) {
    const clip = { x: 0, y: part * piece, width, height: Math.min(piece, height - part * piece) };
    const name = parts === 1 ? `${file}.png` : `${file}.${String(part + 1).padStart(2, "0")}.png`;
    await page.screenshot({ path: name, fullPage: true, clip, animations: "disabled" });
  }
}

// What is folded is opened, so that answers and hidden cells are judged too, as they look when nothing moves any more.
async function unfold(page) {
  await page.addStyleTag({ content: "*, *::before, *::after { transition: none !important; animation: none !important; }" });
  await page.evaluate(() => {
    document.querySelectorAll("article details").forEach((details) => (details.open = true));
    document.querySelectorAll("article .toggle-hidden").forEach((element) => {
      element.classList.remove("toggle-hidden");
    });
  });
}

function judgeImages() {
  const shown = (image) => `<img src="${(image.getAttribute("src") ?? "").slice(-60)}">`;
  return [...document.images].flatMap((image) => [
    ...(image.naturalWidth > 0 ? [] : [`image did not load: ${shown(image)}`]),
    ...(image.alt.trim() ? [] : [`image without alt text: ${shown(image)}`]),
  ]);
}

function judgeMath() {
  const fields = [...document.querySelectorAll(".math.notranslate")];
  const raw = fields.filter((field) => !field.querySelector("mjx-container"));
  const wrong = [...document.querySelectorAll("mjx-merror")].map((e) => e.getAttribute("data-mjx-error") ?? "");
  // MathJax shows a macro that it does not know in red and says nothing.
  const unknown = [...document.querySelectorAll("mjx-mtext")].filter((e) => e.style.color === "red");
  return {
    count: fields.length,
    problems: [
      ...raw.map((field) => `formula not rendered: ${field.textContent.slice(0, 60)}`),
      ...wrong.map((text) => `formula with an error: ${text}`),
      ...unknown.map((e) => `formula with an unknown macro: ${e.closest("mjx-container").parentElement.textContent.slice(0, 60)}`),
    ],
  };
}

// Elements that stick out of the window, unless something around them scrolls or clips.
function judgeWidth() {
  const wide = document.documentElement.scrollWidth;
  if (wide <= window.innerWidth + 1) return [];
  const contained = (element) => {
    for (let above = element.parentElement; above && above !== document.body; above = above.parentElement)
      if (getComputedStyle(above).overflowX !== "visible") return true;
    return false;
  };
  const culprits = [...document.querySelectorAll("article *")]
    .filter((element) => element.getBoundingClientRect().right > window.innerWidth + 1 && !contained(element))
    .map((element) => `${element.tagName.toLowerCase()}.${[...element.classList].join(".")}`);
  return [`page is ${wide} px wide in a window of ${window.innerWidth}: ${[...new Set(culprits)].slice(0, 4).join(", ")}`];
}

async function judgeAccess(page) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const found = await window.axe.run(document, { resultTypes: ["violations"] });
    return found.violations.map(({ id, impact, help, nodes }) => ({
      id,
      impact,
      help,
      nodes: nodes.slice(0, 5).map((node) => `${node.target.join(" ")} ${node.any?.[0]?.message ?? ""}`.trim()),
    }));
  });
  return violations
    .filter((v) => ["serious", "critical"].includes(v.impact) && !job.themeRules.includes(v.id))
    .flatMap((v) => v.nodes.map((node) => `axe ${v.id} (${v.impact}): ${v.help}: ${node}`));
}

async function visit(context, mode, path, problems) {
  problems.current = [];
  const page = await context.newPage();
  listen(page, problems.current);
  let math = 0;
  let images = 0;
  try {
    await page.goto(home.href + path, { waitUntil: "load" });
    await settle(page);
    if (mode.scheme) {
      const theme = await page.evaluate(() => document.documentElement.dataset.theme);
      if (theme !== mode.scheme) problems.current.push(`theme is ${theme}, the reader's system asks for ${mode.scheme}`);
    }
    await photograph(page, `${job.screens}/${path.replaceAll("/", "-").replace(/\.html$/, "")}.${mode.name}`);
    await unfold(page);
    const formulas = await page.evaluate(judgeMath);
    math = formulas.count;
    images = await page.evaluate(() => document.images.length);
    problems.current.push(...formulas.problems, ...(await page.evaluate(judgeImages)));
    if (mode.narrow) problems.current.push(...(await page.evaluate(judgeWidth)));
    problems.current.push(...(await judgeAccess(page)));
  } catch (error) {
    problems.current.push(`could not be visited: ${error.message.split("\n")[0]}`);
  }
  await page.close();
  return { page: path, mode: mode.name, math, images, problems: [...new Set(problems.current)] };
}

// The search has to work without a network as well; the front page has to lead into the book.
async function tryOut(context, problems) {
  const reports = [];
  for (const [name, address, selector] of [
    ["search", `search.html?q=${encodeURIComponent(job.search)}`, "#search-results li"],
    ["index.html", "index.html", "article h1"],
  ]) {
    problems.current = [];
    const page = await context.newPage();
    listen(page, problems.current);
    await page.goto(home.href + address, { waitUntil: "load" });
    await page.waitForSelector(selector, { timeout: 15000 }).catch(() => problems.current.push(`no ${selector} at ${address}`));
    await page.close();
    reports.push({ page: name, mode: "light", math: 0, images: 0, problems: problems.current });
  }
  return reports;
}

const browser = await chromium.launch({
  executablePath: job.chromium,
  args: [...(job.root ? ["--no-sandbox"] : []), "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
});
const reports = [];
for (const mode of job.modes) {
  const context = await browser.newContext({
    viewport: { width: mode.width, height: mode.height },
    colorScheme: mode.scheme,
    reducedMotion: "reduce",
  });
  context.setDefaultTimeout(60000);
  const problems = { current: [] };
  await shutIn(context, problems);
  for (const path of job.pages) {
    reports.push(await visit(context, mode, path, problems));
    console.log(`${mode.name} ${path}`);
  }
  if (mode === job.modes[0]) reports.push(...(await tryOut(context, problems)));
  await context.close();
}
await browser.close();
await writeFile(reportFile, JSON.stringify(reports, null, 1));
