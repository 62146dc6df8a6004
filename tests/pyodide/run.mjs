// Run pytest on CPython compiled to WebAssembly: node run.mjs PYODIDE SITE PROJECT [pytest's arguments]
import { pathToFileURL } from "node:url";

const [pyodide, site, project, ...args] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${pyodide}/pyodide.mjs`));
const py = await loadPyodide({ stdout: (text) => console.log(text), stderr: (text) => console.error(text) });
for (const [folder, root] of [["/site", site], ["/project", project]]) {
  py.FS.mkdirTree(folder);
  py.FS.mount(py.FS.filesystems.NODEFS, { root }, folder);
}
py.globals.set("arguments", py.toPy(args));
process.exit(
  await py.runPythonAsync(`
import os, sys
sys.path[:0] = ["/project", "/site"]
sys.dont_write_bytecode = True
os.chdir("/project")
import pytest
print(sys.version)
int(pytest.main(list(arguments)))
`),
);
