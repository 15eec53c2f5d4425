// Lets the controls of recorded panels pick among the frames that the library drew. A frame is
// shown as it was recorded: nothing is computed here, and nothing lies between two frames.
document.querySelectorAll(".medusa-recorded:not([data-ready])").forEach(panel => {
  const record = JSON.parse(panel.querySelector("script[type='application/json']").textContent);
  const view = panel.querySelector(".recorded-frame");
  const told = panel.querySelector(".recorded-told");
  const inputs = [...panel.querySelectorAll("[data-control]")];
  const at = inputs.map(read); // each control's place among its values
  const last = inputs.length - 1;
  let shown = frame();

  function read(input) {
    return input.type === "checkbox" ? Number(input.checked) : Number(input.value);
  }

  function frame() { // the number of the frame at these places
    return record.table[at.reduce((place, step, i) => place * record.counts[i] + step, 0)];
  }

  function fit() { // the last control may have fewer values here: then it moves back
    const wanted = at[last];
    let count = 0;
    for (at[last] = 0; at[last] < record.counts[last] && frame() >= 0; at[last]++) count++;
    at[last] = Math.min(wanted, count - 1);
    if (inputs[last].type === "range") inputs[last].max = count - 1;
  }

  function name(input, i) { // what the control is set to, for eyes and for screen readers
    const text = record.texts[i][at[i]];
    if (input.type === "range") {
      input.value = at[i];
      input.setAttribute("aria-valuetext", text);
    }
    const value = input.parentElement.querySelector(".recorded-value");
    if (value) value.textContent = text;
  }

  function show() {
    fit();
    inputs.forEach(name);
    if (frame() === shown) return;
    shown = frame();
    view.style.minHeight = view.offsetHeight + "px"; // so that the page does not jump
    view.innerHTML = record.frames[shown].map(part => record.parts[part]).join("");
    const says = view.querySelector(".told, .says, [role=img]");
    told.textContent = says ? says.getAttribute("aria-label") || says.textContent : "";
  }

  inputs.forEach((input, i) => {
    const button = input.tagName === "BUTTON";
    input.addEventListener(button ? "click" : "input", () => {
      at[i] = button ? (at[i] + 1) % record.counts[i] : read(input);
      show();
    });
  });
  panel.querySelector("fieldset").disabled = false;
  panel.dataset.ready = "";
  show();
});
