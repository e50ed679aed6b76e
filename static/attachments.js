/** Pictures and PDFs for the next question: chosen, dropped or pasted. */
import { element, reconcile } from "./elements.js";
import { smaller } from "./picture.js";

const TYPES = ["image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"];
const SHARE = 0.75; // of a request; the rest is for the conversation

export class Attachments {
  #files = [];
  #box;
  #mostBytes;
  #say;
  #left;

  /** `say` tells why a file cannot be taken, `left` is called when the focused file goes. */
  constructor({ box, form, picker, button }, mostBytes, { say, left }) {
    this.#box = box;
    this.#mostBytes = mostBytes * SHARE;
    this.#say = say;
    this.#left = left;
    button.onclick = () => picker.click();
    picker.onchange = () => {
      this.#add([...picker.files]);
      picker.value = ""; // the same file may be chosen again
    };
    box.addEventListener("click", ({ target }) => target.dataset.at && this.#remove(Number(target.dataset.at)));
    form.addEventListener("paste", (event) => this.#takeFrom(event, event.clipboardData));
    addEventListener("dragover", (event) => this.#mark(event, event.dataTransfer.types.includes("Files")));
    addEventListener("dragleave", (event) => this.#mark(event, event.relatedTarget !== null && this.#isMarked));
    addEventListener("drop", (event) => {
      this.#mark(event, false);
      this.#takeFrom(event, event.dataTransfer);
    });
  }

  get isEmpty() {
    return !this.#files.length;
  }

  /** The files, which are then gone from here. */
  take() {
    const files = this.#files;
    this.#set([]);
    return files;
  }

  get #isMarked() {
    return document.body.classList.contains("dropping");
  }

  #mark(event, isOver) {
    if (isOver) event.preventDefault(); // otherwise the browser opens the file
    document.body.classList.toggle("dropping", isOver);
  }

  #takeFrom(event, { files }) {
    if (!files.length) return;
    event.preventDefault();
    this.#add([...files]);
  }

  async #add(chosen) {
    for (const file of chosen) {
      if (!TYPES.includes(file.type)) this.#say(`${file.name} is not a picture (PNG, JPEG, GIF, WebP) or a PDF.`);
      else await this.#addOne(file);
    }
  }

  async #addOne(file) {
    if (this.#fit(file, await read(file))) return;
    const less = file.type.startsWith("image/") ? await smaller(file) : file;
    if (less !== file && this.#fit(less, await read(less))) return;
    const most = ((this.#mostBytes * 3) / 4 / 1e6).toFixed(1); // base64 takes four bytes for three
    this.#say(`${file.name} is too large: the files of a question may have ${most} MB together.`);
  }

  /** Returns whether it fits. */
  #fit({ name, type }, url) {
    const size = this.#files.reduce((sum, file) => sum + file.url.length, url.length);
    if (size > this.#mostBytes) return false;
    this.#set([...this.#files, { name, type, url }]);
    return true;
  }

  #remove(at) {
    this.#set(this.#files.filter((_, index) => index !== at));
    this.#left();
  }

  #set(files) {
    this.#files = files;
    reconcile(this.#box, files.map(chip));
    this.#box.hidden = !files.length;
  }
}

function chip({ name, type, url }, at) {
  const picture = type.startsWith("image/") ? [element("img", { src: url, alt: "" })] : [];
  const remove = element("button", { type: "button", "data-at": at, "aria-label": `Remove ${name}` }, ["✕"]);
  return element("li", { class: "file" }, [...picture, element("span", {}, [name]), remove]);
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
