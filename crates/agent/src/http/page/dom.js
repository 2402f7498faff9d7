// Making and changing elements. Everything shown is set as text, never as markup: names of networks and
// models come from outside.

export const at = (id) => document.getElementById(id);

// Makes an element. `traits` are attributes, `class`, `text`, or a listener such as `onclick`.
export function make(tag, traits = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(traits)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
  return made;
}

export function svg(tag, traits = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(traits)) {
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, String(value));
  }
  made.append(...children);
  return made;
}

// Changes a text only if it differs: a selection, and the place of a screen reader, survive the rest.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

export function setHidden(element, is) {
  if (element.hidden !== is) element.hidden = is;
}

// Replaces the children of an element if what they show differs. `key` says in a text what they show.
export function fill(element, key, children) {
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...children());
}

// Brings the children into this order. The child with the focus or the selection is never moved, since
// that would take both from it.
export function arrange(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  const anchor = getSelection().anchorNode;
  const pivot = wanted.find((child) => child.contains(document.activeElement) || (anchor && child.contains(anchor)));
  let next = parent.firstChild;
  for (const child of wanted) {
    if (child === pivot) {
      while (next && next !== pivot) {
        const later = next.nextSibling;
        parent.append(next);
        next = later;
      }
    }
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
}
