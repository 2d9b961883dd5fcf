// Choosing: the answers point at the first row of the table that fits.
//
// Invariant: the table has every answer; this only marks one.

export function choosing() {
  const form = /** @type {HTMLElement | null} */ (document.querySelector('.ask-choice'));
  const rows = /** @type {HTMLTableRowElement[]} */ ([...document.querySelectorAll('table.choice tbody tr')]);
  if (!form || !rows.length) return;
  const asked = /** @type {HTMLSelectElement[]} */ ([...form.querySelectorAll('select')]);
  const status = /** @type {HTMLElement} */ (form.querySelector('[role="status"]'));
  const answer = () => {
    const fits = (/** @type {Element} */ row) => asked.every((it) => {
      const wanted = row.getAttribute(it.dataset.asks ?? '');
      return wanted === null || wanted === it.value;
    });
    const found = rows.find(fits);
    for (const row of rows) row.classList.toggle('chosen', row === found);
    status.textContent = found ? `Take ${found.cells[1].textContent}. The marked row says why.` : '';
  };
  for (const it of asked) it.addEventListener('change', answer);
  form.hidden = false;
  answer();
}
