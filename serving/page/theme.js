/** Light or dark: as the system has it, until somebody chooses. */

const KEPT = "biject-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

/**
 * Let this button choose.
 * @param {HTMLButtonElement} toggle
 */
export function theme(toggle) {
  const isDark = () => {
    const chosen = localStorage.getItem(KEPT);
    return chosen ? chosen === "dark" : system.matches;
  };
  const dress = () => {
    const chosen = localStorage.getItem(KEPT);
    if (chosen) document.documentElement.dataset.theme = chosen;
    toggle.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
    toggle.textContent = isDark() ? "☀" : "☾";
  };
  toggle.addEventListener("click", () => {
    localStorage.setItem(KEPT, isDark() ? "light" : "dark");
    dress();
  });
  system.addEventListener("change", dress);
  dress();
}
