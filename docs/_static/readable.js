// What the theme and the notebooks' pages leave to be done for readers without a mouse, and for those who listen.

// What is wider than its place scrolls. A key can scroll only what has the focus: it gets it while something is hidden.
const scrollable = document.querySelectorAll(".highlight pre, .table-wrapper, .cell_output pre, div.math");
const measured = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth <= target.clientWidth) {
      for (const name of ["tabindex", "role", "aria-label"]) target.removeAttribute(name);
      continue;
    }
    const isTable = target.matches(".table-wrapper");
    const kind = target.closest(".cell_output") ? "Output" : target.matches("pre") ? "Code" : "Formula";
    target.tabIndex = 0;
    target.setAttribute("role", "group");
    target.setAttribute("aria-label", `${isTable ? "Table" : kind}, wider than the page`);
  }
});
scrollable.forEach((element) => measured.observe(element));

// A summary with words of its own needs no label, which would hide them from those who listen.
document.querySelectorAll("details > summary[aria-label]").forEach((summary) => summary.removeAttribute("aria-label"));

// A corner of a table that is empty is the header of nothing.
for (const header of document.querySelectorAll("th")) {
  if (header.textContent.trim() || header.children.length > 1) continue;
  const cell = document.createElement("td");
  cell.className = header.className;
  header.replaceWith(cell);
}

// Two bars of the same kind are told apart by their names.
document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "Pages of the site");
document.querySelector(".toc-drawer")?.setAttribute("aria-label", "Sections of this page");

// A film plays by itself, except for readers who want no motion. Everybody can stop it.
for (const film of document.querySelectorAll("a.film")) {
  const still = film.querySelector("source");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "film-button" });
  let plays = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = () => {
    still.media = plays ? "not all" : "all";
    button.textContent = plays ? "❚❚ Pause the film" : "▶ Play the film";
  };
  button.addEventListener("click", () => {
    plays = !plays;
    show();
  });
  film.after(button);
  show();
}
