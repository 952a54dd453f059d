// SPDX-License-Identifier: Apache-2.0
// Sends the JSON texts of the command line by Node's own http, over one connection that is kept alive, and prints
// a list of [status, body].
// node http.js SOCKET TEXT...
'use strict';

const http = require('http');

const [socketPath, ...texts] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function post(text) {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json' };
    const request = http.request({ socketPath, agent, path: '/', method: 'POST', headers }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (data) => { body += data; });
      response.on('end', () => resolve([response.statusCode, body, request.reusedSocket]));
    });
    request.on('error', reject);
    request.end(text);
  });
}

async function main() {
  const replies = [];
  for (const text of texts) {
    replies.push(await post(text));
  }
  process.stdout.write(JSON.stringify(replies));
  agent.destroy();
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
