/** Starts the page of the playground: its state is the part of the address behind #. */

import { mount } from "./playground.js";

document.documentElement.classList.toggle("embedded", window.self !== window.top);

const root = /** @type {HTMLElement} */ (document.getElementById("playground"));
const page = mount(root, {
  address: window.location.hash,
  onAddress: (address) => window.history.replaceState(null, "", address ? `#${address}` : "#"),
});
window.addEventListener("hashchange", () => page.open(window.location.hash));

document.getElementById("theme")?.addEventListener("click", () => {
  const { dataset } = document.documentElement;
  const isDark = dataset.theme ? dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = isDark ? "light" : "dark";
  page.changed();
});

// For tests and for the curious.
Object.assign(window, { lipvizPlayground: page });
