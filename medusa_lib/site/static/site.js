// The landing page's live picture. Without this script the page shows both finished texts.
"use strict";
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false; // no page may read another from disk
}
document.addEventListener("DOMContentLoaded", () => {
  for (const race of document.querySelectorAll(".race")) {
    const [slider, button] = [race.querySelector("input"), race.querySelector("button")];
    const most = Number(race.dataset.most);
    let timer = 0;
    const show = (passes) => {
      const said = [];
      for (const lane of race.querySelectorAll(".lane")) {
        const tokens = [...lane.querySelectorAll(".token")];
        const own = Math.min(passes, Number(lane.querySelector(".now").dataset.passes));
        tokens.forEach((token) => token.classList.toggle("later", token.dataset.at > passes));
        const written = tokens.filter((token) => token.dataset.at <= passes).length;
        lane.querySelector(".now").textContent = own;
        lane.querySelector(".written").textContent = written;
        said.push(`${lane.getAttribute("aria-label")} ${written} tokens`);
      }
      slider.value = passes;
      slider.setAttribute("aria-valuetext", `after pass ${passes}: ${said.join(", ")}`);
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      button.textContent = Number(slider.value) < most ? "Go on" : "Play again";
    };
    const play = () => {
      let at = Number(slider.value) < most ? Number(slider.value) : 0;
      show(at);
      button.textContent = "Pause";
      timer = setInterval(() => (at < most ? show(++at) : stop()), 220);
    };
    button.hidden = slider.parentElement.hidden = false;
    button.addEventListener("click", () => (timer ? stop() : play()));
    slider.addEventListener("input", () => (show(Number(slider.value)), stop()));
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) show(most);
    else play();
  }
});
