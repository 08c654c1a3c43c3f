/** Elements of the page. Text is only ever set as text, so that nothing in it can become HTML. */

/**
 * Makes an element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean>} [attributes] False leaves an attribute out, true sets it empty.
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/**
 * A button that calls a function.
 *
 * @param {string} label
 * @param {string} help
 * @param {() => void} act
 */
export function button(label, help, act) {
  const made = element("button", { type: "button", title: help }, label);
  made.addEventListener("click", act);
  return made;
}

/**
 * Sets an element's text, where it differs.
 *
 * @param {HTMLElement} target
 * @param {string} text
 */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * A checkbox with its label.
 *
 * @param {string} label
 * @param {string} help
 * @param {(checked: boolean) => void} act
 */
export function checkbox(label, help, act) {
  const input = element("input", { type: "checkbox", checked: true });
  input.addEventListener("change", () => act(input.checked));
  return element("label", { class: "check", title: help }, input, label);
}
