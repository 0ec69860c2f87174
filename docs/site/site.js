const search = document.getElementById("search");
const found = document.getElementById("found");
const menu = document.getElementById("menu");

function toggleMenu(open) {
  menu.setAttribute("aria-expanded", document.getElementById("navigation").classList.toggle("open", open));
}
menu.addEventListener("click", () => toggleMenu());

function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length === 0 ? [] : headings.filter(([name, page]) => words.every((word) => `${name} ${page}`.toLowerCase().includes(word)));
  found.replaceChildren(
    ...hits.slice(0, 12).map(([name, page, target]) => {
      const link = document.createElement("a");
      link.href = root + target;
      link.textContent = name;
      if (page) link.append(Object.assign(document.createElement("small"), { textContent: page }));
      const item = document.createElement("li");
      item.append(link);
      return item;
    }),
  );
  found.hidden = hits.length === 0;
}

search.addEventListener("input", show);
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") found.querySelector("a")?.click();
  if (event.key === "Escape") search.value = "";
  if (event.key === "Escape") show();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") toggleMenu(false);
  if (event.key !== "/" || event.target.matches("input")) return;
  event.preventDefault();
  search.focus();
});
document.addEventListener("click", (event) => {
  if (!event.target.closest(".search")) found.hidden = true;
});
