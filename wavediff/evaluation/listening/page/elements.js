"use strict";

/** An element with attributes (functions are listeners) and children (strings are text). */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

function paragraph(...children) {
  return element("p", {}, ...children);
}

function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", click: onclick, ...attributes }, text);
}

/** A labelled slider; oninput gets its number. */
function slider(label, attributes, oninput) {
  const input = element("input", { type: "range", ...attributes });
  input.addEventListener("input", () => oninput(Number(input.value)));
  return { input, row: element("label", { class: "slider" }, element("span", {}, label), input) };
}

/** Say something to screen readers. */
function say(text) {
  document.getElementById("status").textContent = text;
}

/** Replace what is shown, and lead the focus to its heading. */
function show(heading, ...children) {
  const title = element("h1", { tabindex: "-1" }, heading);
  document.getElementById("main").replaceChildren(title, ...children);
  window.scrollTo(0, 0);
  title.focus();
}
