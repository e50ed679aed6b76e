/** What belongs to an answer beside its text: sources, files, and data of the app's own. */
import { element, part, reconcile } from "./elements.js";
import { jsonBox } from "./json.js";

const LINKED = ["http:", "https:"];
const PICTURE = /^data:image\/(?:png|jpeg|gif|webp|avif);base64,[\w+/=]+$/;
const DOCUMENT = /^data:(?:application\/(?:pdf|json)|text\/(?:plain|csv))[;,]/;

/** The elements for the sources, files and data of an answer. */
export function extras({ sources, files, data }) {
  return [
    ...(sources.length ? [listOf("sources", "Sources", sources.map(sourceOf))] : []),
    ...(files.length ? [listOf("files", "Files", files.map(fileOf))] : []),
    ...data.map(({ name, data }) => part(Fold, name, data)),
  ];
}

/** Folded JSON. */
class Fold {
  constructor() {
    this.element = document.createElement("details");
    this.element.className = "data";
    this.element.append(document.createElement("summary"), document.createElement("div"));
  }

  show(name, value) {
    const [summary, body] = this.element.children;
    reconcile(summary, [name]);
    reconcile(body, [jsonBox(name, value)]);
  }
}

function listOf(kind, label, items) {
  return element("ul", { class: kind, "aria-label": label }, items.map((item) => element("li", {}, [item])));
}

function sourceOf({ url, title }) {
  return link(url, title || url) ?? title ?? url;
}

/** Only a picture in the answer itself is shown: an address that loads by itself could leak the conversation. */
function fileOf({ url, media_type: type, name }) {
  const label = name || type || "file";
  if (!url) return `${label} (not kept in this browser)`;
  if (PICTURE.test(url)) return element("img", { src: url, alt: name || "A picture of the answer" });
  if (DOCUMENT.test(url)) return element("a", { href: url, download: label }, [label]);
  return link(url, label) ?? label;
}

function link(address, text) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (!url || !LINKED.includes(url.protocol)) return null;
  return element("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, [text]);
}
