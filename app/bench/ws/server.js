// The baseline of `zmart bench fanout`: npm's `ws` tells every subscriber what a line of stdin holds, nothing else.
// The first line it prints is its port. A line of stdin is a JSON list of texts. Like ours it pings every client and sends
// it a heartbeat every 17 s, spread over that time.

const { WebSocketServer } = require("ws");
const readline = require("node:readline");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false, backlog: 4096 });
const subscribers = new Set();

server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket, request) => {
  const beat = setInterval(() => {
    socket.ping();
    socket.send(JSON.stringify({ type: "HEARTBEAT", channels: {}, timestamp: new Date().toISOString() }));
  }, 17_000);
  socket.on("close", () => clearInterval(beat));
  if (!request.url.includes("channels=")) return;
  subscribers.add(socket);
  socket.on("close", () => subscribers.delete(socket));
  socket.send('{"type":"SNAPSHOT"}');
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  for (const text of JSON.parse(line)) {
    for (const socket of subscribers) socket.send(text, { binary: false });
  }
});
