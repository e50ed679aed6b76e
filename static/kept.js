/** JSON in the browser's storage. Where storage is forbidden or full, the page goes on without. */

/** The value; undefined if there is none, or if something else wrote it. */
export function read(key, storage = "localStorage") {
  try {
    return JSON.parse(window[storage].getItem(key)) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Returns whether the value is kept. */
export function write(key, value, storage = "localStorage") {
  try {
    window[storage].setItem(key, typeof value === "string" ? value : JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function remove(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // forbidden: it was never kept
  }
}

/** The keys that begin with `prefix`, without it. */
export function names(prefix) {
  try {
    return Object.keys(localStorage).flatMap((key) => (key.startsWith(prefix) ? key.slice(prefix.length) : []));
  } catch {
    return [];
  }
}
