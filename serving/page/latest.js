/**
 * One call of `work` at a time; of those asked for meanwhile only the newest is made.
 * @template T
 * @param {(wanted: T) => Promise<void>} work must not reject
 * @returns {(wanted: T) => Promise<void>} resolves once nothing is left to do
 */
export function latest(work) {
  /** @type {{wanted: T} | null} */
  let next = null;
  /** @type {Promise<void> | null} */
  let running = null;
  const run = async () => {
    while (next !== null) {
      const { wanted } = next;
      next = null;
      await work(wanted);
    }
    running = null;
  };
  return (wanted) => {
    next = { wanted };
    running ??= run();
    return running;
  };
}
