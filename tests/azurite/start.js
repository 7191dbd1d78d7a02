// Starts the storage emulator with the arguments given here and ends with the process that holds standard input, even
// if that is killed. Logs each request as `access PORT METHOD URL STATUS`: the port tells the service.
"use strict";

process.stdin.on("error", () => process.exit(0)).on("close", () => process.exit(0)).resume();

const emulator = require.resolve("azurite/dist/src/azurite.js");
const morgan = require(require.resolve("morgan", { paths: [emulator] }));
// A socket that was cut knows its port no longer.
morgan.token("port", (request) => String(request.socket.localPort ?? request.socket.server?.address()?.port ?? "-"));
morgan.format("common", "access :port :method :url :status");
require(emulator);
