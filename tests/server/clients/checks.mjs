// What the checks of clients share: node CHECKS.mjs URL PACKAGES, a running server and the folder in which npm has put
// the clients.

import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [server, packages] = process.argv.slice(2);
if (!packages) {
  console.error(`usage: node ${path.basename(process.argv[1])} URL PACKAGES`);
  process.exit(2);
}
export const url = server;

const { resolve } = createRequire(path.resolve(packages, "package.json"));

export const brought = (name) => import(pathToFileURL(resolve(name)));

// Runs every check, by name, and ends the program after a line `N passed, M failed`.
export async function runChecks(client, checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok   ${client}: ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${client}: ${name}\n     ${error.message.split("\n").slice(0, 6).join(" ")}`);
    }
  }
  console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
