#!/usr/bin/env node
// Says ok to each row that is posted, and writes it to the database later, one after the other: carelessly.
const http = require('http');
const [host, port, db] = process.argv.slice(2);
const rows = [];

http.createServer((request, answer) => {
  let row = '';
  request.on('data', data => { row += data; });
  request.on('end', () => { rows.push(row); answer.end('ok'); });
}).listen(+port, host, () => console.log('listening'));

const again = delay => setTimeout(write, delay);
function write() {
  if (!rows.length) return again(5);
  const put = http.request(`${db}/${rows[0]}`, { method: 'PUT', timeout: 300 });
  put.on('response', answer => { answer.resume(); answer.on('end', () => { rows.shift(); again(0); }); });
  put.on('timeout', () => put.destroy(new Error('timeout')));
  put.on('error', () => again(50));
  put.end();
}
write();
