// Before the first paint, so a classic script: the theme that was chosen, or the system's.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('castor/theme');
  } catch {
    // storage is closed: the system's theme it is
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  if (innerWidth < 900) document.documentElement.dataset.sidebar = 'closed';
})();
