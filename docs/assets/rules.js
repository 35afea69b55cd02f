// A box above the table of all rules: rows that do not hold every word that is typed are hidden.
document.addEventListener("DOMContentLoaded", () => {
  const heading = document.querySelector("h1");
  const table = document.querySelector("article table");
  if (!table || !heading || heading.firstChild.textContent.trim() !== "Rules") return;
  const rows = [...table.querySelectorAll("tbody tr")];
  const bar = document.createElement("p");
  const box = document.createElement("input");
  const shown = document.createElement("span");
  box.type = "search";
  box.id = "rule-filter";
  box.placeholder = "filter: cosine, error, unsafe, FAL2";
  box.setAttribute("aria-label", "Show rules that contain these words");
  box.style.cssText = "width: min(24rem, 100%); padding: .4rem; border: 1px solid currentColor; color: inherit";
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    shown.textContent = ` ${rows.filter(row => !row.hidden).length} of ${rows.length}`;
  };
  box.addEventListener("input", apply);
  bar.append(box, shown);
  table.closest(".md-typeset__scrollwrap, table").before(bar);
  apply();
});
