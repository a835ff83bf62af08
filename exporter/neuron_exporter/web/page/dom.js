// DOM helpers. Text is inserted by textContent only, so that markup in it has no effect.

export const byId = (id) => document.getElementById(id);

export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Returns exactly `count` children. Existing ones are kept, so that focus and selection survive.
export function children(parent, count, makeOne) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(makeOne(parent.children.length));
  return [...parent.children];
}

// Shows the content or, if there is none, the reason.
export function showContentOr(placeholder, content, reason) {
  placeholder.hidden = !reason;
  content.hidden = Boolean(reason);
  if (reason) text(placeholder, reason);
}

// Shows pairs of a term and a value; an optional third item is the tone: "bad", "warn" or "zero".
export function facts(list, pairs) {
  const groups = children(list, pairs.length, () => make("div", {}, make("dt"), make("dd")));
  pairs.forEach(([term, value, tone = ""], at) => {
    const [dt, dd] = groups[at].children;
    text(dt, term);
    text(dd, value);
    attribute(groups[at], "data-tone", tone);
  });
}

// Shows bars with a name and a value. `share` is 0 to 1, or null if there is no maximum.
export function bars(list, items) {
  const makeOne = () => make("li", {}, make("span", { class: "name" }), make("span", { class: "value" }),
    make("span", { class: "bar", "aria-hidden": "true" }, make("i")));
  const nodes = children(list, items.length, makeOne);
  items.forEach(({ name, value, share, tone = "" }, at) => {
    const [label, amount, bar] = nodes[at].children;
    text(label, name);
    text(amount, value);
    bar.hidden = share === null;
    fill(bar, share);
    attribute(bar, "data-tone", tone);
  });
}

export function fill(bar, share) {
  bar.style.setProperty("--share", String(Math.max(0, Math.min(1, share ?? 0))));
}

export function pill(node, tone, word) {
  attribute(node, "data-tone", tone);
  text(node.lastElementChild, word);
}
