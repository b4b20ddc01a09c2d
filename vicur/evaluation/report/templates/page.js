"use strict";

// Everything is readable without this script: it only filters cards, switches tables and reads out charts.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const press = (buttons, pressed) => {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
};

function setUpTheme() {
  const button = document.getElementById("theme");
  const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark";
  button.hidden = false;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
  });
}

function setUpTabs() {
  for (const bar of all("[data-tabs]")) {
    const buttons = all("button", bar);
    const pages = all(`[data-tabs-of="${bar.dataset.tabs}"]`);
    const show = (button) => {
      press(buttons, button);
      for (const page of pages) page.hidden = page.dataset.tab !== button.dataset.tab;
    };
    for (const button of buttons) button.addEventListener("click", () => show(button));
    show(buttons[0]);
  }
}

const CARDS_AT_FIRST = 9;

function setUpCards() {
  const filters = document.getElementById("filters");
  if (!filters) return;
  const cards = all(".card");
  const more = document.getElementById("more");
  const choice = { student: "1", outcome: "", kind: "" };
  let limit = CARDS_AT_FIRST;
  const fits = (card) =>
    (!choice.outcome || card.dataset[`s${choice.student}`] === choice.outcome) && (!choice.kind || card.dataset.kind === choice.kind);
  const apply = () => {
    const fitting = cards.filter(fits);
    const shown = new Set(fitting.slice(0, limit));
    for (const card of cards) card.hidden = !shown.has(card);
    for (const count of all("[data-count]", filters)) count.hidden = count.dataset.count !== choice.student;
    document.getElementById("shown").textContent = `${shown.size} of ${fitting.length} matching cards, ${cards.length} in all`;
    document.getElementById("no-cards").hidden = fitting.length > 0;
    more.hidden = shown.size === fitting.length;
  };
  const choose = (name, value) => {
    choice[name] = value;
    limit = CARDS_AT_FIRST;
    apply();
  };
  for (const control of all("[data-filter]", filters)) {
    const buttons = all("button", control);
    for (const button of buttons) {
      button.addEventListener("click", () => {
        press(buttons, button);
        choose(control.dataset.filter, button.value);
      });
    }
    if (!buttons.length) control.addEventListener("change", () => choose(control.dataset.filter, control.value));
  }
  more.addEventListener("click", () => {
    limit = Infinity;
    apply();
  });
  filters.hidden = false;
  apply();
}

function setUpHeat() {
  for (const view of all("[data-heat]")) {
    const buttons = all("button", view);
    for (const button of buttons) {
      button.addEventListener("click", () => {
        press(buttons, button);
        for (const overlay of all(".overlay", view)) overlay.toggleAttribute("hidden", overlay.dataset.layer !== button.value);
      });
    }
  }
}

// Binary search for the point of a line that is nearest to a step; points are sorted by step.
function nearest(points, step) {
  let low = 0;
  let high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= step) low = middle;
    else high = middle;
  }
  return step - points[low][0] <= points[high][0] - step ? points[low] : points[high];
}

function element(tag, className, text = "") {
  const created = document.createElement(tag);
  created.className = className;
  created.textContent = text;
  return created;
}

function setUpCharts() {
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const charts = all("[data-chart]").map((figure) => {
    const chart = data[Number(figure.dataset.chart)];
    const surface = figure.querySelector(".surface");
    const hits = chart.lines.map((line) => {
      const hit = element("i", `hit m${line.model}`);
      hit.hidden = true;
      surface.append(hit);
      return hit;
    });
    return { ...chart, surface, hits, cursor: figure.querySelector(".cursor"), readout: figure.querySelector("[data-readout]") };
  });
  const format = (chart, value) => (chart.percent ? `${(100 * value).toFixed(1)} %` : String(Number(value.toPrecision(3))));
  const share = ([low, high], value) => (100 * (value - low)) / (high - low);

  const show = (step) => {
    for (const chart of charts) {
      chart.cursor.hidden = step === null;
      chart.readout.textContent = "";
      if (step === null) {
        for (const hit of chart.hits) hit.hidden = true;
        continue;
      }
      chart.cursor.style.left = `${share(chart.x, step)}%`;
      chart.readout.append(element("span", "", `step ${step}`));
      chart.lines.forEach((line, n) => {
        const [at, value] = nearest(line.points, step);
        chart.hits[n].hidden = false;
        chart.hits[n].style.left = `${share(chart.x, at)}%`;
        chart.hits[n].style.bottom = `${share(chart.y, value)}%`;
        const entry = element("span", `m${line.model}`);
        entry.title = `${line.label}, step ${at}`;
        entry.append(element("i", "swatch"), format(chart, value));
        chart.readout.append(entry);
      });
    }
  };

  for (const chart of charts) {
    const [low, high] = chart.x;
    let step = high;
    const stay = (wanted) => {
      step = Math.round(Math.min(high, Math.max(low, wanted)));
      show(step);
    };
    chart.surface.addEventListener("pointermove", (event) => {
      const box = chart.surface.getBoundingClientRect();
      stay(low + ((event.clientX - box.left) / box.width) * (high - low));
    });
    chart.surface.addEventListener("pointerleave", () => show(null));
    chart.surface.addEventListener("focus", () => stay(step));
    chart.surface.addEventListener("blur", () => show(null));
    chart.surface.addEventListener("keydown", (event) => {
      const size = Math.max(1, Math.round((high - low) / (event.shiftKey ? 10 : 100)));
      const moves = { ArrowLeft: step - size, ArrowRight: step + size, Home: low, End: high };
      if (!(event.key in moves)) return;
      event.preventDefault();
      stay(moves[event.key]);
    });
  }
}

setUpTheme();
setUpTabs();
setUpCards();
setUpHeat();
setUpCharts();
