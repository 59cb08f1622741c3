// Reads a Dockerfile and prints, as JSON, what the linter of the editors says of it: [{line, severity, message}].
// Usage: node lint.mjs FILE
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { validate } = createRequire(join(process.cwd(), "package.json"))("dockerfile-utils");

const found = validate(readFileSync(process.argv[2], "utf8"));
process.stdout.write(
  JSON.stringify(found.map((one) => ({ line: one.range.start.line + 1, severity: one.severity, message: one.message }))),
);
