/** A dialog with a text to take away: code, the address of what is seen, and a line that embeds it. */

import { button, element, say } from "./elements.js";

export class Sharing {
  constructor() {
    this.title = element("h2");
    this.text = element("textarea", { readonly: true, spellcheck: "false", rows: 14 });
    this.said = element("span", { role: "status" });
    const copy = button("Copy", "Copy the text", () => void this.copy());
    const close = button("Close", "Close this dialog", () => this.dialog.close());
    this.dialog = element("dialog", {}, this.title, element("p", { class: "row" }, copy, close, this.said), this.text);
  }

  /**
   * Opens the dialog.
   *
   * @param {string} title
   * @param {string} text
   */
  show(title, text) {
    say(this.title, title);
    this.text.setAttribute("aria-label", title);
    this.text.value = text;
    say(this.said, "");
    this.dialog.showModal();
    this.text.setSelectionRange(0, 0);
    this.text.scrollTop = 0;
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text.value);
      say(this.said, "Copied.");
    } catch {
      this.text.select();
      say(this.said, "The browser does not allow it here: press Ctrl+C to copy what is selected.");
    }
  }
}

/**
 * A line of HTML that embeds a page.
 *
 * @param {string} address
 * @returns {string}
 */
export function embedding(address) {
  const safe = address.replace(/&/g, "&amp;").replace(/"/g, "&quot;").replace(/</g, "&lt;");
  return `<iframe src="${safe}" title="lipviz playground" width="100%" height="880" style="border: 0"></iframe>`;
}
