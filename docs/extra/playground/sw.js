// Keeps what the page has fetched, so that it works without a network afterwards; what is newer on the network comes first.
const CACHE = "sessionkit-playground";
self.addEventListener("install", event => event.waitUntil((async () => {
  const cache = await caches.open(CACHE);
  await cache.addAll(["./", "index.html", "programs.json", "sessionkit.zip", "pyodide/pyodide.mjs", "pyodide/pyodide.asm.mjs",
    "pyodide/pyodide.asm.wasm", "pyodide/python_stdlib.zip", "pyodide/pyodide-lock.json"]);
  await self.skipWaiting();
})()));
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", event => event.respondWith((async () => {
  const cache = await caches.open(CACHE);
  try {
    const found = await fetch(event.request);
    if (found.ok && event.request.method === "GET") cache.put(event.request, found.clone());
    return found;
  } catch (error) {
    const kept = await cache.match(event.request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
})()));
