// Small helpers. Text goes into the page by textContent alone, so that it stays text.

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

// Exactly so many children, the ones that are there kept: focus and selections survive.
export function children(parent, count, makeOne) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(makeOne(parent.children.length));
  return [...parent.children];
}

// Either the content, or a sentence that says why there is none.
export function either(none, content, why) {
  none.hidden = !why;
  content.hidden = Boolean(why);
  if (why) text(none, why);
}

// Pairs of a term and a value; a third item is a tone: "bad", "warn" or "zero".
export function facts(list, pairs) {
  const groups = children(list, pairs.length, () => make("div", {}, make("dt"), make("dd")));
  pairs.forEach(([term, value, tone = ""], at) => {
    const [dt, dd] = groups[at].children;
    text(dt, term);
    text(dd, value);
    attribute(groups[at], "data-tone", tone);
  });
}

// Bars with a name and a value; `share` is 0 to 1, or null where it is of nothing known.
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
