// Reads a JSON file {name: document} and says of each, with the standard's own SDK, whether it is valid.
// Usage: node validate.mjs FILE   ->  one JSON object {name: null | "what is wrong"} on stdout.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { validate } = createRequire(join(process.cwd(), "package.json"))("@serverlessworkflow/sdk");

const told = {};
for (const [name, document] of Object.entries(JSON.parse(readFileSync(process.argv[2], "utf8")))) {
  try {
    validate("Workflow", document);
    told[name] = null;
  } catch (error) {
    told[name] = String(error?.message ?? error);
  }
}
process.stdout.write(JSON.stringify(told));
