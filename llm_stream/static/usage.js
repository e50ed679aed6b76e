// Shows a tooltip for the bar under the pointer or selected by the arrow keys. Without this script, the bar's <title> shows.

const tip = document.getElementById("tip");

for (const svg of document.querySelectorAll(".plot svg")) {
  const places = [...svg.querySelectorAll(".place")];
  const texts = places.map((place) => {
    const text = place.querySelector("title").textContent;
    place.querySelector("title").remove(); // otherwise the browser shows both
    place.setAttribute("aria-label", text);
    return text;
  });
  let at = -1;

  const show = (index) => {
    places[at]?.classList.remove("here");
    at = index;
    const place = places[at];
    tip.hidden = !place;
    if (!place) return;
    place.classList.add("here");
    tip.textContent = texts[at];
    const box = place.getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), innerWidth - width - 8);
    const top = box.top - height - 4;
    tip.style.translate = `${Math.round(left)}px ${Math.round(top < 8 ? box.bottom + 4 : top)}px`;
  };

  svg.addEventListener("pointermove", ({ target }) => {
    const index = places.indexOf(target);
    if (index !== at) show(index);
  });
  svg.addEventListener("pointerleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", (event) => {
    const last = places.length - 1;
    const next = { ArrowLeft: at < 0 ? last : Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last, Escape: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
  addEventListener("scroll", () => at >= 0 && show(at), { passive: true });
}
