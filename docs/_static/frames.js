// Sliders over pictures: the native range input moves by mouse, touch and keys, and this script shows what it points at.
for (const figure of document.querySelectorAll("figure.frames")) {
  const frames = JSON.parse(figure.querySelector("script").textContent);
  const slider = figure.querySelector("input");
  const readout = figure.querySelector(".frames-value");
  const statement = figure.querySelector(".frames-statement");
  const images = [...figure.querySelectorAll(".frames-panels img")];

  const show = () => {
    const frame = frames[slider.value];
    images.forEach((image, place) => {
      if (image.getAttribute("src") !== frame.panels[place]) image.src = frame.panels[place];
    });
    images[0].alt = frame.alt;
    readout.textContent = frame.value;
    slider.setAttribute("aria-valuetext", frame.value);
    statement.textContent = frame.statement;
  };

  // Once the slider is near the window, all of its pictures are fetched, so that none comes late.
  const fetched = [];
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    for (const source of new Set(frames.flatMap((frame) => frame.panels))) {
      const image = new Image();
      image.src = source;
      fetched.push(image);
    }
  }, { rootMargin: "600px" });
  near.observe(figure);

  slider.addEventListener("input", show);
  figure.querySelector(".frames-control").hidden = false;
}
