// Ranking: cards in places. A card goes into a place by drag (mouse, pen or finger), by the keys 1 to 9 and the arrows, or
// by its list of places. Several cards in one place are a tie; places may be empty.
"use strict";

const ranking = (() => {
  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  // Draws the cards `texts` (in the order shown) into `root`. `places` has the place of each, 0 for none yet; `changed` is
  // called with it after every move, and `say` with what a screen reader should hear.
  function draw(root, texts, places, changed, say) {
    const n = texts.length;
    const name = i => `Response ${String.fromCharCode(65 + i)}`;

    function move(i, place, focus) {
      if (place < 1 || place > n) return;
      places[i] = place;
      const others = places.filter((p, j) => j !== i && p === place).length;
      say(`${name(i)} is in place ${place}${others ? `, tied with ${others} other${others > 1 ? "s" : ""}` : ""}.`);
      changed(places);
      render();
      if (focus) root.querySelector(`[data-card="${i}"]`).focus();
    }

    function keys(event, i) {
      if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
      const place = places[i];
      if (/^[1-9]$/.test(event.key)) move(i, Number(event.key), true);
      else if (event.key === "ArrowUp") move(i, place ? place - 1 : n, true);
      else if (event.key === "ArrowDown") move(i, place ? place + 1 : 1, true);
      else return;
      event.preventDefault();
    }

    // Drag by pointer events: the same for mouse, pen and finger. A finger drags by the grip, so that the page scrolls.
    function grab(event, i, card) {
      if (event.button !== 0 || event.target.closest("select, option")) return;
      if (event.pointerType !== "mouse" && !event.target.closest(".grip")) return;
      const from = { x: event.clientX, y: event.clientY };
      let dragging = false;
      const over = at => {
        const under = document.elementFromPoint(at.clientX, at.clientY);
        return under && under.closest("[data-place]");
      };
      const mark = place => root.querySelectorAll("[data-place]").forEach(p => p.classList.toggle("over", p === place));
      const moved = at => {
        if (!dragging && Math.hypot(at.clientX - from.x, at.clientY - from.y) < 6) return;
        dragging = true;
        at.preventDefault();
        card.classList.add("dragged");
        mark(over(at));
        const edge = 60;
        if (at.clientY < edge) scrollBy(0, -12);
        if (at.clientY > innerHeight - edge) scrollBy(0, 12);
      };
      const end = at => {
        removeEventListener("pointermove", moved);
        removeEventListener("pointerup", end);
        removeEventListener("pointercancel", end);
        card.classList.remove("dragged");
        mark(null);
        const place = at.type === "pointerup" && dragging && over(at);
        if (place && Number(place.dataset.place)) move(i, Number(place.dataset.place), true);
      };
      addEventListener("pointermove", moved, { passive: false });
      addEventListener("pointerup", end);
      addEventListener("pointercancel", end);
    }

    function card(i) {
      const choose = element("select", { ariaLabel: `Place of ${name(i)}` });
      choose.append(element("option", { value: "0", textContent: "no place yet", disabled: true }));
      for (let place = 1; place <= n; place++) {
        choose.append(element("option", { value: String(place), textContent: `place ${place}` }));
      }
      choose.value = String(places[i]);
      choose.onchange = () => move(i, Number(choose.value), true);
      const grip = element("button", { type: "button", className: "grip", textContent: "⠿", tabIndex: -1 });
      grip.setAttribute("aria-hidden", "true");
      const made = element("div", { className: "card", tabIndex: 0, role: "group" },
        element("div", { className: "bar" }, grip, element("b", { textContent: name(i) }), choose),
        element("div", { className: "text", textContent: texts[i] }));
      made.dataset.card = i;
      made.setAttribute("aria-label", `${name(i)}, ${places[i] ? `place ${places[i]}` : "no place yet"}`);
      made.onkeydown = event => keys(event, i);
      made.onpointerdown = event => grab(event, i, made);
      return made;
    }

    function render() {
      const cards = place => places.flatMap((p, i) => (p === place ? [card(i)] : []));
      const list = element("ol", { className: "places" });
      const waiting = cards(0);
      if (waiting.length) {
        const item = element("li", { className: "place unplaced" }, element("b", { textContent: "To be ranked" }), ...waiting);
        item.dataset.place = 0;
        list.append(item);
      }
      for (let place = 1; place <= n; place++) {
        const here = cards(place);
        const item = element("li", { className: `place${here.length > 1 ? " tie" : ""}${here.length ? "" : " empty"}` });
        const title = place === 1 ? "1 best" : String(place);
        item.append(element("b", { textContent: here.length > 1 ? `${title} tie` : title }), ...here);
        if (!here.length) item.append("empty");
        item.dataset.place = place;
        list.append(item);
      }
      root.replaceChildren(list);
    }
    render();
  }

  // Places as ranks without gaps, in the item's order: `shown[k]` is the number of the response that is shown as card k.
  function ranks(places, shown) {
    const used = [...new Set(places)].sort((a, b) => a - b);
    const result = [];
    places.forEach((place, k) => { result[shown[k]] = used.indexOf(place) + 1; });
    return result;
  }

  return { draw, ranks, element };
})();
