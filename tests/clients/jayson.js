// SPDX-License-Identifier: Apache-2.0
// Makes the calls given as JSON on the command line by jayson, over HTTP and raw, and prints what came back.
// node jayson.js SOCKET '[["METHOD", PARAMS], ...]'
'use strict';

const jayson = require('jayson/promise');

const [socket, calls] = process.argv.slice(2);

const clients = {
  http: jayson.Client.http({ socketPath: socket, path: '/' }),
  raw: jayson.Client.tcp({ path: socket }),
};

async function main() {
  const replies = {};
  for (const [name, client] of Object.entries(clients)) {
    replies[name] = [];
    for (const [method, params] of JSON.parse(calls)) {
      replies[name].push(await client.request(method, params));
    }
    const batch = JSON.parse(calls).map(([method, params]) => client.request(method, params, undefined, false));
    replies[`${name} batch`] = await client.request(batch);
  }
  process.stdout.write(JSON.stringify(replies));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
