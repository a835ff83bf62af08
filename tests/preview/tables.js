// Returns the tables of the page: by title, a list of rows, each with its texts by column.
() => {
  const texts = (row, role) =>
    [...row.querySelectorAll(`[role="${role}"]`)].map((cell) => cell.innerText);
  const tables = [...document.querySelectorAll('[role="grid"]')].map((grid) => {
    const names = texts(grid, "columnheader");
    const rows = [...grid.querySelectorAll('[role="row"]')].slice(1).map((row) =>
      Object.fromEntries(texts(row, "gridcell").map((text, index) => [names[index], text])));
    const panel = grid.closest('[data-testid^="data-testid Panel header"]');
    return [panel.dataset.testid.replace("data-testid Panel header ", ""), rows];
  });
  return Object.fromEntries(tables);
}
