// The forms of a page, read the way a browser would: enough of HTML for the gateway's own templates, no more.

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", "#x27": "'", "#x2F": "/" };

/** Text with its character references resolved. */
export function decodeHtml(text) {
  return text.replace(/&(#x[0-9a-f]+|#\d+|[a-z]+);/gi, (whole, name) => {
    if (name in ENTITIES) return ENTITIES[name];
    if (name.startsWith("#x") || name.startsWith("#X")) return String.fromCodePoint(Number.parseInt(name.slice(2), 16));
    if (name.startsWith("#")) return String.fromCodePoint(Number(name.slice(1)));
    return whole;
  });
}

function attributesOf(tag) {
  const attributes = {};
  for (const [, name, quoted, bare] of tag.matchAll(/([^\s=<>"'/]+)(?:\s*=\s*(?:"([^"]*)"|([^\s>"']+)))?/g)) {
    attributes[name.toLowerCase()] = decodeHtml(quoted ?? bare ?? "");
  }
  return attributes;
}

/** Every form: where it goes, its fields with their present values, its buttons that have a name. */
export function formsOf(html) {
  return [...html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, opening, inside]) => {
    const { action = "", method = "get" } = attributesOf(opening);
    const inputs = [...inside.matchAll(/<input\b([^>]*)>/gi)].map(([, tag]) => attributesOf(tag));
    const buttons = [...inside.matchAll(/<button\b([^>]*)>/gi)].map(([, tag]) => attributesOf(tag));
    const fields = {};
    for (const { name, value = "" } of inputs) if (name !== undefined) fields[name] = value;
    return { action, method: method.toUpperCase(), fields, buttons: buttons.filter(({ name }) => name !== undefined) };
  });
}

/** The page's form that has a field or button of this name; the page's text is told when there is none. */
export function formWith(answer, name) {
  const found = formsOf(answer.text).find(
    ({ fields, buttons }) => name in fields || buttons.some((button) => button.name === name),
  );
  if (found === undefined) {
    throw new Error(`the page (${answer.status}) has no form with "${name}": ${textOf(answer.text).slice(0, 400)}`);
  }
  return found;
}

/** What a person reads of a page. */
export function textOf(html) {
  return decodeHtml(html.replace(/<(style|script|head)\b[\s\S]*?<\/\1>/gi, "").replace(/<[^>]+>/g, " "))
    .replace(/\s+/g, " ")
    .trim();
}
